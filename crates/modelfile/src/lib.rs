//! Model files, read by us before any C++ sees a byte of them.
#![forbid(unsafe_code)]

mod error;
pub mod gguf;
mod shape;
mod tensor_type;

pub use error::ModelFileError;
pub use gguf::{Gguf, Tensor, Writer};
pub use shape::{
    ARCHITECTURE_BYTES_MAX, CONTEXT_MAX, DIMENSION_MAX, EXPERTS_MAX, Experts, HEADS_MAX, LAYERS_MAX, Mla,
    ModelShape, Pooling, Purpose, Recurrent, SlidingWindow, Weights, WindowKind,
};
pub use tensor_type::TensorType;
