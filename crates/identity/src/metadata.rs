//! What a provider says about itself (`OpenID` Connect Discovery 1.0), and fetching short JSON documents.

use outbound::{Fetch, Outbound};
use serde::{Deserialize, de::DeserializeOwned};
use types::Secret;
use url::Url;

use crate::IdentityError;

/// Most bytes of a document of a provider.
const DOCUMENT_BYTES_MAX: u64 = 256 << 10;

/// Where a provider has what.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) issuer: String,
    pub(crate) authorization_endpoint: Url,
    pub(crate) token_endpoint: Url,
    pub(crate) jwks_uri: Url,
    #[serde(default)]
    pub(crate) userinfo_endpoint: Option<Url>,
    #[serde(default)]
    pub(crate) end_session_endpoint: Option<Url>,
    #[serde(default)]
    pub(crate) token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// Whether every answer says which provider it is of (RFC 9207).
    #[serde(default)]
    pub(crate) authorization_response_iss_parameter_supported: bool,
}

/// The address of the metadata of an issuer: the issuer itself, followed by this path.
pub(crate) fn address(issuer: &str) -> Option<Url> {
    Url::parse(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))).ok()
}

impl Metadata {
    /// Whether it is of this issuer, letter by letter, and sends nobody to an address that is not encrypted.
    pub(crate) fn check(self, issuer: &str) -> Result<Self, String> {
        if self.issuer != issuer {
            return Err("it says that it is another issuer; `issuer` must be what it says, letter by letter"
                .to_owned());
        }
        let optional = [self.userinfo_endpoint.as_ref(), self.end_session_endpoint.as_ref()];
        let all = [&self.authorization_endpoint, &self.token_endpoint, &self.jwks_uri].into_iter();
        if all.chain(optional.into_iter().flatten()).any(|url| url.scheme() != "https") {
            return Err("one of its addresses is not `https`".to_owned());
        }
        Ok(self)
    }
}

/// Fetches a JSON document.
pub(crate) async fn fetch<T: DeserializeOwned>(
    outbound: &Outbound,
    provider: &str,
    url: &Url,
    token: Option<Secret>,
) -> Result<T, IdentityError> {
    let unreachable = |error| IdentityError::Unreachable { provider: provider.to_owned(), error };
    let accept = Some("application/json".to_owned());
    let fetch = Fetch { token, accept, ..Fetch::new(DOCUMENT_BYTES_MAX) };
    let answer = outbound.get(url, &fetch).await.map_err(unreachable)?;
    let bytes = answer.body.collect().await.map_err(unreachable)?;
    serde_json::from_slice(&bytes).map_err(|_| IdentityError::BadProvider {
        provider: provider.to_owned(),
        why: format!("{} is not the JSON that the standard asks for", url.path()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_are_of_their_issuer_and_encrypted() {
        let of = |issuer: &str, token: &str| {
            let text = format!(
                "{{\"issuer\":\"{issuer}\",\"authorization_endpoint\":\"https://a/b\",\"token_endpoint\":\"{token}\",\
                 \"jwks_uri\":\"https://a/d\",\"more\":1}}"
            );
            serde_json::from_str::<Metadata>(&text).unwrap().check("https://a").is_ok()
        };
        assert!(of("https://a", "https://a/c"));
        assert!(!of("https://a/", "https://a/c") && !of("https://b", "https://a/c"));
        assert!(!of("https://a", "http://a/c"));
        assert_eq!(address("https://a/b/").unwrap().as_str(), "https://a/b/.well-known/openid-configuration");
    }
}
