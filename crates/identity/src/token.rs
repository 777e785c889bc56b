//! Reads the tokens of a provider. Pure: keys come from outside.

use std::collections::BTreeMap;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;
use serde_json::Value;

use crate::IdentityError;

/// Largest token.
pub const TOKEN_BYTES_MAX: usize = 64 << 10;
/// Most groups that somebody is in.
pub const GROUPS_MAX: usize = 256;
/// Longest name of a group, in bytes.
const GROUP_BYTES_MAX: usize = 256;
/// Longest subject (`OpenID` Connect Core, section 2), issuer and session id.
const NAME_BYTES_MAX: usize = 255;
/// Longest id of a key.
const KID_BYTES_MAX: usize = 128;
/// How far clocks may be apart, in seconds.
const LEEWAY_S: u64 = 60;
/// How old a logout token may be, in seconds.
const LOGOUT_AGE_S_MAX: u64 = 300;
/// What a logout token is about (`OpenID` Connect Back-Channel Logout 1.0, section 2.4).
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Signatures that are accepted: each by a key that only the provider has.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Somebody, as a provider knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The provider's configured name.
    pub provider: String,
    /// Together with `subject` names an account; nothing else does.
    pub issuer: String,
    /// Unique at the issuer, and never given to somebody else.
    pub subject: String,
    /// The groups that they are in there.
    pub groups: Vec<String>,
    /// The session there.
    pub session: Option<String>,
    /// When they were last asked there who they are: seconds since 1970, never in the future. Only if the provider says that it has asked for the second
    /// factor that the settings demand.
    pub proved_at: Option<u64>,
    /// When the provider said it: seconds since 1970.
    pub issued_at: u64,
    /// When this ends to be true: seconds since 1970.
    pub expires_at: u64,
    /// What an access token is for, as its `scope` lists it.
    pub scope: Vec<String>,
}

/// Whom a provider has signed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedOut {
    /// The issuer.
    pub issuer: String,
    /// Who; none: whoever has the session.
    pub subject: Option<String>,
    /// Which session; none: all.
    pub session: Option<String>,
    /// Unique: each is accepted once.
    pub id: String,
}

/// What a header says, as far as it is believed.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<String>,
    pub(crate) kind: Option<String>,
}

/// The claims that all tokens have.
#[derive(Debug, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    #[serde(default)]
    pub(crate) sub: Option<String>,
    #[serde(default)]
    pub(crate) aud: Audience,
    #[serde(default)]
    pub(crate) azp: Option<String>,
    #[serde(default)]
    pub(crate) nonce: Option<String>,
    #[serde(default)]
    pub(crate) exp: Option<u64>,
    #[serde(default)]
    pub(crate) iat: Option<u64>,
    #[serde(default)]
    pub(crate) sid: Option<String>,
    #[serde(default)]
    pub(crate) jti: Option<String>,
    #[serde(default)]
    pub(crate) acr: Option<String>,
    #[serde(default)]
    pub(crate) amr: Vec<String>,
    #[serde(default)]
    pub(crate) auth_time: Option<u64>,
    #[serde(default)]
    pub(crate) scope: Option<String>,
    #[serde(flatten)]
    pub(crate) more: BTreeMap<String, Value>,
}

/// One or more.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
pub(crate) enum Audience {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn all(&self) -> &[String] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

fn rejected<T>(why: &'static str) -> Result<T, IdentityError> {
    Err(IdentityError::Rejected(why))
}

/// Reads the header, which nobody has signed yet: nothing in it may lead anywhere.
pub(crate) fn head(token: &str) -> Result<Head, IdentityError> {
    if token.len() > TOKEN_BYTES_MAX {
        return rejected("a token that is too long");
    }
    let Ok(header) = jsonwebtoken::decode_header(token) else {
        return rejected("no token, or one that is not signed");
    };
    if !ALGORITHMS.contains(&header.alg) {
        return rejected("a token with a signature that anybody could make");
    }
    // Where its key is, or that it is itself, a token cannot say (RFC 8725, sections 3.9 and 3.10).
    let leads = header.jku.is_some() || header.jwk.is_some() || header.x5u.is_some() || header.x5c.is_some();
    if leads || header.crit.is_some() || header.enc.is_some() || header.zip.is_some() {
        return rejected("a token that brings its own key, or asks for more than it may");
    }
    let is_name = |kid: &String| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+=:".contains(&byte);
        (1..=KID_BYTES_MAX).contains(&kid.len()) && kid.bytes().all(allowed)
    };
    if !header.kid.as_ref().is_none_or(is_name) {
        return rejected("a token whose key has an impossible name");
    }
    Ok(Head { algorithm: header.alg, kid: header.kid, kind: header.typ })
}

