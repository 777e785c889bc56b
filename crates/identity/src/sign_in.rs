//! A sign-in in a browser: the code flow of `OpenID` Connect, always with PKCE, `nonce`, `state` and `iss`.

use data_encoding::{BASE64, BASE64URL_NOPAD};
use outbound::Call;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use types::Secret;
use url::{Url, form_urlencoded};

use crate::{
    Claimed, IdentityError, Provider, code,
    metadata::{self, Metadata},
    token::{self, Expected},
};

/// Most bytes of the answer to a code: a token and what is around it.
const ANSWER_BYTES_MAX: u64 = 256 << 10;
/// Longest code of a provider.
const CODE_BYTES_MAX: usize = 4_096;
/// Longest name of an error that is repeated.
const ERROR_BYTES_MAX: usize = 64;

/// A sign-in that has begun. It is kept here, and the browser that began it is known by who keeps it.
pub struct Pending {
    /// What the browser must bring back.
    pub state: String,
    nonce: String,
    verifier: Secret,
    back: Url,
}

/// What a browser brings back.
#[derive(Debug, Default, Deserialize)]
pub struct Callback {
    /// Which sign-in it is.
    #[serde(default)]
    pub state: String,
    /// To be redeemed.
    #[serde(default)]
    pub code: Option<String>,
    /// Whose answer it is (RFC 9207).
    #[serde(default)]
    pub iss: Option<String>,
    /// What went wrong there.
    #[serde(default)]
    pub error: Option<String>,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    #[serde(default)]
    access_token: Option<String>,
}

