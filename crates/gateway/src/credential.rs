//! What a caller shows at the door.

use std::convert::Infallible;

use access::Credential;
use axum::extract::FromRequestParts;
use http::{HeaderMap, header::AUTHORIZATION, request::Parts};
use types::Secret;

/// Where a connection came in. The server puts it into every request of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// The public address.
    Tcp {
        /// Whether over TLS.
        encrypted: bool,
    },
    /// The local socket.
    Local {
        /// The peer's user id, as the kernel names it.
        uid: u32,
    },
}

/// The caller of a handler. Says who they claim to be; whether it is true is decided in the path.
pub(crate) struct Caller(pub Credential);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let door = parts.extensions.get().copied().unwrap_or(Door::Tcp { encrypted: false });
        Ok(Self(credential(&parts.headers, door)))
    }
}

/// A key that is shown counts on both doors. A header that holds no key is no credential at all: it must not
/// fall back to the rights of the local socket.
fn credential(headers: &HeaderMap, door: Door) -> Credential {
    let mut authorizations = headers.get_all(AUTHORIZATION).iter();
    match (authorizations.next(), authorizations.next()) {
        (None, _) => match door {
            Door::Tcp { .. } => Credential::Absent,
            Door::Local { uid } => Credential::LocalSocket { uid },
        },
        (Some(header), None) => bearer(header.as_bytes())
            .map_or(Credential::Absent, |key| Credential::ApiKey(Secret::from(key.to_vec()))),
        // Two headers: which one is meant is not guessed.
        (Some(_), Some(_)) => Credential::Absent,
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
    use super::*;

    fn shown(headers: &[&str], door: Door) -> String {
        let headers: HeaderMap =
            headers.iter().map(|value| (AUTHORIZATION, value.parse().unwrap())).collect();
        match credential(&headers, door) {
            Credential::ApiKey(key) => format!("key {}", String::from_utf8_lossy(key.expose())),
            Credential::LocalSocket { uid } => format!("uid {uid}"),
            Credential::Absent => "absent".to_owned(),
        }
    }

    #[test]
    fn what_is_shown_is_taken_for_what_it_is() {
        let local = Door::Local { uid: 7 };
        let tcp = Door::Tcp { encrypted: true };
        for (headers, door, expected) in [
            (&[][..], tcp, "absent"),
            (&[], local, "uid 7"),
            (&["Bearer abc"], tcp, "key abc"),
            (&["bearer   abc "], tcp, "key abc"),
            (&["Bearer abc"], local, "key abc"),
            (&["Bearer "], local, "absent"),
            (&["Basic abc"], local, "absent"),
            (&["Bearerabc"], tcp, "absent"),
            (&["Bearer a", "Bearer b"], local, "absent"),
        ] {
            assert_eq!(shown(headers, door), expected, "{headers:?} at {door:?}");
        }
    }
}
