//! Model files, read and judged by us before any C++ sees a byte of them.
//!
//! **Does**: reads what stands in front of the weights of a [GGUF](gguf) or a [safetensors] file, checks
//! it, and says what the model is; writes GGUF; [imports](import) models of BERT's class. **Never** believes what a
//! file says before the file is known to be long enough for it, allocates for a count that was not checked, reads the
//! weights to judge them, or touches any file but those it is given.
//!
//! The three types to know: [`Gguf`] (a file that keeps the rules of its format), [`ModelShape`] (what the model in
//! it is, in checked numbers), [`ModelFileError`] (why not: the place, what stands there, the limit).
//!
//! # Why
//!
//! A model file is an attack on whoever parses it: llama.cpp's parser had a dozen memory bugs, and a number that it
//! merely did not expect ends its process. A worker dies alone, but a file that kills it is better refused with a
//! sentence. So everything that llama.cpp b10200 would refuse, abort on, divide by or believe to its harm is refused
//! here, as far as it can be seen in front of the weights. What it reads is read: its rules are ours, and where we are
//! stricter (texts are UTF-8, truth values are 0 or 1, no dimension is 0, everything has a limit) no converter writes
//! such files.
//!
//! # The path of the data
//!
//! ```text
//!   file ──▶ Input: counted, bounded, one chunk at a time
//!              │
//!              ▼
//!            gguf::read: header ─▶ metadata ─▶ descriptions ─▶ Gguf         each rule where its part is read
//!                                                               │
//!                                                               ▼
//!                                             Gguf::shape ─▶ ModelShape     rules between values
//!
//!   folder ──▶ import: settings, vocabulary, Safetensors ─▶ Writer ─▶ Gguf again ─▶ data, piece by piece
//! ```
//!
//! A file is read once, from front to back. It needs about 3 MB of memory for a model as they are published, and less
//! than 64 MB whatever it says: of the vocabulary only a hash per token is kept, of long arrays only their length. The limits are constants of [`gguf`], [`safetensors`],
//! [`import`] and this module, each with the reason for its size.
//!
//! # Example
//!
//! ```
//! use modelfile::{Gguf, ModelFileError, Purpose, gguf};
//!
//! // A model so small that it can be written here.
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("sample.gguf");
//! std::fs::write(&path, gguf::sample().to_bytes()?)?;
//!
//! let shape = Gguf::open(&path)?.shape()?;
//! assert_eq!((shape.architecture.as_str(), shape.purpose), ("llama", Purpose::Generate));
//! // Each token needs this many numbers in the cache of the first layer: 2 heads of length 8, for keys and for values.
//! assert_eq!(shape.kv_per_token(0), (16, 16));
//!
//! // Half of a file is no file.
//! let half = &gguf::sample().to_bytes()?[..4000];
//! let refused = Gguf::read(&mut &half[..], half.len() as u64).unwrap_err();
//! assert!(matches!(refused, ModelFileError::Cut { .. }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

#[cfg(test)]
mod damage;
mod error;
mod float;
pub mod gguf;
pub mod import;
mod regular;
pub mod safetensors;
mod shape;
mod tensor_type;

pub use error::ModelFileError;
pub use gguf::{Gguf, Tensor, Writer};
pub use regular::open_regular;
pub use safetensors::Safetensors;
pub use shape::{
    ARCHITECTURE_BYTES_MAX, CONTEXT_MAX, DIMENSION_MAX, EXPERTS_MAX, Experts, HEADS_MAX, LAYERS_MAX, Mla,
    ModelShape, Pooling, Purpose, Recurrent, SlidingWindow, Weights, WindowKind,
};
pub use tensor_type::TensorType;
