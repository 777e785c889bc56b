//! What is stored of a chat completion, as JSON that only this room reads and writes.

use std::collections::BTreeMap;

use http::{HeaderMap, header::CACHE_CONTROL};
use path::{Keep, Transcript};
use serde::{Deserialize, Serialize};
use types::{DataSubject, Event, FinishReason, Message, Secret, Tokens};
use zeroize::Zeroizing;

use super::fields::{Metadata, Text};
use crate::error::ApiError;

/// Header with the person that a request is about.
const SUBJECT_HEADER: &str = "llmos-subject";
/// Room for the names and marks around a text.
const AROUND: usize = 64;

/// What a request wants stored.
pub(super) struct Asked {
    subject: Option<DataSubject>,
    messages: Secret,
    metadata: Secret,
}

impl Asked {
    /// Refuses a request that also forbids it.
    pub(super) fn new(
        headers: &HeaderMap,
        messages: &[Message],
        metadata: Option<Metadata>,
    ) -> Result<Self, ApiError> {
        if forbids_storing(headers) {
            let sentence = "`store` is true, but the header `Cache-Control: no-store` forbids that anything is stored; \
                            leave one of them out";
            return Err(ApiError::parameter("store", sentence));
        }
        let kept: Vec<KeptMessage<'_>> = messages
            .iter()
            .map(|message| KeptMessage { role: message.speaker.as_str(), content: message.content.expose() })
            .collect();
        let length: usize = kept.iter().map(|message| message.content.len() + AROUND).sum();
        Ok(Self {
            subject: subject(headers)?,
            messages: written(&kept, length),
            metadata: metadata.as_ref().map_or_else(|| Secret::from(b"{}".to_vec()), Metadata::to_json),
        })
    }

    /// The same, with what writes down the answer.
    pub(super) fn keep(self, created_at: u64) -> Keep {
        let Self { subject, messages, metadata } = self;
        Keep { subject, created_at, messages, metadata, transcript: Box::<ChatTranscript>::default() }
    }
}

/// Whether the header of the HTTP cache (RFC 9111, section 5.2.1.5) says that nothing of the request may be stored.
fn forbids_storing(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case("no-store"))
}

fn subject(headers: &HeaderMap) -> Result<Option<DataSubject>, ApiError> {
    let mut values = headers.get_all(SUBJECT_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let name = std::str::from_utf8(value.as_bytes()).ok().map(|name| name.trim().to_owned());
    let (Some(name), None) = (name, values.next()) else {
        let sentence = "the header `llmos-subject` names one person, in UTF-8";
        return Err(ApiError::parameter(SUBJECT_HEADER, sentence));
    };
    DataSubject::try_from(name)
        .map(Some)
        .map_err(|error| types::OutOfRange { parameter: SUBJECT_HEADER, ..error }.into())
}

impl Metadata {
    /// As it is stored.
    pub(super) fn to_json(&self) -> Secret {
        let pairs: BTreeMap<&str, &str> =
            self.0.iter().map(|(name, Text(text))| (name.as_str(), text.expose())).collect();
        let length: usize = pairs.iter().map(|(name, text)| name.len() + text.len() + AROUND).sum();
        written(&pairs, length)
    }
}

/// What was asked, as it is stored.
#[derive(Serialize)]
struct KeptMessage<'a> {
    role: &'a str,
    content: &'a str,
}

/// What was asked, as it is read again.
#[derive(Deserialize)]
pub(super) struct ReadMessage {
    pub(super) role: String,
    pub(super) content: Text,
}

/// What was answered, as it is stored.
#[derive(Serialize)]
struct KeptAnswer<'a> {
    content: &'a str,
    finish_reason: &'a str,
    prompt_tokens: u32,
    completion_tokens: u32,
}

/// What was answered, as it is read again.
#[derive(Deserialize)]
pub(super) struct ReadAnswer {
    pub(super) content: Text,
    pub(super) finish_reason: String,
    pub(super) prompt_tokens: u32,
    pub(super) completion_tokens: u32,
}

/// Writes down an answer while it passes.
#[derive(Default)]
struct ChatTranscript {
    text: Zeroizing<String>,
    used: Option<(Tokens, Tokens)>,
    finished: Option<FinishReason>,
}

