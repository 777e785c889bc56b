//! Passkeys (`WebAuthn`): a key in somebody's device, which the device uses only for this site and only after it has checked who
//! holds it. So a passkey is two factors in one, and no page of another site can ask for it.

use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;
use webauthn_rs::prelude::{
    CreationChallengeResponse, DiscoverableAuthentication, DiscoverableKey, Passkey, PasskeyAuthentication,
    PasskeyRegistration, PublicKeyCredential, RegisterPublicKeyCredential, Webauthn, WebauthnBuilder,
    WebauthnError,
};

use crate::IdentityError;

/// How the site calls itself in the dialogue of a browser.
const SITE: &str = "llmos";

/// The passkeys of one site.
pub struct Passkeys(Webauthn);

/// What the browser is given, as JSON.
pub type PasskeyChallenge = String;

/// A registration that has begun.
pub struct PendingPasskey(PasskeyRegistration);

/// A proof that has begun, by somebody who is known already.
pub struct PasskeyProof(PasskeyAuthentication);

/// A sign-in that has begun, by nobody in particular.
pub struct PasskeySignInPending(DiscoverableAuthentication);

/// Whose passkey a browser has used to sign in, still to be checked.
pub struct PasskeySignIn {
    /// The handle that was given at the registration.
    pub handle: [u8; 16],
    credential: PublicKeyCredential,
}

impl Passkeys {
    /// For the site at `public_url`, whose host is a name: browsers make no passkeys for bare addresses.
    pub fn new(public_url: &Url) -> Result<Self, IdentityError> {
        let no_name = "the public address has no name, and passkeys belong to a name";
        let host = public_url.domain().ok_or(IdentityError::Rejected(no_name))?;
        let builder = WebauthnBuilder::new(host, public_url).map_err(rejected)?;
        Ok(Self(builder.rp_name(SITE).build().map_err(rejected)?))
    }

    /// Begins to register a passkey; `kept` are those that the user has already, as they were kept.
    pub fn begin_registration(
        &self,
        handle: [u8; 16],
        name: &str,
        kept: &[String],
    ) -> Result<(PasskeyChallenge, PendingPasskey), IdentityError> {
        let exclude = parsed(kept).iter().map(|passkey| passkey.cred_id().clone()).collect();
        let (challenge, pending) = self
            .0
            .start_passkey_registration(Uuid::from_bytes(handle), name, name, Some(exclude))
            .map_err(rejected)?;
        Ok((findable(&challenge)?, PendingPasskey(pending)))
    }

    /// Ends it with what the browser says. Returns what is to be kept; it holds no secret.
    pub fn finish_registration(
        &self,
        pending: &PendingPasskey,
        said: &Value,
    ) -> Result<String, IdentityError> {
        let said = RegisterPublicKeyCredential::deserialize_from(said)?;
        let passkey = self.0.finish_passkey_registration(&said, &pending.0).map_err(rejected)?;
        serde_json::to_string(&passkey).map_err(|_| IdentityError::Rejected("a passkey that cannot be kept"))
    }

    /// Asks somebody for one of their passkeys.
    pub fn begin_proof(&self, kept: &[String]) -> Result<(PasskeyChallenge, PasskeyProof), IdentityError> {
        let (challenge, pending) = self.0.start_passkey_authentication(&parsed(kept)).map_err(rejected)?;
        Ok((text(&challenge)?, PasskeyProof(pending)))
    }

    /// Which of the passkeys it was, by its place in `kept`, and what is kept of it now.
    pub fn finish_proof(
        &self,
        pending: &PasskeyProof,
        said: &Value,
        kept: &[String],
    ) -> Result<(usize, String), IdentityError> {
        let said = PublicKeyCredential::deserialize_from(said)?;
        let result = self.0.finish_passkey_authentication(&said, &pending.0).map_err(rejected)?;
        used(kept, |passkey| passkey.update_credential(&result).is_some())
    }

    /// Asks whoever is there for a passkey.
    pub fn begin_sign_in(&self) -> Result<(PasskeyChallenge, PasskeySignInPending), IdentityError> {
        let (mut challenge, pending) = self.0.start_discoverable_authentication().map_err(rejected)?;
        // A dialogue, not a field that fills itself in.
        challenge.mediation = None;
        Ok((text(&challenge)?, PasskeySignInPending(pending)))
    }

