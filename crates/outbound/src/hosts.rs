//! Which hosts may be asked, where there is a list of them. Pure: a host is known by what stands in the URL.

use std::{fmt, str::FromStr};

use url::Host;

use crate::OutboundError;

/// Stands for every host.
const ANY: &str = "*";
/// What stands before a name to mean all hosts below it.
const BELOW: &str = "*.";

/// A host on a list: `models.example.org`, an address, all hosts below a name (`*.example.org`), or every host (`*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed(Which);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Which {
    Any,
    One(Host),
    /// With the point that parts it from what is below.
    Below(String),
}

impl Listed {
    /// Only this host.
    pub fn one(host: Host<&str>) -> Self {
        Self(Which::One(host.to_owned()))
    }

    /// Whether a host is meant.
    pub fn has(&self, host: &Host) -> bool {
        match (&self.0, host) {
            (Which::Any, _) => true,
            (Which::One(one), host) => one == host,
            (Which::Below(ending), Host::Domain(name)) => name.ends_with(ending),
            (Which::Below(_), _) => false,
        }
    }
}

impl FromStr for Listed {
    type Err = OutboundError;

    fn from_str(text: &str) -> Result<Self, OutboundError> {
        let refuse = |why: String| OutboundError::BadHost { text: text.to_owned(), why };
        if text == ANY {
            return Ok(Self(Which::Any));
        }
        let (is_below, name) = text.strip_prefix(BELOW).map_or((false, text), |name| (true, name));
        let host = Host::parse(name).map_err(|error| refuse(error.to_string()))?;
        match host {
            Host::Domain(name) if name.contains('*') => {
                Err(refuse("`*` stands at the beginning only".to_owned()))
            }
            Host::Domain(name) if is_below => Ok(Self(Which::Below(format!(".{name}")))),
            _ if is_below => Err(refuse("nothing is below an address".to_owned())),
            one => Ok(Self(Which::One(one))),
        }
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Which::Any => f.write_str(ANY),
            Which::One(host) => host.fmt(f),
            Which::Below(ending) => write!(f, "*{ending}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    #[test]
    fn a_list_means_what_it_says_and_no_more() {
        for (listed, url, is_meant) in [
            ("huggingface.co", "https://huggingface.co/a", true),
            ("huggingface.co", "https://HUGGINGFACE.co:8443/a", true),
            ("huggingface.co", "https://cdn.huggingface.co/", false),
            ("huggingface.co", "https://huggingface.co.evil.test/", false),
            ("huggingface.co", "https://evil.test/huggingface.co", false),
            ("huggingface.co", "https://huggingface.co@evil.test/", false),
            ("huggingface.co", "https://huggingface.co./", false),
            ("*.hf.co", "https://cas-bridge.xethub.hf.co/", true),
            ("*.hf.co", "https://hf.co/", false),
            ("*.hf.co", "https://evilhf.co/", false),
            ("*.hf.co", "https://hf.co.evil.test/", false),
            ("127.0.0.1", "https://2130706433/", true),
            ("127.0.0.1", "https://127.0.0.2/", false),
            ("[::1]", "https://[0:0::1]/", true),
            ("m\u{fc}nchen.test", "https://xn--mnchen-3ya.test/", true),
            ("*", "https://10.0.0.1/", true),
        ] {
            let host = Url::parse(url).unwrap().host().unwrap().to_owned();
            assert_eq!(listed.parse::<Listed>().unwrap().has(&host), is_meant, "{listed} {url}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for (text, says) in [
            ("", "empty host"),
            ("https://huggingface.co", "invalid"),
            ("huggingface.co/models", "invalid"),
            ("huggingface.co:443", "invalid"),
            ("hugging*.co", "at the beginning only"),
            ("*.*.co", "at the beginning only"),
            ("*.10.0.0.1", "nothing is below an address"),
            ("*.", "empty host"),
        ] {
            let error = text.parse::<Listed>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        for text in ["huggingface.co", "*.hf.co", "*", "[::1]"] {
            assert_eq!(text.parse::<Listed>().unwrap().to_string(), text);
        }
    }
}
