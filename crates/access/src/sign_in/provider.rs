//! Sign-ins at a provider, and its tokens.

use std::time::Duration;

use identity::{Callback, Claimed, IdentityError, Provider};
use store::Store;
use types::{Principal, Scope, Secret, UserId};
use url::Url;

use super::{Flow, SignIn, SignInError, SignedIn, locked};
use crate::{
    AccessError, SessionKind, Stage,
    action::{self, ACTIONS},
    clock::now_s,
    sessions::{Opened, Session},
};

/// Longest between two looks at whether a token is good.
const LOOK_S_MAX: u64 = 60;
/// What stands before the name of an action in the `scope` of a token.
const SCOPE_PREFIX: &str = "llmos:";

impl SignIn {
    /// Where the browser goes to sign in. `browser` names it, and only it can bring the answer; `next` is where it goes
    /// afterwards. A sign-in `anew` asks again who they are.
    pub async fn begin(
        &self,
        provider: &str,
        browser: &str,
        next: String,
        anew: bool,
    ) -> Result<Url, SignInError> {
        let index = self.0.providers.iter().position(|known| known.settings().name == provider);
        let index = index.ok_or(SignInError::UnknownProvider)?;
        let back = self.back(provider);
        let (url, pending) = self.0.providers[index].begin(&back, anew).await?;
        let state = pending.state.clone();
        let flow = Flow { browser: browser.to_owned(), provider: index, pending, next };
        locked(&self.0.flows).insert(state, flow);
        Ok(url)
    }

    /// Where a provider sends browsers back to: what is registered there.
    fn back(&self, provider: &str) -> Url {
        self.at(&format!("/auth/callback/{provider}"))
    }

    /// Who it is. A session that the browser had before is over.
    pub async fn finish(
        &self,
        provider: &str,
        browser: &str,
        before: Option<&Secret>,
        callback: &Callback,
    ) -> Result<SignedIn, SignInError> {
        let flow = locked(&self.0.flows).take(&callback.state).ok_or(SignInError::Unknown)?;
        let from = &self.0.providers[flow.provider];
        // Of another browser, it is somebody else's sign-in; of another provider, a mix-up.
        if flow.browser != browser || from.settings().name != provider {
            return Err(SignInError::Unknown);
        }
        let claimed = from.finish(flow.pending, callback).await?;
        let user = self.account(&claimed, true).await?;
        let principal = self.0.keyring.principal_of(user)?.ok_or(AccessError::Unauthenticated)?;
        if principal.is_service {
            return Err(SignInError::ServiceAccount);
        }
        let is_proved = claimed.proved_at.is_some();
        let stage = if is_proved { Stage::Complete } else { Stage::FirstFactor };
        let opened = Opened {
            user,
            kind: SessionKind::Browser,
            stage,
            actions: Vec::new(),
            present_at: claimed.proved_at,
            account: Some((claimed.issuer, claimed.subject)),
            issuer_session: claimed.session,
        };
        let session = self.0.sessions.begin(opened, None).await?;
        if let Some(before) = before.and_then(|before| self.found(before).ok()) {
            self.0.sessions.end(|other| other.id == before.id).await?;
        }
        Ok(SignedIn { session, stage, next: flow.next })
    }

    /// The issuer of the provider of this name.
    pub(crate) fn issuer_named(&self, provider: &str) -> Option<&str> {
        let named = self.0.providers.iter().find(|known| known.settings().name == provider);
        named.map(|known| known.settings().issuer.as_str())
    }

    pub(crate) fn store(&self) -> &Store {
        self.0.keyring.store()
    }

    /// One change at a time of what providers push.
    pub(crate) async fn provisioning(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.provisioning.lock().await
    }

