use std::path::PathBuf;

/// Why a model file is refused. Every text names the place (a byte, a key or a tensor) and the limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelFileError {
    /// The file cannot be opened, or is none.
    #[error("cannot open the model file `{}` ({why}); correct the path, or put the file there", .file.display())]
    CannotOpen {
        /// The file.
        file: PathBuf,
        /// What the system says.
        why: String,
    },
    /// The system failed while the file was read.
    #[error("cannot read the model file at byte {at} ({why}); look at the disk, then try again")]
    CannotRead {
        /// Where, in bytes from the beginning.
        at: u64,
        /// What the system says.
        why: String,
    },
    /// The file is something else.
    #[error(
        "this is no GGUF file: it begins with {found}, not with `GGUF`; choose a file that ends in `.gguf`"
    )]
    NotGguf {
        /// Its first bytes, printable.
        found: String,
    },
    /// A version of GGUF that is not read.
    #[error(
        "the file is GGUF version {found}, and versions 2 and 3 are read; convert it again with a newer converter"
    )]
    Version {
        /// The version it names.
        found: u32,
    },
    /// Written for a machine of the other byte order.
    #[error(
        "the file is a big-endian GGUF, and only little-endian ones are read; convert it again for this machine"
    )]
    BigEndian,
    /// One part of a model that is kept in several files.
    #[error(
        "the file is one of {parts} parts of a model (`split.count`), and a model is read from one file; join the \
         parts with `llama-gguf-split --merge`"
    )]
    Split {
        /// How many parts there are.
        parts: u64,
    },
    /// There is more than the model.
    #[error(
        "{left} bytes stand behind the last tensor, from byte {at} on, and nothing says what they are; fetch the file \
         again"
    )]
    Behind {
        /// The first byte behind the model.
        at: u64,
        /// Bytes from there on.
        left: u64,
    },
    /// The file ends too early, or says that something in it is longer than it is.
    #[error(
        "the file ends too early: {what} at byte {at} needs {needed} bytes, and {left} are left; fetch the file again"
    )]
    Cut {
        /// What was being read.
        what: String,
        /// Where it begins, in bytes.
        at: u64,
        /// How many bytes it needs at least.
        needed: u64,
        /// How many bytes the file has from there.
        left: u64,
    },
    /// More than any model needs.
    #[error("{what} at byte {at} is {found}, more than the {limit} that are read; do not use this file")]
    TooMuch {
        /// What there is too much of, with its unit.
        what: String,
        /// Where the file says so, in bytes.
        at: u64,
        /// How much the file says there is.
        found: u64,
        /// How much is read.
        limit: u64,
    },
    /// The content breaks a rule of the format.
    #[error("{what} at byte {at} {why}; the file is damaged or made to do harm, do not use it")]
    Malformed {
        /// The part that breaks it.
        what: String,
        /// Where it is, in bytes.
        at: u64,
        /// The rule.
        why: String,
    },
    /// A value of the metadata with which the model cannot run.
    #[error("the metadata `{key}` {why}; the file cannot be loaded, fetch or convert it again")]
    Parameter {
        /// The key.
        key: String,
        /// What is wrong with its value.
        why: String,
    },
}
