//! Who somebody is elsewhere, and what they can prove.
//!
//! **Does**: signs people in at `OpenID` Connect providers, reads bearer tokens and logout tokens of theirs, and checks second
//! factors. **Must never** know what anybody may do here: a proof names an issuer and a subject, or a factor, and `access`
//! makes a principal of it, or not.
//!
//! The types to know: [`Provider`] (made of [`ProviderSettings`]), [`Claimed`], [`Passkeys`], [`Totp`], [`IdentityError`].
//!
//! # The way of a sign-in
//!
//! 1. [`Provider::begin`] makes an address at the provider and a [`Pending`], which stays here: `state`, `nonce` and the PKCE
//!    verifier are new each time (`S256`, never without).
//! 2. The browser comes back with a [`Callback`]. [`Provider::finish`] compares `state` and `iss` (RFC 9207), redeems the code,
//!    and reads the identity token: signature, `iss`, `aud`, `azp`, `nonce`, times.
//! 3. Groups stand in the token or are asked for at the provider's userinfo endpoint; never more than [`GROUPS_MAX`].
//!
//! # One reader of tokens
//!
//! `token.rs` reads all three kinds: identity, access (RFC 9068) and logout tokens. It takes asymmetric signatures only, from
//! the keys that the provider publishes at its own address (`keys.rs`: single flight, a floor between two fetches, a limit on how
//! stale). What a token says about where its key is (`jku`, `x5u`, `jwk`, `x5c`) refuses the token, before anything is fetched.
//!
//! Why not the crate `openidconnect`: it knows no access or logout tokens and no cache of keys, so half of this would be here
//! beside it, with a second reader of tokens.
#![forbid(unsafe_code)]

mod code;
mod error;
mod keys;
mod metadata;
mod passkey;
mod provider;
mod sign_in;
mod token;
mod totp;

pub use code::{recovery_code, user_code};
pub use error::IdentityError;
pub use passkey::{
    PasskeyChallenge, PasskeyProof, PasskeySignIn, PasskeySignInPending, Passkeys, PendingPasskey,
};
pub use provider::{Provider, ProviderSettings};
pub use sign_in::{Callback, Pending};
pub use token::{Claimed, GROUPS_MAX, LoggedOut, TOKEN_BYTES_MAX};
pub use totp::{Enrolment, Totp};
