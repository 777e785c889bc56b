//! Cookies: two, both `__Host-` ones, so that no other site and no plain connection can set or read them.

use axum::http::HeaderMap;
use http::{HeaderValue, header};
use types::Secret;

/// The secret of a login session.
pub(crate) const SESSION: &str = "__Host-llmos";
/// Names a browser while it signs in.
const BROWSER: &str = "__Host-llmos-browser";
/// How long a browser has its name, in seconds: as long as a sign-in may take.
const BROWSER_S: u32 = 900;
/// Not for scripts, not over plain connections, and not with what other sites ask for.
const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Lax";
/// Most bytes of a name of a browser.
const BROWSER_BYTES: usize = 43;

/// The session of a browser.
pub(crate) fn session(headers: &HeaderMap) -> Option<Secret> {
    only(headers, SESSION).map(|value| Secret::from(value.to_owned()))
}

/// The name of a browser that signs in.
pub(crate) fn browser(headers: &HeaderMap) -> Option<&str> {
    let fits = |name: &&str| {
        name.len() == BROWSER_BYTES
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    only(headers, BROWSER).filter(fits)
}

/// The value of a cookie that is there once. Of two of one name it cannot be known which is ours.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut values = pairs
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter_map(|(known, value)| (known == name).then_some(value));
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

/// Keeps a session in the browser until the browser is closed, or the session is over.
pub(crate) fn set_session(secret: &Secret) -> Option<HeaderValue> {
    let value = [format!("{SESSION}=").as_bytes(), secret.expose(), b"; ", ATTRIBUTES.as_bytes()].concat();
    let mut value = HeaderValue::from_bytes(&value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

pub(crate) fn clear_session() -> HeaderValue {
    HeaderValue::from_static("__Host-llmos=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax")
}

pub(crate) fn set_browser(name: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("{BROWSER}={name}; Max-Age={BROWSER_S}; {ATTRIBUTES}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_counts_if_it_is_there_once() {
        let of = |lines: &[&str]| {
            let headers: HeaderMap =
                lines.iter().map(|line| (header::COOKIE, HeaderValue::from_str(line).unwrap())).collect();
            session(&headers).map(|secret| String::from_utf8_lossy(secret.expose()).into_owned())
        };
        assert_eq!(of(&["a=b; __Host-llmos=x; c=d"]).as_deref(), Some("x"));
        assert_eq!(of(&["a=b", "__Host-llmos=x"]).as_deref(), Some("x"));
        for lines in
            [&["a=b"][..], &[], &["__Host-llmos=x; __Host-llmos=y"], &["__Host-llmos=x", "__Host-llmos=x"]]
        {
            assert_eq!(of(lines), None, "{lines:?}");
        }
        assert_eq!(of(&["__host-llmos=x; llmos=y; __Host-llmos-browser=z"]), None);
    }

    #[test]
    fn cookies_are_for_this_host_only_and_not_for_scripts() {
        let of = |value: Option<HeaderValue>| value.unwrap().to_str().unwrap().to_owned();
        let all =
            [of(set_session(&Secret::from("x".to_owned()))), of(set_browser("y")), of(Some(clear_session()))];
        for cookie in all {
            assert!(cookie.starts_with("__Host-") && !cookie.contains("Domain"), "{cookie}");
            for attribute in ["; Path=/", "; Secure", "; HttpOnly", "; SameSite=Lax"] {
                assert!(cookie.contains(attribute), "{cookie}");
            }
        }
    }
}