impl Transcript for ChatTranscript {
    fn see(&mut self, event: &Event) {
        match event {
            Event::Delta(delta) => self.append(delta.expose()),
            Event::Usage { input, output } => self.used = Some((*input, *output)),
            Event::Finished(reason) => self.finished = Some(*reason),
        }
    }

    fn answer(&mut self) -> Option<Secret> {
        let ((input, output), finished) = (self.used?, self.finished?);
        let answer = KeptAnswer {
            content: &self.text,
            finish_reason: finished.as_str(),
            prompt_tokens: input.0,
            completion_tokens: output.0,
        };
        Some(written(&answer, self.text.len() + 2 * AROUND))
    }
}

impl ChatTranscript {
    /// A string that grows leaves copies behind, so it is moved by hand and the old one is wiped.
    fn append(&mut self, piece: &str) {
        if self.text.capacity() - self.text.len() < piece.len() {
            let mut larger = String::with_capacity(2 * (self.text.len() + piece.len()));
            larger.push_str(&self.text);
            self.text = Zeroizing::new(larger);
        }
        self.text.push_str(piece);
    }
}

/// JSON in memory that is wiped. `length` is about how long it gets: half as much again is set aside for escapes.
#[allow(clippy::expect_used)]
pub(super) fn written(value: &impl Serialize, length: usize) -> Secret {
    let mut json = Vec::with_capacity(length + length / 2);
    // Writing to memory does not fail, and these structs have no maps with keys that are not strings.
    serde_json::to_writer(&mut json, value).expect("what is stored is valid JSON");
    Secret::from(json)
}

/// Reads what was stored. It was written here, so what cannot be read is damage that the seal would have shown: a defect.
pub(super) fn read<'a, T: Deserialize<'a>>(stored: &'a Secret) -> Result<T, ApiError> {
    serde_json::from_slice(stored.expose()).map_err(|_| ApiError::Internal)
}

#[cfg(test)]
mod tests {
    use types::{Prompt, Speaker};

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn no_store_wins_over_store() {
        for (value, forbidden) in
            [("no-store", true), ("no-cache, No-Store", true), ("no-cache", false), ("max-age=1", false)]
        {
            let asked = Asked::new(&headers(&[("cache-control", value)]), &[], None);
            assert_eq!(asked.is_err(), forbidden, "{value}");
        }
    }

    #[test]
    fn a_subject_is_a_name() {
        let named = |value: &str| Asked::new(&headers(&[("llmos-subject", value)]), &[], None);
        assert_eq!(named(" patient 7 ").ok().unwrap().subject.unwrap().expose(), "patient 7");
        assert!(named("").is_err());
        assert!(named(&"x".repeat(257)).is_err());
        assert!(Asked::new(&headers(&[("llmos-subject", "a"), ("llmos-subject", "b")]), &[], None).is_err());
        assert!(Asked::new(&headers(&[]), &[], None).ok().unwrap().subject.is_none());
    }

    #[test]
    fn what_is_written_down_is_read_again() {
        let said = |speaker, text: &str| Message { speaker, content: Prompt::from(text.to_owned()) };
        let asked = [said(Speaker::System, "be \"brief\""), said(Speaker::User, "héllo\n")];
        let asked = Asked::new(&HeaderMap::new(), &asked, None).ok().unwrap();
        let messages: Vec<ReadMessage> = read(&asked.messages).ok().unwrap();
        assert_eq!((messages[1].role.as_str(), messages[1].content.0.expose()), ("user", "héllo\n"));
        assert_eq!(asked.metadata.expose(), b"{}");

        let mut transcript = ChatTranscript::default();
        assert!(transcript.answer().is_none());
        for piece in ["a", "\"b\"", &"c".repeat(100)] {
            transcript.see(&Event::Delta(Prompt::from(piece.to_owned())));
        }
        transcript.see(&Event::Usage { input: Tokens(3), output: Tokens(2) });
        assert!(transcript.answer().is_none());
        transcript.see(&Event::Finished(FinishReason::Length));
        let answer = transcript.answer().unwrap();
        let answer: ReadAnswer = read(&answer).ok().unwrap();
        assert_eq!(answer.content.0.expose(), format!("a\"b\"{}", "c".repeat(100)));
        assert_eq!(
            (answer.finish_reason.as_str(), answer.prompt_tokens, answer.completion_tokens),
            ("length", 3, 2)
        );
    }
}
