use zeroize::Zeroizing;

use crate::OutOfRange;

/// Text of a person. Has no `Debug`, `Display` or `Serialize`, and is wiped on drop.
///
/// `expose()` is allowed in four rooms only: codecs (`gateway`, and the CLI's own), `masking`, `engine` and
/// `vault`. A check in `make test` holds that.
///
/// ```compile_fail
/// println!("{:?}", types::Prompt::from("hello".to_owned()));
/// ```
/// ```compile_fail
/// println!("{}", types::Prompt::from("hello".to_owned()));
/// ```
/// ```compile_fail
/// fn serializable<T: serde::Serialize>(_: T) {}
/// serializable(types::Prompt::from("hello".to_owned()));
/// ```
/// ```
/// assert_eq!(types::Prompt::from("hello".to_owned()).expose(), "hello");
/// ```
pub struct Prompt(Zeroizing<String>);

impl Prompt {
    /// The text itself. Read the type's documentation before you call this.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Length in bytes: a number that may be logged.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no text at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Prompt {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

/// What a model computed from text of a person: an embedding, or the score of a document. The text can in part be
/// found out from it, so it has no `Debug`, `Display` or `Serialize` either, and is wiped on drop.
///
/// ```compile_fail
/// println!("{:?}", types::Vector::from(vec![0.5]));
/// ```
/// ```compile_fail
/// fn serializable<T: serde::Serialize>(_: T) {}
/// serializable(types::Vector::from(vec![0.5]));
/// ```
/// ```
/// assert_eq!(types::Vector::from(vec![0.5]).expose(), [0.5]);
/// ```
pub struct Vector(Zeroizing<Vec<f32>>);

impl Vector {
    /// The numbers themselves. Allowed where a prompt may be exposed, and where vectors are compared.
    pub fn expose(&self) -> &[f32] {
        &self.0
    }
}

impl From<Vec<f32>> for Vector {
    fn from(numbers: Vec<f32>) -> Self {
        Self(Zeroizing::new(numbers))
    }
}

/// A key, password or token. Has no `Debug`, `Display` or `Serialize`, and is wiped on drop.
///
/// ```compile_fail
/// println!("{:?}", types::Secret::from("hello".to_owned()));
/// ```
/// ```compile_fail
/// println!("{}", types::Secret::from("hello".to_owned()));
/// ```
/// ```compile_fail
/// fn serializable<T: serde::Serialize>(_: T) {}
/// serializable(types::Secret::from("hello".to_owned()));
/// ```
/// ```
/// assert_eq!(types::Secret::from("hello".to_owned()).expose(), b"hello");
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The bytes themselves: for comparing and for handing a new secret to its owner, once.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text.into_bytes()))
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

/// Whose data it is: a person's name or number in the tenant's own records. It names the key that shredding destroys. Has
/// no `Debug`, `Display` or `Serialize`: who is treated or advised is personal data by itself.
#[derive(Clone, PartialEq, Eq)]
pub struct DataSubject(Zeroizing<String>);

impl DataSubject {
    /// Longest name accepted, in bytes.
    pub const BYTES_MAX: usize = 256;

    /// The name itself, for hashing it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DataSubject {
    type Error = OutOfRange;

    fn try_from(name: String) -> Result<Self, OutOfRange> {
        let name = Zeroizing::new(name);
        if name.is_empty() || name.len() > Self::BYTES_MAX || name.contains(char::is_control) {
            let allowed = format!("1 to {} bytes and no control characters", Self::BYTES_MAX);
            return Err(OutOfRange::new("subject", format!("{} bytes", name.len()), allowed));
        }
        Ok(Self(name))
    }
}

/// Bytes that `vault` has sealed: without the key of their subject they say nothing, so they may be stored and copied.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(Vec<u8>);

impl Sealed {
    /// The bytes, for storing them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Sealed {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}