impl Provider {
    /// The address at the provider, and what is kept here. `back` is where the browser comes back to. A sign-in that is `anew` asks
    /// the person again who they are, also if the provider knows it already.
    pub async fn begin(&self, back: &Url, anew: bool) -> Result<(Url, Pending), IdentityError> {
        let metadata = self.metadata().await?;
        let (state, nonce, verifier) = (code::random()?, code::random()?, code::random()?);
        let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(verifier.as_bytes()));
        let settings = &self.settings;
        let mut scopes = vec!["openid"];
        scopes.extend(settings.scopes.iter().map(String::as_str).filter(|scope| *scope != "openid"));
        let mut url = metadata.authorization_endpoint.clone();
        {
            let mut query = url.query_pairs_mut();
            query
                .append_pair("response_type", "code")
                .append_pair("client_id", &settings.client_id)
                .append_pair("redirect_uri", back.as_str())
                .append_pair("scope", &scopes.join(" "))
                .append_pair("state", &state)
                .append_pair("nonce", &nonce)
                .append_pair("code_challenge", &challenge)
                .append_pair("code_challenge_method", "S256");
            if !settings.acr.is_empty() {
                query.append_pair("acr_values", &settings.acr.join(" "));
            }
            if anew {
                query.append_pair("prompt", "login").append_pair("max_age", "0");
            }
        }
        Ok((url, Pending { state, nonce, verifier: Secret::from(verifier), back: back.clone() }))
    }

    /// Who it is.
    pub async fn finish(&self, pending: Pending, callback: &Callback) -> Result<Claimed, IdentityError> {
        // Whoever keeps it has found it by its state; it is compared all the same.
        if callback.state != pending.state {
            return Err(IdentityError::Rejected("the answer to another sign-in"));
        }
        let metadata = self.metadata().await?;
        let is_right = match &callback.iss {
            Some(issuer) => *issuer == self.settings.issuer,
            None => !metadata.authorization_response_iss_parameter_supported,
        };
        if !is_right {
            return Err(IdentityError::Rejected("the answer of another provider"));
        }
        if let Some(error) = &callback.error {
            return Err(self.declined(error));
        }
        let Some(code) = callback.code.as_deref().filter(|code| (1..=CODE_BYTES_MAX).contains(&code.len()))
        else {
            return Err(IdentityError::Rejected("an answer without a code"));
        };
        let tokens = self.redeem(&metadata, code, &pending).await?;
        let (_, claims) = self.read(&tokens.id_token, true).await?;
        token::identity(&claims, &Expected { client: &self.settings.client_id, nonce: &pending.nonce })?;
        let subject = token::subject(&claims)?;
        let groups = match token::groups(claims.more.get(&self.settings.groups_claim))? {
            Some(groups) => groups,
            None => self.groups_elsewhere(&metadata, subject, tokens.access_token).await?,
        };
        self.claimed(&claims, groups)
    }

    async fn redeem(
        &self,
        metadata: &Metadata,
        code: &str,
        pending: &Pending,
    ) -> Result<Tokens, IdentityError> {
        let settings = &self.settings;
        let field = |text: &str| Secret::from(text.to_owned());
        let (grant, code, back) = (field("authorization_code"), field(code), field(pending.back.as_str()));
        let client = field(&settings.client_id);
        let mut fields = vec![
            ("grant_type", &grant),
            ("code", &code),
            ("redirect_uri", &back),
            ("code_verifier", &pending.verifier),
        ];
        let mut authorization = None;
        match &settings.client_secret {
            None => fields.push(("client_id", &client)),
            // Without a word about it, this is what a provider takes (Discovery 1.0, section 3).
            Some(secret) if offers(metadata, "client_secret_basic") => {
                authorization = Some(basic(&settings.client_id, secret));
            }
            Some(secret) => fields.extend([("client_id", &client), ("client_secret", secret.as_ref())]),
        }
        let call = Call::form(&fields, authorization, ANSWER_BYTES_MAX);
        let reply = self.outbound.call(&metadata.token_endpoint, &call).await;
        let provider = || settings.name.clone();
        let reply = reply.map_err(|error| IdentityError::Unreachable { provider: provider(), error })?;
        if !reply.status.is_success() {
            let said: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            return Err(self.declined(said["error"].as_str().unwrap_or_default()));
        }
        serde_json::from_slice(&reply.body).map_err(|_| IdentityError::BadProvider {
            provider: provider(),
            why: "it answers a code with no identity token".to_owned(),
        })
    }

    /// Groups that do not stand in the token may be told at the userinfo endpoint, about the same subject.
    async fn groups_elsewhere(
        &self,
        metadata: &Metadata,
        subject: &str,
        token: Option<String>,
    ) -> Result<Vec<String>, IdentityError> {
        let (Some(url), Some(token)) = (&metadata.userinfo_endpoint, token) else { return Ok(Vec::new()) };
        let name = &self.settings.name;
        let about: Value = metadata::fetch(&self.outbound, name, url, Some(Secret::from(token))).await?;
        if about["sub"].as_str() != Some(subject) {
            return Err(IdentityError::Rejected("the provider speaks of somebody else"));
        }
        Ok(token::groups(about.get(&self.settings.groups_claim))?.unwrap_or_default())
    }

    /// Repeats the name of an error only if it is one: it comes from outside.
    fn declined(&self, error: &str) -> IdentityError {
        let is_name = (1..=ERROR_BYTES_MAX).contains(&error.len())
            && error.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let code = if is_name { error } else { "no reason given" };
        IdentityError::Declined { provider: self.settings.name.clone(), code: code.to_owned() }
    }
}

fn offers(metadata: &Metadata, method: &str) -> bool {
    let offered = metadata.token_endpoint_auth_methods_supported.as_ref();
    offered.is_none_or(|offered| offered.iter().any(|offered| offered == method))
}

/// RFC 6749, section 2.3.1: both are encoded as in a form first.
fn basic(client: &str, secret: &Secret) -> Secret {
    let encoded = |bytes: &[u8]| form_urlencoded::byte_serialize(bytes).collect::<String>();
    let both =
        zeroize::Zeroizing::new(format!("{}:{}", encoded(client.as_bytes()), encoded(secret.expose())));
    Secret::from(format!("Basic {}", BASE64.encode(both.as_bytes())))
}
