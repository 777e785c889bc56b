use std::path::PathBuf;

use crate::ModelFileError;

/// Why a folder is not imported. Nothing of what was written is to be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// A file that every model has is not there, or cannot be read.
    #[error("cannot read `{}` ({why}); the folder must hold a model as it is published", .file.display())]
    CannotRead {
        /// The file.
        file: PathBuf,
        /// What the system says.
        why: String,
    },
    /// A file of settings is too long.
    #[error("`{}` has more than the {limit} bytes that are read", .file.display())]
    TooLong {
        /// The file.
        file: PathBuf,
        /// How many bytes are read.
        limit: u64,
    },
    /// A file of settings is not what it should be.
    #[error("`{}` cannot be understood ({why}); fetch it again", .file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A model that cannot be imported.
    #[error(
        "the model cannot be imported: {what} ({}); models of BERT's class can, with one `model.safetensors`",
        .file.display()
    )]
    Unsupported {
        /// The file that says so.
        file: PathBuf,
        /// What of it is not supported.
        what: String,
    },
    /// The weights break a rule of their format.
    #[error("the weights `{}` are refused: {why}", .file.display())]
    Weights {
        /// The file.
        file: PathBuf,
        /// Which rule.
        why: ModelFileError,
    },
    /// A tensor that is not there, not of its shape, or not known.
    #[error("tensor `{tensor}` {why}; the weights and `config.json` do not belong together")]
    Tensor {
        /// Its name in the weights.
        tensor: String,
        /// What is wrong.
        why: String,
    },
    /// What would be written breaks a rule itself.
    #[error("the model would not load: {0}")]
    WouldNotLoad(ModelFileError),
    /// The system failed while the model was written.
    #[error("cannot write the imported model ({why}); look at the disk, then try again")]
    CannotWrite {
        /// What it says.
        why: String,
    },
}
