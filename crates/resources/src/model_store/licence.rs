//! Finds the licence of a model in what came with it. The text is recorded and shown, never judged.

use modelfile::import::licence_of;
use serde::{Deserialize, Serialize};

/// Longest licence that is recorded, in characters; some packages write the whole text where a name belongs.
const LICENCE_CHARACTERS_MAX: usize = 64;
/// What introduces a licence in the classifiers of a Python package.
const CLASSIFIER: &str = "License ::";

/// Under which licence a model may be used, as its maker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Licence {
    /// As written there: often an SPDX identifier in lower case.
    pub name: String,
    /// Where it was found.
    pub found_in: String,
}

impl Licence {
    /// One line of printable text, or nothing.
    pub(super) fn new(name: &str, found_in: &str) -> Option<Self> {
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        let line: String = name.trim().chars().map(printable).take(LICENCE_CHARACTERS_MAX + 1).collect();
        let name = match line.char_indices().nth(LICENCE_CHARACTERS_MAX) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        };
        let unsaid = matches!(name.to_ascii_lowercase().as_str(), "" | "unknown" | "none");
        (!unsaid).then(|| Self { name, found_in: found_in.to_owned() })
    }
}

/// Out of the front matter of a model card.
pub(super) fn of_model_card(text: &str) -> Option<Licence> {
    Licence::new(&licence_of(text)?, "README.md of the model")
}

/// Out of the `METADATA` of a Python package, in the order of how exact the three fields are.
pub(super) fn of_package(metadata: &str) -> Option<Licence> {
    // The description follows after the first empty line.
    let headers: Vec<&str> = metadata.lines().take_while(|line| !line.trim().is_empty()).collect();
    let field = |name: &str| {
        headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    let classifier = || {
        let of =
            |line: &&str| Some(line.strip_prefix("Classifier:")?.trim().strip_prefix(CLASSIFIER)?.to_owned());
        headers.iter().find_map(of).map(|path| path.rsplit("::").next().unwrap_or_default().trim().to_owned())
    };
    let said = |name: &str, found_in| Licence::new(name, found_in);
    field("License-Expression")
        .and_then(|name| said(name, "License-Expression of the package"))
        .or_else(|| field("License").and_then(|name| said(name, "License of the package")))
        .or_else(|| classifier().and_then(|name| said(&name, "classifier of the package")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_found_where_their_makers_write_them() {
        let card = |text: &str| of_model_card(text).map(|licence| licence.name);
        for (text, name) in [
            ("---\nlanguage: en\nlicense: apache-2.0\ntags:\n- x\n---\n# Model", Some("apache-2.0")),
            ("---\r\nlicense: \"mit\"\r\n---\r\n", Some("mit")),
            ("---\nlanguage: en\n---\nlicense: mit\n", None),
            ("# Model\nlicense: mit\n", None),
            ("---\nlicense:\n---\n", None),
        ] {
            assert_eq!(card(text).as_deref(), name, "{text}");
        }
        for (headers, name, found_in) in [
            (
                "License: MIT\nLicense-Expression: Apache-2.0",
                "Apache-2.0",
                "License-Expression of the package",
            ),
            ("Name: x\nLicense: MIT", "MIT", "License of the package"),
            (
                "License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License",
                "MIT License",
                "classifier",
            ),
        ] {
            let licence = of_package(&format!("{headers}\n\nLicense: not this\n")).unwrap();
            assert!(licence.name == name && licence.found_in.starts_with(found_in), "{headers}: {licence:?}");
        }
        assert_eq!(of_package("Name: x\n\nLicense: MIT"), None);
        assert_eq!(
            Licence::new(&"x".repeat(1000), "").unwrap().name.chars().count(),
            LICENCE_CHARACTERS_MAX + 1
        );
        assert_eq!(Licence::new("a\x1b[2Jb", "").unwrap().name, "a [2Jb");
    }
}