/// The claims of a token of `issuer`, signed with `key`, and in force now.
pub(crate) fn claims(
    token: &str,
    head: &Head,
    key: &DecodingKey,
    issuer: &str,
    expires: bool,
) -> Result<Claims, IdentityError> {
    let mut validation = Validation::new(head.algorithm);
    validation.leeway = LEEWAY_S;
    validation.validate_nbf = true;
    // Each kind has its own rules for it, below.
    validation.validate_aud = false;
    validation.set_issuer(&[issuer]);
    validation.set_required_spec_claims(if expires { &["exp", "iss"][..] } else { &["iss"] });
    validation.validate_exp = true;
    let Ok(decoded) = decode::<Claims>(token, key, &validation) else {
        return rejected("a token with another signature or issuer, or not in force now");
    };
    Ok(decoded.claims)
}

/// What is expected of an identity token.
pub(crate) struct Expected<'a> {
    pub(crate) client: &'a str,
    pub(crate) nonce: &'a str,
}

/// The rules for identity tokens (`OpenID` Connect Core 1.0, section 3.1.3.7).
pub(crate) fn identity(claims: &Claims, expected: &Expected<'_>) -> Result<(), IdentityError> {
    for_client(claims, expected.client)?;
    if claims.nonce.as_deref() != Some(expected.nonce) {
        return rejected("an identity token of another sign-in");
    }
    if claims.iat.is_none() {
        return rejected("an identity token that does not say when it was made");
    }
    Ok(())
}

fn for_client(claims: &Claims, client: &str) -> Result<(), IdentityError> {
    let audience = claims.aud.all();
    if !audience.iter().any(|one| one == client) {
        return rejected("a token for another client");
    }
    let speaks_for = claims.azp.as_deref();
    if speaks_for.is_some_and(|party| party != client) || (audience.len() > 1 && speaks_for.is_none()) {
        return rejected("a token that another client was given");
    }
    Ok(())
}

/// The rules for access tokens (RFC 9068, section 4).
pub(crate) fn access(
    claims: &Claims,
    head: &Head,
    kinds: &[String],
    audience: &str,
) -> Result<(), IdentityError> {
    let kind = head.kind.as_deref().unwrap_or_default();
    let kind = kind.get("application/".len()..).filter(|_| starts_as_media_type(kind)).unwrap_or(kind);
    if !kinds.iter().any(|known| known.eq_ignore_ascii_case(kind)) {
        return rejected("a token that is no access token");
    }
    if !claims.aud.all().iter().any(|one| one == audience) {
        return rejected("an access token for another server");
    }
    if claims.iat.is_none() {
        return rejected("an access token that does not say when it was made");
    }
    Ok(())
}

fn starts_as_media_type(kind: &str) -> bool {
    kind.get(.."application/".len()).is_some_and(|start| start.eq_ignore_ascii_case("application/"))
}

/// The rules for logout tokens (`OpenID` Connect Back-Channel Logout 1.0, section 2.6).
pub(crate) fn logout(claims: &Claims, client: &str, now_s: u64) -> Result<LoggedOut, IdentityError> {
    for_client(claims, client)?;
    if claims.nonce.is_some() {
        return rejected("an identity token in the place of a logout token");
    }
    let is_event =
        claims.more.get("events").and_then(|events| events.get(LOGOUT_EVENT)).is_some_and(Value::is_object);
    if !is_event {
        return rejected("a token that ends no session");
    }
    let is_recent = claims.iat.is_some_and(|at| at <= now_s + LEEWAY_S && now_s <= at + LOGOUT_AGE_S_MAX);
    if !is_recent {
        return rejected("a logout token of another time");
    }
    let Some(id) = claims.jti.clone().filter(|id| id.len() <= NAME_BYTES_MAX) else {
        return rejected("a logout token without an id");
    };
    if claims.sub.is_none() && claims.sid.is_none() {
        return rejected("a logout token that names nobody");
    }
    Ok(LoggedOut { issuer: claims.iss.clone(), subject: claims.sub.clone(), session: claims.sid.clone(), id })
}

/// The subject of a token.
pub(crate) fn subject(claims: &Claims) -> Result<&str, IdentityError> {
    let fits = |text: &&str| (1..=NAME_BYTES_MAX).contains(&text.len());
    let Some(subject) = claims.sub.as_deref().filter(fits) else {
        return rejected("a token that names nobody");
    };
    if claims.sid.as_ref().is_some_and(|sid| sid.len() > NAME_BYTES_MAX) {
        return rejected("a token with an impossible session");
    }
    Ok(subject)
}

/// The groups that a claim lists; none if it is absent.
pub(crate) fn groups(claim: Option<&Value>) -> Result<Option<Vec<String>>, IdentityError> {
    let fits = |group: &str| (1..=GROUP_BYTES_MAX).contains(&group.len());
    match claim {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(one)) if fits(one) => Ok(Some(vec![one.clone()])),
        Some(Value::Array(all)) if all.len() <= GROUPS_MAX => {
            let all = all.iter().map(|group| group.as_str().filter(|group| fits(group)).map(str::to_owned));
            all.collect::<Option<Vec<String>>>()
                .map(Some)
                .map_or_else(|| rejected("groups that are no names"), Ok)
        }
        Some(_) => rejected("more groups than anybody is in, or no list of names"),
    }
}

#[cfg(test)]
mod tests;