    /// What whoever shows an access token may do now, and until when it is good.
    pub(crate) async fn token_holder(&self, token: &Secret) -> Result<(Principal, u64), AccessError> {
        let (user, claimed) = self.token_account(token).await.map_err(|error| match error {
            SignInError::Access(error) => error,
            SignInError::Identity(
                error @ (IdentityError::Unreachable { .. } | IdentityError::BadProvider { .. }),
            ) => AccessError::Unavailable(error.to_string()),
            _ => AccessError::Unauthenticated,
        })?;
        let principal = self.0.keyring.principal_of(user)?.ok_or(AccessError::Unauthenticated)?;
        let actions = actions(&claimed.scope);
        Ok((Principal { scope: Scope::new(None, actions, Vec::new()), ..principal }, claimed.expires_at))
    }

    /// Resolves when an access token gives nothing any more: it has expired, or its user is suspended.
    pub(crate) async fn token_ended(&self, token: &Secret) {
        let mut changes = self.0.keyring.taken();
        while let Ok((_, expires_at)) = self.token_holder(token).await {
            let left = Duration::from_secs(expires_at.saturating_sub(now_s()).clamp(1, LOOK_S_MAX));
            // The sender lives as long as we do.
            let _ = tokio::time::timeout(left, changes.changed()).await;
        }
    }

    async fn token_account(&self, token: &Secret) -> Result<(UserId, Claimed), SignInError> {
        let no_token = || SignInError::from(AccessError::Unauthenticated);
        let token = str::from_utf8(token.expose()).map_err(|_| no_token())?;
        let issuer = Provider::issuer_of(token).ok_or_else(no_token)?;
        let provider = self.provider_of(&issuer).ok_or_else(no_token)?;
        let claimed = provider.access_token(token).await?;
        Ok((self.account(&claimed, false).await?, claimed))
    }

    /// Gives a program a session for the token of its platform (RFC 8693), for these actions only, or for all that it may.
    pub async fn exchange(&self, token: &Secret, scope: &str) -> Result<Secret, SignInError> {
        let (user, claimed) = self.token_account(token).await?;
        let asked: Vec<String> =
            scope.split(' ').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let own = actions(&claimed.scope);
        let all = Scope::new(None, own.clone(), Vec::new());
        let outside = |name: &&String| !ACTIONS.contains(&name.as_str()) || !action::in_scope(&all, name);
        if let Some(name) = asked.iter().find(outside) {
            let name = name.chars().take(64).collect();
            return Err(AccessError::OutOfScope { what: "action", name }.into());
        }
        let opened = Opened {
            user,
            kind: SessionKind::Workload,
            stage: Stage::Complete,
            actions: if asked.is_empty() { own } else { asked },
            present_at: None,
            account: Some((claimed.issuer, claimed.subject)),
            issuer_session: claimed.session,
        };
        // It lasts no longer than what it was given for.
        Ok(self.0.sessions.begin(opened, Some(claimed.expires_at)).await?)
    }

    /// Ends the sessions of whom a provider has signed out. Each logout token counts once.
    pub async fn signed_out_at_provider(&self, provider: &str, token: &str) -> Result<usize, SignInError> {
        let known = self.0.providers.iter().find(|known| known.settings().name == provider);
        let out = known.ok_or(SignInError::UnknownProvider)?.logout_token(token).await?;
        {
            let mut seen = locked(&self.0.logouts);
            let id = format!("{} {}", out.issuer, out.id);
            if seen.get_mut(&id).is_some() {
                return Err(IdentityError::Rejected("a logout token that was used").into());
            }
            seen.insert(id, ());
        }
        let is_meant = |session: &Session| {
            let Some((issuer, subject)) = &session.opened.account else { return false };
            let is_theirs = out.subject.as_ref().is_none_or(|out| out == subject);
            let is_it = match (&out.session, &session.opened.issuer_session) {
                (Some(out), Some(own)) => out == own,
                // A provider that names the session now and did not then means this one too.
                (Some(_), None) => out.subject.is_some(),
                (None, _) => true,
            };
            *issuer == out.issuer && is_theirs && is_it
        };
        Ok(self.0.sessions.end(is_meant).await?)
    }
}

/// The actions that a token is for; none: all.
fn actions(scope: &[String]) -> Vec<String> {
    let named = scope.iter().filter_map(|name| name.strip_prefix(SCOPE_PREFIX));
    named.map(str::to_owned).collect()
}
