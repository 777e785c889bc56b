//! One provider: what is set about it, what it says of itself, and its keys.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::jwk::JwkSet;
use outbound::Outbound;
use tokio::{sync::Mutex, time::Instant};
use types::Secret;
use url::Url;

use crate::{
    Claimed, IdentityError, LoggedOut,
    keys::Keys,
    metadata::{self, Metadata},
    token::{self, Claims, Head},
};

/// How long what a provider says of itself is believed.
const METADATA_FRESH: Duration = Duration::from_secs(3_600);
/// Least time between two tries to get it.
const METADATA_FLOOR: Duration = Duration::from_secs(5);

/// What an administrator sets about a provider.
#[derive(Clone)]
pub struct ProviderSettings {
    /// Its name here: in addresses, role mappings and names of users.
    pub name: String,
    /// Its issuer, letter by letter.
    pub issuer: String,
    /// Who we are there.
    pub client_id: String,
    /// How we prove it; none for a public client.
    pub client_secret: Option<Arc<Secret>>,
    /// Asked for beside `openid`.
    pub scopes: Vec<String>,
    /// The claim that lists the groups of somebody.
    pub groups_claim: String,
    /// Who we are in access tokens; none: no access tokens of this provider are accepted.
    pub audience: Option<String>,
    /// The types that access tokens have in their header: `at+jwt`, where the provider follows RFC 9068.
    pub token_types: Vec<String>,
    /// Levels of authentication, one of which counts as a second factor.
    pub acr: Vec<String>,
    /// Methods of authentication, one of which counts as a second factor.
    pub amr: Vec<String>,
}

impl ProviderSettings {
    /// Whether the provider is asked for the second factor. If not, it is asked for here.
    pub fn asks_for_second_factor(&self) -> bool {
        !self.acr.is_empty() || !self.amr.is_empty()
    }
}

/// A provider.
pub struct Provider {
    pub(crate) settings: ProviderSettings,
    pub(crate) outbound: Outbound,
    metadata: RwLock<Option<(Arc<Metadata>, Instant)>>,
    /// When it was last tried. Held meanwhile: the others wait and look again.
    tried: Mutex<Option<Instant>>,
    keys: Keys,
}

impl Provider {
    /// Connects to nobody yet.
    pub fn new(settings: ProviderSettings, outbound: Outbound) -> Self {
        let (metadata, tried) = (RwLock::default(), Mutex::default());
        Self { settings, outbound, metadata, tried, keys: Keys::default() }
    }

    /// What is set about it.
    pub fn settings(&self) -> &ProviderSettings {
        &self.settings
    }

    /// Somebody, by an access token that the provider made for this server.
    pub async fn access_token(&self, token: &str) -> Result<Claimed, IdentityError> {
        let Some(audience) = &self.settings.audience else {
            return Err(IdentityError::Rejected("access tokens of this provider are not accepted"));
        };
        let (head, claims) = self.read(token, true).await?;
        token::access(&claims, &head, &self.settings.token_types, audience)?;
        let groups = token::groups(claims.more.get(&self.settings.groups_claim))?.unwrap_or_default();
        self.claimed(&claims, groups)
    }

    /// Whom the provider has signed out, by a logout token.
    pub async fn logout_token(&self, token: &str) -> Result<LoggedOut, IdentityError> {
        let (_, claims) = self.read(token, false).await?;
        token::logout(&claims, &self.settings.client_id, now_s())
    }

    /// The issuer that a token says it is of, before anything of it is believed: to find the provider that is to be asked.
    pub fn issuer_of(token: &str) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct Issued {
            iss: String,
        }
        (token.len() <= crate::TOKEN_BYTES_MAX)
            .then(|| jsonwebtoken::dangerous::insecure_decode::<Issued>(token).ok())
            .flatten()
            .map(|decoded| decoded.claims.iss)
    }

    /// Reads a token of this provider.
    pub(crate) async fn read(&self, token: &str, expires: bool) -> Result<(Head, Claims), IdentityError> {
        let head = token::head(token)?;
        let fetch = || async {
            let metadata = self.metadata().await?;
            metadata::fetch::<JwkSet>(&self.outbound, &self.settings.name, &metadata.jwks_uri, None).await
        };
        let key = self.keys.find(head.kid.as_deref(), head.algorithm, fetch).await?;
        let claims = token::claims(token, &head, &key, &self.settings.issuer, expires)?;
        Ok((head, claims))
    }

    pub(crate) fn claimed(&self, claims: &Claims, groups: Vec<String>) -> Result<Claimed, IdentityError> {
        let settings = &self.settings;
        let has_factor = claims.acr.as_ref().is_some_and(|acr| settings.acr.contains(acr))
            || claims.amr.iter().any(|method| settings.amr.contains(method));
        let asked_at = claims.auth_time.or(claims.iat);
        Ok(Claimed {
            provider: settings.name.clone(),
            issuer: claims.iss.clone(),
            subject: token::subject(claims)?.to_owned(),
            groups,
            session: claims.sid.clone(),
            proved_at: asked_at.filter(|_| has_factor).map(|at| at.min(now_s())),
            issued_at: claims.iat.unwrap_or_default().min(now_s()),
            expires_at: claims.exp.unwrap_or_default(),
            scope: claims.scope.iter().flat_map(|scope| scope.split(' ')).map(str::to_owned).collect(),
        })
    }

    /// What the provider says of itself, fetched at most once in [`METADATA_FRESH`].
    pub(crate) async fn metadata(&self) -> Result<Arc<Metadata>, IdentityError> {
        if let Some(fresh) = self.known(METADATA_FRESH) {
            return Ok(fresh);
        }
        let mut tried = self.tried.lock().await;
        if let Some(fresh) = self.known(METADATA_FRESH) {
            return Ok(fresh);
        }
        let bad = |why: String| IdentityError::BadProvider { provider: self.settings.name.clone(), why };
        if tried.is_some_and(|tried| Instant::now() - tried < METADATA_FLOOR) {
            return self.known(Duration::MAX).ok_or_else(|| bad("it did not answer a moment ago".to_owned()));
        }
        *tried = Some(Instant::now());
        let address = metadata::address(&self.settings.issuer);
        let address = address.ok_or_else(|| bad("`issuer` is no address".to_owned()))?;
        let fetched = metadata::fetch::<Metadata>(&self.outbound, &self.settings.name, &address, None).await;
        let metadata = Arc::new(match fetched {
            Ok(fetched) => fetched.check(&self.settings.issuer).map_err(bad)?,
            // Its addresses change once in years; that it is away for a while is no reason to send anybody away.
            Err(error) => return self.known(Duration::MAX).ok_or(error),
        });
        *self.metadata.write().unwrap_or_else(PoisonError::into_inner) =
            Some((metadata.clone(), Instant::now()));
        Ok(metadata)
    }

    fn known(&self, age_max: Duration) -> Option<Arc<Metadata>> {
        let known = self.metadata.read().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|(_, at)| at.elapsed() < age_max).map(|(metadata, _)| metadata.clone())
    }

    /// Where somebody signs out at the provider and comes back from, if it offers that.
    pub async fn end_session(&self, back: &Url) -> Option<Url> {
        let mut url = self.metadata().await.ok()?.end_session_endpoint.clone()?;
        url.query_pairs_mut()
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("post_logout_redirect_uri", back.as_str());
        Some(url)
    }
}

pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
