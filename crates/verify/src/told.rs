//! Whether a question and an answer are those that the records of a receipt commit to.
//!
//! The records hold neither; they hold `prompt_hmac` and `answer_hmac`, made as `tlog::commitment` says, with the salt that the receipt
//! brings. A wrong salt shows nothing: no text fits it.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tlog::commitment::{Commitment, Committing, Form, Salt};

use crate::{
    input,
    verdict::{Trouble, Verdict},
};

#[cfg(test)]
mod tests;

/// Longest file with a question or an answer.
const TEXT_BYTES_MAX: usize = 64 << 20;
/// What the commitments are called in records.
const PROMPT: &str = "prompt_hmac";
const ANSWER: &str = "answer_hmac";
/// What stands before each event of an answer that was streamed, and what ends it.
const EVENT: &str = "data:";
const END_OF_EVENTS: &str = "[DONE]";

/// Files with the texts, as far as they are given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Files {
    /// The body of the request, as it was sent.
    pub(crate) request: Option<PathBuf>,
    /// The answer, as it came, or only its text.
    pub(crate) answer: Option<PathBuf>,
}

/// The texts.
#[derive(Default)]
pub(crate) struct Texts {
    request: Option<Vec<u8>>,
    answer: Option<Vec<u8>>,
}

impl Files {
    pub(crate) fn read(&self) -> Result<Texts, Trouble> {
        let bytes = |path: &Option<PathBuf>| {
            let read = |path: &PathBuf| input::bytes(Path::new(path), TEXT_BYTES_MAX);
            path.as_ref().map(read).transpose()
        };
        Ok(Texts { request: bytes(&self.request)?, answer: bytes(&self.answer)? })
    }
}

/// Compares the texts with what is committed to: `fact` finds a fact of the records by its name.
pub(crate) fn judge(
    texts: &Texts,
    salt: Option<&str>,
    fact: impl Fn(&str) -> Option<String>,
    verdict: &mut Verdict,
) {
    let salt = match salt.map(str::parse::<Salt>).transpose() {
        Ok(salt) => salt,
        Err(error) => return verdict.problem(error),
    };
    let questions = (texts.request.as_deref(), PROMPT, "question", "--request");
    let answers = (texts.answer.as_deref(), ANSWER, "answer", "--answer");
    for (text, name, what, option) in [questions, answers] {
        let made =
            |salt: &Salt, text: &[u8]| if name == PROMPT { asked(salt, text) } else { answered(salt, text) };
        match (text, fact(name), &salt) {
            (None, Some(_), Some(_)) => {
                verdict.not_shown(format!("which {what} it was: {option} with a file compares it"));
            }
            (None, ..) => {}
            (Some(text), Some(committed), Some(salt)) => match (made(salt, text), committed.parse::<Commitment>()) {
                (Err(why), _) => verdict.problem(format!("the {what} that was given cannot be read: {why}")),
                (_, Err(error)) => verdict.problem(format!("{name} of the record: {error}")),
                (Ok(made), Ok(committed)) if made == committed => {
                    verdict.line(what, "it is the one that was given, letter for letter");
                }
                _ => verdict.problem(format!("the {what} was another one than the one that was given")),
            },
            (Some(_), None, _) => {
                verdict.problem(format!("the records do not say which {what} it was"));
            }
            (Some(_), Some(_), None) => verdict.problem(format!(
                "the receipt has no salt, so nobody can tell which {what} it was: the person was erased, or somebody left \
                 it out"
            )),
        }
    }
}

/// A body of `/v1/chat/completions` or `/v1/completions`. What else is in it was not told to the model.
#[derive(Deserialize)]
struct Request {
    messages: Option<Vec<Message>>,
    prompt: Option<RawPrompt>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: Content,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    text: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawPrompt {
    Text(String),
    Tokens(Vec<u32>),
    OneText([String; 1]),
    OneOfTokens([Vec<u32>; 1]),
}

/// The commitment to what a model is told by this body.
fn asked(salt: &Salt, body: &[u8]) -> Result<Commitment, String> {
    let is_none = || "it is no body of a chat completion or a completion, in JSON".to_owned();
    let request: Request = serde_json::from_slice(body).map_err(|_| is_none())?;
    let begin = |form| Committing::new(salt, form);
    let committing = match (request.messages, request.prompt) {
        (Some(messages), None) => messages.iter().fold(begin(Form::Chat), |so_far, message| {
            // The two are the same to a model.
            let role = if message.role == "developer" { "system" } else { &message.role };
            match &message.content {
                Content::Text(text) => so_far.message(role, text),
                Content::Parts(parts) => {
                    let texts: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
                    so_far.message(role, &texts.join("\n"))
                }
            }
        }),
        (None, Some(RawPrompt::Text(text) | RawPrompt::OneText([text]))) => begin(Form::Text).piece(&text),
        (None, Some(RawPrompt::Tokens(tokens) | RawPrompt::OneOfTokens([tokens]))) => {
            tokens.iter().fold(begin(Form::Tokens), |so_far, id| so_far.token(*id))
        }
        _ => return Err(is_none()),
    };
    Ok(committing.finish())
}

#[derive(Deserialize)]
struct Answer {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    text: Option<String>,
    message: Option<Said>,
    delta: Option<Said>,
}

#[derive(Deserialize)]
struct Said {
    content: Option<String>,
}

impl Answer {
    /// The text of an answer, or of a piece of one.
    fn text(self) -> String {
        let said = |choice: Choice| {
            choice.text.or_else(|| choice.message.or(choice.delta).and_then(|said| said.content))
        };
        self.choices.into_iter().next().and_then(said).unwrap_or_default()
    }
}

/// The commitment to an answer: as JSON, as the events of a stream, or only its text.
fn answered(salt: &Salt, bytes: &[u8]) -> Result<Commitment, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let begun = Committing::new(salt, Form::Answer);
    if let Ok(answer) = serde_json::from_str::<Answer>(text) {
        return Ok(begun.piece(&answer.text()).finish());
    }
    if !text.starts_with(EVENT) {
        return Ok(begun.piece(text).finish());
    }
    let events = text.lines().filter_map(|line| line.strip_prefix(EVENT)).map(str::trim);
    let pieces = events.filter(|event| *event != END_OF_EVENTS).map(|event| {
        // What is no piece of an answer (an error that ended it) has no text.
        serde_json::from_str::<Answer>(event).map(Answer::text).unwrap_or_default()
    });
    Ok(pieces.fold(begun, |so_far, piece| so_far.piece(&piece)).finish())
}
