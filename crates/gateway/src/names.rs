//! By which names the server may be addressed. Whoever uses another was led here by somebody else: a name of an attacker that
//! points to this machine (DNS rebinding), a page of another site, a proxy that confuses requests.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{credential::Door, error::ApiError, routes::HEALTH};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
        X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};

/// What a browser is told of every answer.
const STRICT: [(HeaderName, &str); 5] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];
/// Answers are for whoever asked, once.
const NOT_CACHED: &str = "no-store";
/// For a year, and only over TLS.
const HSTS: &str = "max-age=31536000; includeSubDomains";

/// The names of the server.
#[derive(Debug, Clone)]
pub struct Names(Arc<[String]>);

impl Names {
    /// `configured` are host names or addresses without a port; the address itself is one too, and on loopback all names of
    /// this machine for itself.
    pub fn new(listen: SocketAddr, configured: &[String]) -> Self {
        let mut names: Vec<String> = configured.iter().map(|name| name.to_ascii_lowercase()).collect();
        if !listen.ip().is_unspecified() {
            names.push(listen.ip().to_string());
        }
        if listen.ip().is_loopback() {
            names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
        }
        Self(names.into())
    }

    fn knows(&self, authority: &str) -> bool {
        host(authority).is_some_and(|host| self.0.contains(&host))
    }

    /// RFC 9112, section 3.2: one `Host`, also where the target says it again.
    fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(named), None) = (hosts.next(), hosts.next()) else { return Err(ApiError::BadHost) };
        let named = named.to_str().ok().filter(|named| host(named).is_some()).ok_or(ApiError::BadHost)?;
        if uri.authority().is_some_and(|authority| host(authority.as_str()) != host(named)) {
            return Err(ApiError::BadHost);
        }
        if !self.knows(named) {
            return Err(ApiError::UnknownHost);
        }
        // Only browsers send it, for what a page asks for: ours have no business with other sites.
        for origin in headers.get_all(ORIGIN) {
            let origin = origin.to_str().unwrap_or_default();
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            if !authority.is_some_and(|authority| self.knows(authority)) {
                return Err(ApiError::ForeignOrigin);
            }
        }
        Ok(())
    }
}

/// The host of `host:port`, in lower case and an address without brackets; none if it is of no such form.
fn host(authority: &str) -> Option<String> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        let address: IpAddr = address.parse().ok().filter(IpAddr::is_ipv6)?;
        (address.to_string(), rest.strip_prefix(':').map_or(rest.is_empty().then_some(""), Some)?)
    } else {
        let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
        (host.to_ascii_lowercase(), port)
    };
    let is_name = |host: &str| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte))
    };
    (is_name(&host) && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(host)
}

/// Whether two of `host:port` are the same, letter by letter but for case.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    host(one).is_some() && one.eq_ignore_ascii_case(other)
}

/// The layer around all routes: refuses other names at the public door, and makes every answer strict.
pub(crate) async fn guard(State(names): State<Names>, request: Request, next: Next) -> Response {
    let door = Door::of(request.extensions());
    let checked = match door {
        Door::Tcp { .. } => names.check(request.uri(), request.headers()),
        // No browser reaches it.
        Door::Local { .. } => Ok(()),
    };
    let checked = match checked {
        // Who looks after servers asks them by their address, and is told no more than that they are well.
        Err(ApiError::UnknownHost) if HEALTH.contains(&request.uri().path()) => Ok(()),
        checked => checked,
    };
    let mut response = match checked {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in STRICT {
        // Pages have rules of their own.
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(NOT_CACHED));
    if matches!(door, Door::Tcp { encrypted: true, .. }) {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(names: &Names, uri: &str, headers: &[(HeaderName, &str)]) -> &'static str {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        names.check(&uri.parse().unwrap(), &headers).map_or_else(|error| error.code(), |()| "ok")
    }

    #[test]
    fn only_the_servers_own_names_are_answered() {
        let names = Names::new("127.0.0.1:8080".parse().unwrap(), &["LLM.example.org".to_owned()]);
        for (named, expected) in [
            ("localhost", "ok"),
            ("localhost:8080", "ok"),
            ("LOCALHOST:1", "ok"),
            ("127.0.0.1:8080", "ok"),
            ("[::1]:8080", "ok"),
            ("llm.example.org", "ok"),
            ("evil.test", "unknown_host"),
            ("localhost.evil.test", "unknown_host"),
            ("10.0.0.1", "unknown_host"),
            ("x/../admin", "bad_host"),
            ("user@localhost", "bad_host"),
            ("localhost:x", "bad_host"),
            ("localhost:123456", "bad_host"),
            ("[::1", "bad_host"),
            ("", "bad_host"),
        ] {
            assert_eq!(verdict(&names, "/v1/models", &[(HOST, named)]), expected, "{named:?}");
        }
        assert_eq!(verdict(&names, "/", &[]), "bad_host");
        assert_eq!(verdict(&names, "/", &[(HOST, "localhost"), (HOST, "localhost")]), "bad_host");
        assert_eq!(verdict(&names, "http://localhost/", &[(HOST, "localhost:80")]), "ok");
        assert_eq!(verdict(&names, "http://evil.test/", &[(HOST, "localhost")]), "bad_host");
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let names = Names::new("127.0.0.1:8080".parse().unwrap(), &[]);
        for (origin, expected) in [
            ("http://localhost:8080", "ok"),
            ("https://127.0.0.1", "ok"),
            ("null", "foreign_origin"),
            ("http://evil.test", "foreign_origin"),
            ("http://localhost.evil.test", "foreign_origin"),
            ("localhost", "foreign_origin"),
        ] {
            assert_eq!(verdict(&names, "/", &[(HOST, "localhost"), (ORIGIN, origin)]), expected, "{origin}");
        }
    }

    #[test]
    fn an_address_that_stands_for_all_is_no_name() {
        let names = Names::new("0.0.0.0:8443".parse().unwrap(), &["llm.example.org".to_owned()]);
        assert_eq!(verdict(&names, "/", &[(HOST, "llm.example.org:8443")]), "ok");
        assert_eq!(verdict(&names, "/", &[(HOST, "0.0.0.0:8443")]), "unknown_host");
        assert_eq!(verdict(&names, "/", &[(HOST, "localhost")]), "unknown_host");
    }
}