    /// Whose it says it is.
    pub fn identify(&self, said: &Value) -> Result<PasskeySignIn, IdentityError> {
        let credential = PublicKeyCredential::deserialize_from(said)?;
        let (handle, _) = self.0.identify_discoverable_authentication(&credential).map_err(rejected)?;
        Ok(PasskeySignIn { handle: handle.into_bytes(), credential })
    }

    /// Whether it is; `kept` are the passkeys of the user with that handle. As [`Self::finish_proof`].
    pub fn finish_sign_in(
        &self,
        pending: PasskeySignInPending,
        sign_in: &PasskeySignIn,
        kept: &[String],
    ) -> Result<(usize, String), IdentityError> {
        let keys: Vec<DiscoverableKey> = parsed(kept).iter().map(DiscoverableKey::from).collect();
        #[allow(deprecated, reason = "its successor takes one key only, and which one is to be found out")]
        let result = self
            .0
            .finish_discoverable_authentication(&sign_in.credential, pending.0, &keys)
            .map_err(rejected)?;
        used(kept, |passkey| passkey.update_credential(&result).is_some())
    }
}

/// Passkeys that were kept; one that cannot be read any more opens nothing.
fn parsed(kept: &[String]) -> Vec<Passkey> {
    kept.iter().filter_map(|passkey| serde_json::from_str(passkey).ok()).collect()
}

fn used(kept: &[String], mut is: impl FnMut(&mut Passkey) -> bool) -> Result<(usize, String), IdentityError> {
    let nowhere = IdentityError::Rejected("a passkey of nobody");
    for (index, text) in kept.iter().enumerate() {
        let Ok(mut passkey) = serde_json::from_str::<Passkey>(text) else { continue };
        if is(&mut passkey) {
            return serde_json::to_string(&passkey).map(|text| (index, text)).map_err(|_| nowhere);
        }
    }
    Err(nowhere)
}

/// The device is to find the passkey by itself, so that people sign in without typing a name.
fn findable(challenge: &CreationChallengeResponse) -> Result<PasskeyChallenge, IdentityError> {
    let mut value = serde_json::to_value(challenge).map_err(|_| NOT_WRITTEN)?;
    let selection = &mut value["publicKey"]["authenticatorSelection"];
    selection["residentKey"] = json!("required");
    selection["requireResidentKey"] = json!(true);
    Ok(value.to_string())
}

const NOT_WRITTEN: IdentityError = IdentityError::Rejected("a challenge that cannot be written");

fn text(challenge: &impl serde::Serialize) -> Result<PasskeyChallenge, IdentityError> {
    serde_json::to_string(challenge).map_err(|_| NOT_WRITTEN)
}

fn rejected(_: WebauthnError) -> IdentityError {
    IdentityError::Rejected("a passkey that does not answer the question")
}

/// Reads what a browser says, without a copy of the text in an error.
trait Said: serde::de::DeserializeOwned {
    fn deserialize_from(said: &Value) -> Result<Self, IdentityError> {
        serde_json::from_value(said.clone()).map_err(|_| IdentityError::Rejected("no answer of a passkey"))
    }
}

impl Said for RegisterPublicKeyCredential {}
impl Said for PublicKeyCredential {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passkeys_belong_to_a_name() {
        let site = |text: &str| Passkeys::new(&Url::parse(text).unwrap()).map(drop);
        assert!(site("https://llm.example.org").is_ok() && site("http://localhost:8080").is_ok());
        assert!(site("https://192.0.2.1").is_err() && site("http://[::1]:8080").is_err());
    }

    #[test]
    fn a_challenge_asks_for_a_passkey_that_the_device_finds_and_checks() {
        let passkeys = Passkeys::new(&Url::parse("http://localhost:8080").unwrap()).unwrap();
        let (challenge, pending) = passkeys.begin_registration([7; 16], "ann", &[]).unwrap();
        let challenge: Value = serde_json::from_str(&challenge).unwrap();
        let selection = &challenge["publicKey"]["authenticatorSelection"];
        assert_eq!(selection["residentKey"], "required");
        assert_eq!(selection["userVerification"], "required");
        assert_eq!(challenge["publicKey"]["rp"]["id"], "localhost");
        assert!(passkeys.finish_registration(&pending, &json!({ "id": "x" })).is_err());

        let (challenge, _) = passkeys.begin_sign_in().unwrap();
        let challenge: Value = serde_json::from_str(&challenge).unwrap();
        assert!(challenge["mediation"].is_null());
        assert_eq!(challenge["publicKey"]["userVerification"], "required");
    }
}
