//! Whether a question and an answer are those that the records of a receipt commit to.
//!
//! The records hold neither; they hold `prompt_hmac` and `answer_hmac`, made as `tlog::commitment` says, with the salt that the receipt
//! brings. A wrong salt shows nothing: no text fits it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, de::IgnoredAny};
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
/// What a server says so that nobody takes it for dead.
const KEEP_ALIVE: &str = ":";

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
    let questions = (texts.request.as_deref(), PROMPT, "question", "--request", "");
    let cut = " (of one that was cut off, less may have arrived than was made)";
    let answers = (texts.answer.as_deref(), ANSWER, "answer", "--answer", cut);
    for (text, name, what, option, but) in [questions, answers] {
        let fits = if name == PROMPT { asks } else { answers_with };
        match (text, fact(name), &salt) {
            (None, Some(_), Some(_)) => {
                verdict.not_shown(format!("which {what} it was: {option} with a file compares it"));
            }
            (None, ..) => {}
            (Some(text), Some(committed), Some(salt)) => {
                let committed = match committed.parse::<Commitment>() {
                    Ok(committed) => committed,
                    Err(error) => {
                        verdict.problem(format!("{name} of the record: {error}"));
                        continue;
                    }
                };
                match fits(salt, text, &committed) {
                    Ok(true) => verdict.line(what, "its text in the file is the one of the record, letter for letter"),
                    Ok(false) => verdict.problem(format!("the {what} was another one than that in the file{but}")),
                    Err(why) => verdict.problem(format!("the {what} in the file cannot be read: {why}")),
                }
            }
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

/// Whether a model is told by this body what was committed to.
fn asks(salt: &Salt, body: &[u8], committed: &Commitment) -> Result<bool, String> {
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
    Ok(committing.finish() == *committed)
}

/// An answer, or an event of one. What stands in it beside the text is not compared.
#[derive(Deserialize)]
struct Answer {
    choices: Option<Vec<Choice>>,
    error: Option<IgnoredAny>,
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

impl Choice {
    /// Its text. Two of them would leave open which one was meant.
    fn text(self) -> Result<String, String> {
        match (self.text, self.message, self.delta) {
            (Some(text), None, None) => Ok(text),
            (None, Some(said), None) | (None, None, Some(said)) => Ok(said.content.unwrap_or_default()),
            _ => Err("it says more than one thing, or nothing".to_owned()),
        }
    }
}

/// Whether this is the answer that was committed to: only its text, all of it as JSON, or the events of a stream.
fn answers_with(salt: &Salt, bytes: &[u8], committed: &Commitment) -> Result<bool, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let is = |text: &str| Committing::new(salt, Form::Answer).piece(text).finish() == *committed;
    // A text may look like anything.
    if is(text) {
        return Ok(true);
    }
    if text.starts_with(EVENT) {
        return Ok(is(&streamed(text)?));
    }
    match serde_json::from_str::<Answer>(text).map(|answer| answer.choices) {
        Ok(Some(choices)) => match <[Choice; 1]>::try_from(choices) {
            Ok([choice]) => Ok(is(&choice.text()?)),
            Err(_) => Err("it has more than one answer, or none".to_owned()),
        },
        // It is no answer in JSON, so it is a text, and another one.
        _ => Ok(false),
    }
}

/// The text of a stream. Nothing in it may be anything else than what a stream has: it would be passed over unseen.
fn streamed(text: &str) -> Result<String, String> {
    let mut whole = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && *line != KEEP_ALIVE) {
        let event =
            line.strip_prefix(EVENT).map(str::trim).ok_or("it has a line that is no event of a stream")?;
        if event == END_OF_EVENTS {
            continue;
        }
        let event: Answer = serde_json::from_str(event).map_err(|_| "it has an event that cannot be read")?;
        let mut choices = match event {
            Answer { choices: Some(choices), error: None } => choices,
            Answer { choices: None, error: Some(_) } => continue,
            _ => return Err("it has an event that is no piece of an answer".to_owned()),
        };
        match (choices.pop(), choices.len()) {
            (Some(choice), 0) => whole += &choice.text()?,
            // The last one, with what was used.
            (None, _) => {}
            _ => return Err("it has more than one answer".to_owned()),
        }
    }
    Ok(whole)
}
