use zeroize::Zeroizing;

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
