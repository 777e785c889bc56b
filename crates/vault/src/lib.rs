//! Seals what is stored, each person's under a key of their own: to destroy that key is to erase the person.
//!
//! **Does**: seals and opens values and files, derives and wraps keys. **Must never** write plaintext, nor a key that
//! is not wrapped; has no clock, and no opinion about who may open what (that is decided in `access`).
//!
//! ```text
//! root ──wraps──▶ tenant key ──wraps──▶ subject key ──derives──▶ data key ──seals──▶ frames of 64 KiB
//! RSA file, environment, HSM  one for each tenant       one for each person     one for each sealed value or file
//! ```
//!
//! Secrets of the installation itself (a TLS key, the pepper) are sealed under the root alone: `secrets.rs` says how.
//!
//! Three rules make the format simple:
//! - A **data key** is never stored. It is derived (HKDF) from the subject key, a random salt, the header and the
//!   place where the sealed bytes belong. So a header that was changed, or bytes that were put in another place, lead to
//!   another key, and nothing has to be authenticated twice.
//! - Each data key seals **one** value or file, so its nonces are counters. The last frame is marked in its nonce
//!   (STREAM: Hoang, Reyhanitabar, Rogaway and Vizár, "Online Authenticated-Encryption and its Nonce-Reuse
//!   Misuse-Resistance", 2015): frames can neither be cut off, nor swapped, nor repeated.
//! - Neither AES-GCM nor ChaCha20-Poly1305 binds a ciphertext to its key. The header holds a **commitment**, derived beside the data key, and
//!   it is compared first.
//!
//! Which algorithms seal what is new is a [`Suite`], whose number is in the header; what is there opens whichever that is.
//!
//! The types to know: [`Keyring`] (finds, makes, rotates and destroys keys), [`SubjectKey`] (seals and opens), [`Place`]
//! (what the bytes are bound to), [`Root`] (where trust begins), [`Secrets`] (what is under the root alone), [`Recipients`] and [`Identities`] (files that leave the
//! installation).
#![forbid(unsafe_code)]

mod backup;
mod error;
mod export;
mod frames;
mod header;
mod hsm;
mod key;
mod keyring;
mod root;
mod roots;
mod sealed_secret;
mod secrets;
mod source;
mod stream;
mod suite;
#[cfg(test)]
mod vectors;
mod wrap;

pub use error::VaultError;
pub use export::{ExportWriter, Identities, Recipients, is_age};
pub use frames::FRAME_BYTES;
pub use header::{HEADER_BYTES, Place, Purpose};
pub use hsm::HsmKey;
pub use key::{SubjectKey, SubjectKeyId, TenantKey};
pub use keyring::{Keyring, Restored};
pub use root::{Root, RsaKeyFile};
pub use sealed_secret::SECRET_BYTES_MAX;
pub use secrets::{NamedSecret, SECRETS_MAX, SecretFile, SecretName, Secrets, SecretsPlace};
pub use source::{RootFile, RootSource};
pub use stream::{Opener, RangeOpener, Sealer, sealed_length};
pub use suite::Suite;
pub use wrap::Wrapped;
