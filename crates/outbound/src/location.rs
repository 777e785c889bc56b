//! Where a request may go, and where a redirect may lead it next. Pure: no name is looked up here.

use std::fmt;

use url::{Host, Position, Url};

use crate::OutboundError;

/// Longest URL: signed ones of storage services have two or three thousand bytes.
const URL_BYTES_MAX: usize = 8 << 10;
/// How much of a URL an error shows.
const SHOWN_BYTES_MAX: usize = 200;

/// A URL as it may be shown: scheme, host and path, without user, query string and fragment, which may hold secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(String);

impl Place {
    /// What may be shown of `url`. Long ones are cut.
    pub fn of(url: &Url) -> Self {
        let host = &url[Position::BeforeHost..Position::AfterPort];
        // The content of a `data:` URL is no path.
        let path = if url.cannot_be_a_base() { "" } else { url.path() };
        let slashes = if host.is_empty() { "" } else { "//" };
        let mut shown = format!("{}:{slashes}{host}{path}", url.scheme());
        // All of it is ASCII: the parser encodes the rest.
        if shown.len() > SHOWN_BYTES_MAX {
            shown.truncate(SHOWN_BYTES_MAX);
            shown.push_str("...");
        }
        Self(shown)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A URL that we go to, if its host turns out to be at an address that we connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    url: Url,
    host: Host<String>,
    port: u16,
}

impl Target {
    pub(crate) fn new(url: &Url) -> Result<Self, OutboundError> {
        Self::parse(url).map_err(|why| OutboundError::BadUrl { place: Place::of(url), why })
    }

    fn parse(url: &Url) -> Result<Self, &'static str> {
        if url.scheme() != "https" {
            return Err(
                "only https is; plain http lets anybody on the way read the token and change the file",
            );
        }
        if url.as_str().len() > URL_BYTES_MAX {
            return Err("it is longer than 8192 bytes");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it contains a user or a password; give a token instead");
        }
        let host = url.host().ok_or("it names no host")?.to_owned();
        let port = url.port_or_known_default().filter(|port| *port != 0).ok_or("its port is not one")?;
        let mut url = url.clone();
        url.set_fragment(None);
        Ok(Self { url, host, port })
    }

    /// Where a redirect from here leads. `location` is what the server wrote: absolute, or relative to here.
    pub(crate) fn redirected(&self, location: &[u8]) -> Result<Self, OutboundError> {
        let refuse = |why: String| OutboundError::BadRedirect { place: self.place(), why };
        if location.len() > URL_BYTES_MAX {
            return Err(refuse(format!("it is longer than {URL_BYTES_MAX} bytes")));
        }
        let text = str::from_utf8(location).map_err(|_| refuse("it is not text".to_owned()))?;
        let url = self.url.join(text).map_err(|why| refuse(format!("it is no address ({why})")))?;
        Self::parse(&url).map_err(|why| refuse(format!("{}: {why}", Place::of(&url))))
    }

