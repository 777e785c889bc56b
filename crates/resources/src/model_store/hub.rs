//! Files of a model hub, by its HTTP interface: `/OWNER/REPO/resolve/REVISION/FILE` sends a file and says in its
//! first answer which commit and content that is; `/api/models/OWNER/REPO` describes the repository.

use outbound::{Answer, Fetch, Outbound, OutboundError, Url};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Digest, Licence, ModelStore, Progress, StoreError, Watch,
    download::Download,
    partial::{MODEL_BYTES_MAX, Origin, Partial},
    pull::{Content, Names},
    source::REVISION_DEFAULT,
};

/// Largest description of a repository; those with thousands of files have about a megabyte.
const ABOUT_BYTES_MAX: u64 = 8 << 20;
/// Files listed to choose from.
const FILES_SHOWN_MAX: usize = 64;
/// Longest commit that is recorded, in bytes.
const COMMIT_BYTES_MAX: usize = 64;
const ENDING: &str = ".gguf";
const COMMIT: &str = "x-repo-commit";
const LINKED_ETAG: &str = "x-linked-etag";
const LINKED_SIZE: &str = "x-linked-size";

/// A file of a repository.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// `owner/repo`.
    pub(super) repository: &'a str,
    pub(super) file: &'a str,
    /// Branch, tag or commit.
    pub(super) revision: &'a str,
}

/// The hub, and what is sent to it.
pub(super) struct Hub<'a> {
    pub(super) outbound: &'a Outbound,
    pub(super) address: &'a Url,
    /// With the token, which goes to nobody else.
    pub(super) fetch: &'a mut Fetch,
}

/// What the hub says of a file before it comes.
#[derive(Debug, Default)]
struct Linked {
    commit: Option<String>,
    digest: Option<Digest>,
    bytes: Option<u64>,
}

/// What the hub says about a repository.
#[derive(Debug, Default, Deserialize)]
struct About {
    #[serde(default)]
    siblings: Vec<Sibling>,
    #[serde(default, rename = "cardData")]
    card: Option<Card>,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
}

/// The front matter of the model card. Its fields are written by people: any type may come.
#[derive(Debug, Default, Deserialize)]
struct Card {
    #[serde(default)]
    license: Value,
}

impl Hub<'_> {
    /// Fetches a file, unless the store has its content already.
    pub(super) async fn fetch(
        &mut self,
        store: &ModelStore,
        place: Place<'_>,
        shown: &str,
        names: &Names,
        partial: &mut Partial,
        watch: Watch<'_>,
    ) -> Result<Content, StoreError> {
        let url = self.url(&["resolve"], &place, Some(place.file));
        let mut linked = Linked::default();
        let mut judge = |answer: &Answer| {
            linked = Linked::of(answer);
            if let (Some(announced), Some(found)) = (linked.bytes, answer.total)
                && announced != found
            {
                let (source_text, kept) = (shown.to_owned(), "nothing of it was taken".to_owned());
                return Err(StoreError::WrongLength { source_text, found, announced, kept });
            }
            let Some(digest) = &linked.digest else { return Ok(true) };
            store.refuse_taken(names, digest)?;
            Ok(!store.has(digest))
        };
        self.fetch.bytes_max = MODEL_BYTES_MAX;
        let mut download = Download { outbound: self.outbound, url: &url, fetch: self.fetch, shown };
        let came = match download.run(partial, &mut judge, watch).await {
            Err(StoreError::Fetch { is_missing: true, .. }) => {
                return Err(self.choose(place, shown).await?);
            }
            other => other?,
        };
        let licence = match self.about(place, shown).await {
            Ok(about) => about.licence(),
            Err(error) => {
                watch(Progress::Note(format!("the licence is not known: {error}")));
                None
            }
        };
        let origin = Origin { licence, revision: linked.commit };
        Ok(match (came, linked.digest) {
            (false, Some(digest)) => Content::There(digest, origin),
            (_, expected) => Content::Came { origin, expected },
        })
    }

    /// Which files of a repository could be pulled: an error, because none was named or there is no such one.
    pub(super) async fn choose(&mut self, place: Place<'_>, shown: &str) -> Result<StoreError, StoreError> {
        let about = self.about(place, shown).await?;
        let is_model = |name: &&str| name.to_ascii_lowercase().ends_with(ENDING);
        let files: Vec<&str> =
            about.siblings.iter().map(|file| file.rfilename.as_str()).filter(is_model).collect();
        let repository = place.repository;
        if files.is_empty() {
            return Ok(StoreError::Choose(format!(
                "hf:{repository} has no {ENDING} file; look for one that does"
            )));
        }
        let at =
            if place.revision == REVISION_DEFAULT { String::new() } else { format!("@{}", place.revision) };
        let line = |file: &&str| format!("\n  hf:{repository}/{file}{at}");
        let lines: String = files.iter().take(FILES_SHOWN_MAX).map(line).collect();
        let more = match files.len().saturating_sub(FILES_SHOWN_MAX) {
            0 => String::new(),
            more => format!("\n  and {more} more"),
        };
        let why = if place.file.is_empty() {
            "names no file".to_owned()
        } else {
            format!("has no file `{}`", place.file)
        };
        Ok(StoreError::Choose(format!("hf:{repository} {why}; choose one of:{lines}{more}")))
    }

    async fn about(&mut self, place: Place<'_>, shown: &str) -> Result<About, StoreError> {
        let url = self.url(&["api", "models"], &place, None);
        let failed = |why: String| StoreError::Fetch {
            source_text: format!("the description of {shown}"),
            why,
            kept: "check the names of owner and repository".to_owned(),
            is_missing: false,
        };
        let of = |error: OutboundError| failed(error.to_string());
        (self.fetch.from_byte, self.fetch.if_range, self.fetch.bytes_max) = (0, None, ABOUT_BYTES_MAX);
        let answer = self.outbound.get(&url, self.fetch).await.map_err(of)?;
        let text = answer.body.collect().await.map_err(of)?;
        serde_json::from_slice(&text).map_err(|error| failed(format!("it is not what a hub sends ({error})")))
    }

    /// `ADDRESS/OWNER/REPO/resolve/REVISION/FILE`, or `ADDRESS/api/models/OWNER/REPO[/revision/REVISION]`.
    fn url(&self, words: &[&str], place: &Place<'_>, file: Option<&str>) -> Url {
        let mut url = self.address.clone();
        // An `https` URL always has segments.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty();
            if let Some(file) = file {
                path.extend(place.repository.split('/')).extend(words);
                // A branch with a slash is one segment.
                path.push(place.revision).extend(file.split('/'));
            } else {
                path.extend(words).extend(place.repository.split('/'));
                if place.revision != REVISION_DEFAULT {
                    path.extend(["revision", place.revision]);
                }
            }
        }
        url
    }
}

