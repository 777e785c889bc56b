//! A log that cannot be changed unseen: entries are leaves of a hash tree, and its root is signed.
//!
//! **Does**: builds the tree of RFC 6962, proves and verifies that an entry is in it and that it only grew, reads and
//! writes the files and texts that the field has agreed on (C2SP: `tlog-tiles`, `signed-note`, `tlog-checkpoint`,
//! `tlog-cosignature`, `tlog-witness`, `tlog-proof`), and checks whole logs. **Must never** know the time, a file, a thread
//! or a random number: times, keys and bytes come in as arguments. Nor what an entry means: entries are bytes.
//!
//! ```text
//!  entry ──leaf_hash──▶ Frontier ──root──▶ Checkpoint ──Signer──▶ signed note ──▶ witnesses ──▶ cosignatures
//!    │                     │                                          │
//!    ▼                     ▼                                          ▼
//!  bundle                Tile (hashes)                           LogProof: entry, path, checkpoint
//!    └──────────┬──────────┘                                          │
//!               ▼                                                     ▼
//!        check: whole log, from a key                       verify: one entry, from a key
//! ```
//!
//! The types to know: [`tree::Hash`] and [`tree::Frontier`] (the tree, of which only the right edge is kept),
//! [`Checkpoint`] (what is signed), [`Signer`] and [`VerifierKey`] (a log's keys), [`Cosigner`] and [`WitnessKey`] (a
//! witness's), [`proof::LogProof`] (what one keeps of an entry), [`commitment::Committing`] (to what an entry does not hold), [`check::check`] (everything at once) and
//! [`tile::Tile`] (where things are).
//!
//! What the tree cannot show: that an entry was true when it was written, and that nothing was left out. And without a
//! checkpoint that was kept elsewhere, nobody can tell a log from one that was put back or rewritten by whoever has its
//! key.
#![forbid(unsafe_code)]

pub mod bundle;
pub mod check;
pub mod checkpoint;
pub mod commitment;
pub mod cosignature;
mod error;
mod key;
pub mod memory;
pub mod note;
pub mod proof;
pub mod tile;
pub mod tree;
pub mod witness;

pub use checkpoint::Checkpoint;
pub use error::{FormatError, NoteError, ProofError};
pub use key::{
    Cosigner, ED25519_COSIGNATURE, ED25519_NOTE, KeyId, NAME_BYTES_MAX, PublicKey, SEED_BYTES, SecretKey,
    Signer, VerifierKey, WitnessKey,
};