    pub(crate) fn host(&self) -> &Host<String> {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn place(&self) -> Place {
        Place::of(&self.url)
    }

    /// For the `Host` field: with the port, unless it is the usual one.
    pub(crate) fn authority(&self) -> &str {
        &self.url[Position::BeforeHost..Position::AfterPort]
    }

    /// For the first line of the request: path and query.
    pub(crate) fn resource(&self) -> &str {
        &self.url[Position::BeforePath..Position::AfterQuery]
    }

    /// Whether what was meant for the one may be said to the other.
    pub(crate) fn has_same_host(&self, other: &Self) -> bool {
        self.host == other.host && self.port == other.port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Result<Target, String> {
        let url = Url::parse(text).map_err(|error| format!("not parsed: {error}"))?;
        Target::new(&url).map_err(|error| error.to_string())
    }

    #[test]
    fn a_host_in_any_notation_is_the_address_that_it_means() {
        let cases = [
            ("https://2130706433/", "127.0.0.1"),
            ("https://0x7f000001/", "127.0.0.1"),
            ("https://0x7f.1/", "127.0.0.1"),
            ("https://017700000001/", "127.0.0.1"),
            ("https://0177.0.0.01/", "127.0.0.1"),
            ("https://127.1/", "127.0.0.1"),
            ("https://127.0.0.1./", "127.0.0.1"),
            ("https://%31%32%37.0.0.1/", "127.0.0.1"),
            ("https://\u{ff11}\u{ff12}\u{ff17}.0.0.1/", "127.0.0.1"),
            ("https://127\u{3002}0\u{3002}0\u{3002}1/", "127.0.0.1"),
            ("https://[::ffff:10.0.0.1]/", "[::ffff:a00:1]"),
            ("https://[::FFFF:0A00:0001]/", "[::ffff:a00:1]"),
            ("https://[0:0:0:0:0:0:0:1]/", "[::1]"),
            ("https://LOCALHOST/", "localhost"),
            ("https://localhost./", "localhost."),
            ("https:\\\\models.test\\a", "models.test"),
            ("https://m\u{fc}nchen.test/", "xn--mnchen-3ya.test"),
        ];
        for (text, host) in cases {
            assert_eq!(target(text).unwrap().host().to_string(), host, "{text}");
        }
    }

    #[test]
    fn what_is_not_fetched_says_why() {
        let long = format!("https://models.test/{}", "a".repeat(URL_BYTES_MAX));
        let cases = [
            ("http://models.test/", "only https"),
            ("ftp://models.test/", "only https"),
            ("file:///etc/passwd", "only https"),
            ("data:text/plain,secret", "only https"),
            ("https://user@models.test/", "user or a password"),
            ("https://:pass@models.test/", "user or a password"),
            ("https://models.test:0/", "port"),
            ("https://", "not parsed"),
            ("https://256.256.256.256/", "not parsed"),
            ("https://[::1/", "not parsed"),
            ("https://models.test:65536/", "not parsed"),
            (&long, "longer than 8192"),
        ];
        for (text, says) in cases {
            let error = target(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_redirect_leads_to_what_is_fetched_or_nowhere() {
        let here = target("https://models.test/a/b?token=1").unwrap();
        let good = [
            ("https://cdn.test/x?sig=2#part", "https://cdn.test/x"),
            ("/c", "https://models.test/c"),
            ("c", "https://models.test/a/c"),
            ("../c", "https://models.test/c"),
            ("?page=2", "https://models.test/a/b"),
            ("//cdn.test:8443/c", "https://cdn.test:8443/c"),
            ("", "https://models.test/a/b"),
        ];
        for (location, place) in good {
            assert_eq!(
                here.redirected(location.as_bytes()).unwrap().place().to_string(),
                place,
                "{location}"
            );
        }
        let bad: [(&[u8], &str); 7] = [
            (b"http://cdn.test/", "only https"),
            (b"file:///etc/passwd", "only https"),
            (b"javascript:alert(1)", "only https"),
            (b"https://user:pass@cdn.test/", "user or a password"),
            (b"https://[::1", "no address"),
            (b"\xff\xfe", "not text"),
            (&[b'a'; URL_BYTES_MAX + 1], "longer than"),
        ];
        for (location, says) in bad {
            let error = here.redirected(location).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("pass@"), "{error}");
        }
    }

    #[test]
    fn only_the_same_host_and_port_are_the_same_host() {
        let here = target("https://models.test/").unwrap();
        let cases = [
            ("https://models.test:443/other", true),
            ("https://MODELS.test/", true),
            ("https://models.test:8443/", false),
            ("https://sub.models.test/", false),
            ("https://models.test./", false),
        ];
        for (other, same) in cases {
            assert_eq!(here.has_same_host(&target(other).unwrap()), same, "{other}");
        }
    }

    #[test]
    fn what_is_shown_holds_no_secret_and_ends() {
        let shown = |text: &str| Place::of(&Url::parse(text).unwrap()).to_string();
        assert_eq!(shown("https://me:pass@cdn.test:8443/a?sig=secret#secret"), "https://cdn.test:8443/a");
        assert_eq!(shown("data:text/plain,secret"), "data:");
        assert_eq!(shown("file:///etc/passwd"), "file:/etc/passwd");
        assert_eq!(shown("https://cdn.test/\u{1b}[31m\u{202e}"), "https://cdn.test/%1B[31m%E2%80%AE");
        let long = shown(&format!("https://cdn.test/{}", "a".repeat(1000)));
        assert!(long.len() == SHOWN_BYTES_MAX + 3 && long.ends_with("..."));
    }
}
