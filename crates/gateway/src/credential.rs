//! What a caller shows at the door.

use std::{convert::Infallible, fmt, net::IpAddr};

use access::{Credential, Shown};
use axum::extract::FromRequestParts;
use http::{Extensions, HeaderMap, Method, header::AUTHORIZATION, request::Parts};
use types::Secret;

use crate::{
    auth::{self, cookie},
    exchange,
};

/// What the secrets of sessions start with.
const SESSION_PREFIX: &[u8] = b"llmos-session_";
/// Parts of a signed token, with a dot between them: header, claims, signature.
const TOKEN_PARTS: usize = 3;

/// Where a connection came in. The server puts it into every request of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// The public address.
    Tcp {
        /// Whether over TLS.
        encrypted: bool,
        /// Who is at the other end, as far as the connection says.
        peer: Option<IpAddr>,
    },
    /// The local socket.
    Local {
        /// The peer's user id, as the kernel names it.
        uid: u32,
    },
}

/// The caller of a handler. Says who they claim to be; whether it is true is decided in the path.
pub(crate) struct Caller(pub Credential);

impl Door {
    /// Where a request came in.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or(Self::Tcp { encrypted: false, peer: None })
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let door = Door::of(&parts.extensions);
        let address = match door {
            Door::Tcp { peer, .. } => peer,
            Door::Local { .. } => None,
        };
        let shown = shown(&parts.method, &parts.headers, door);
        Ok(Self(Credential { shown, address, request: exchange::id_of(&parts.extensions) }))
    }
}

/// Where a request came from, for people.
pub(crate) struct Peer(Door);

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(Door::of(&parts.extensions)))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Door::Tcp { peer: Some(peer), .. } => peer.fmt(f),
            Door::Tcp { peer: None, .. } => f.write_str("an unknown place"),
            Door::Local { .. } => f.write_str("the machine of the server"),
        }
    }
}

/// What is shown counts on both doors. A header that holds nothing that could be one is no credential at all: it must not
/// fall back to the rights of the local socket, or to a cookie.
fn shown(method: &Method, headers: &HeaderMap, door: Door) -> Shown {
    let mut authorizations = headers.get_all(AUTHORIZATION).iter();
    match (authorizations.next(), authorizations.next()) {
        (None, _) => match door {
            Door::Tcp { .. } => of_browser(method, headers),
            Door::Local { uid } => Shown::LocalSocket { uid },
        },
        (Some(header), None) => bearer(header.as_bytes()).map_or(Shown::Nothing, of_bearer),
        // Two headers: which one is meant is not guessed.
        (Some(_), Some(_)) => Shown::Nothing,
    }
}

fn of_bearer(token: &[u8]) -> Shown {
    let secret = Secret::from(token.to_vec());
    if token.starts_with(SESSION_PREFIX) {
        Shown::LoginSession(secret)
    } else if token.split(|byte| *byte == b'.').count() == TOKEN_PARTS {
        Shown::AccessToken(secret)
    } else {
        Shown::ApiKey(secret)
    }
}

/// A cookie comes along with whatever a browser sends, also if another site made it: what changes something counts only from a
/// page of ours.
fn of_browser(method: &Method, headers: &HeaderMap) -> Shown {
    let is_safe = matches!(*method, Method::GET | Method::HEAD);
    match cookie::session(headers) {
        Some(secret) if is_safe || auth::is_own_page(headers) => Shown::LoginSession(secret),
        _ => Shown::Nothing,
    }
}

/// The session that a program shows.
pub(crate) fn shown_session(headers: &HeaderMap) -> Option<Secret> {
    match shown(&Method::GET, headers, Door::Local { uid: 0 }) {
        Shown::LoginSession(secret) => Some(secret),
        _ => None,
    }
}

/// The token of `Bearer <token>` (RFC 6750, section 2.1; the scheme's name is case-insensitive).
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked("Bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use http::{
        HeaderName,
        header::{COOKIE, HOST, ORIGIN},
    };

    use super::*;

    fn described(method: &Method, headers: &[(HeaderName, &str)], door: Door) -> String {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        let text = |secret: Secret| String::from_utf8_lossy(secret.expose()).into_owned();
        match shown(method, &headers, door) {
            Shown::ApiKey(key) => format!("key {}", text(key)),
            Shown::LoginSession(secret) => format!("session {}", text(secret)),
            Shown::AccessToken(token) => format!("token {}", text(token)),
            Shown::LocalSocket { uid } => format!("uid {uid}"),
            Shown::Nothing => "absent".to_owned(),
        }
    }

    #[test]
    fn what_is_shown_is_taken_for_what_it_is() {
        let local = Door::Local { uid: 7 };
        let tcp = Door::Tcp { encrypted: true, peer: None };
        for (headers, door, expected) in [
            (&[][..], tcp, "absent"),
            (&[], local, "uid 7"),
            (&["Bearer abc"], tcp, "key abc"),
            (&["bearer   abc "], tcp, "key abc"),
            (&["Bearer abc"], local, "key abc"),
            (&["Bearer llmos-session_abc"], tcp, "session llmos-session_abc"),
            (&["Bearer a.b.c"], tcp, "token a.b.c"),
            (&["Bearer "], local, "absent"),
            (&["Basic abc"], local, "absent"),
            (&["Bearerabc"], tcp, "absent"),
            (&["Bearer a", "Bearer b"], local, "absent"),
        ] {
            let headers: Vec<_> = headers.iter().map(|value| (AUTHORIZATION, *value)).collect();
            assert_eq!(described(&Method::POST, &headers, door), expected, "{headers:?} at {door:?}");
        }
    }

    #[test]
    fn a_cookie_changes_something_only_from_a_page_of_ours() {
        let tcp = Door::Tcp { encrypted: true, peer: None };
        let cookie = (COOKIE, "__Host-llmos=abc");
        let own = [cookie.clone(), (HOST, "localhost:1"), (ORIGIN, "http://localhost:1")];
        let other = [cookie.clone(), (HOST, "localhost:1"), (ORIGIN, "http://localhost:2")];
        for (method, headers, door, expected) in [
            (Method::GET, &own[..1], tcp, "session abc"),
            (Method::HEAD, &own[..1], tcp, "session abc"),
            (Method::POST, &own[..1], tcp, "absent"),
            (Method::POST, &own[..2], tcp, "absent"),
            (Method::POST, &own[..], tcp, "session abc"),
            (Method::DELETE, &other[..], tcp, "absent"),
            (Method::GET, &[cookie.clone(), (AUTHORIZATION, "Bearer")], tcp, "absent"),
            (Method::GET, &own[..1], Door::Local { uid: 7 }, "uid 7"),
        ] {
            assert_eq!(described(&method, headers, door), expected, "{method} {headers:?}");
        }
    }
}