impl Linked {
    fn of(answer: &Answer) -> Self {
        let plain =
            |text: &&str| text.len() <= COMMIT_BYTES_MAX && text.bytes().all(|b| b.is_ascii_alphanumeric());
        Self {
            commit: answer.field(COMMIT).filter(plain).map(str::to_owned),
            // Of files that are not large it is another hash, of another length.
            digest: answer.field(LINKED_ETAG).and_then(|etag| Digest::from_hex(etag.trim_matches('"')).ok()),
            bytes: answer.field(LINKED_SIZE).and_then(|bytes| bytes.parse().ok()),
        }
    }
}

impl About {
    /// As the card says; the hub also makes a tag of it.
    fn licence(&self) -> Option<Licence> {
        let card = self.card.as_ref().map(|card| match &card.license {
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
            other => other.as_str().unwrap_or_default().to_owned(),
        });
        let tag = || self.tags.iter().find_map(|tag| tag.strip_prefix("license:"));
        card.and_then(|name| Licence::new(&name, "model card of the hub"))
            .or_else(|| Licence::new(tag()?, "tag of the hub"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_found_in_card_and_tags() {
        for (text, licence) in [
            (r#"{"cardData": {"license": "apache-2.0"}, "tags": ["license:mit"]}"#, Some("apache-2.0")),
            (r#"{"cardData": {"license": ["mit", "other"]}}"#, Some("mit, other")),
            (r#"{"cardData": null, "tags": ["gguf", "license:mit"]}"#, Some("mit")),
            (r#"{"cardData": {"license": 3}, "siblings": [{"rfilename": "m.gguf", "size": 3}]}"#, None),
            ("{}", None),
        ] {
            let about: About = serde_json::from_str(text).unwrap();
            assert_eq!(about.licence().map(|licence| licence.name).as_deref(), licence, "{text}");
        }
    }

    #[test]
    fn addresses_are_made_of_segments() {
        let outbound_rules = outbound::Rules::default();
        let outbound = Outbound::new(outbound_rules).unwrap();
        for (address, revision, resolve, api) in [
            (
                "https://hub.test",
                "main",
                "https://hub.test/o/r/resolve/main/a/b%20c.gguf",
                "https://hub.test/api/models/o/r",
            ),
            (
                "https://hub.test/mirror/",
                "refs/pr/1",
                "https://hub.test/mirror/o/r/resolve/refs%2Fpr%2F1/a/b%20c.gguf",
                "https://hub.test/mirror/api/models/o/r/revision/refs%2Fpr%2F1",
            ),
        ] {
            let address = Url::parse(address).unwrap();
            let hub = Hub { outbound: &outbound, address: &address, fetch: &mut Fetch::new(1) };
            let place = Place { repository: "o/r", file: "a/b c.gguf", revision };
            assert_eq!(hub.url(&["resolve"], &place, Some(place.file)).as_str(), resolve);
            assert_eq!(hub.url(&["api", "models"], &place, None).as_str(), api);
        }
    }
}
