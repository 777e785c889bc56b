//! Golden files: what llama-server makes of fixed conversations, so that our prompts are the ones that the model's
//! makers meant. The conversations are written by hand; the prompts and token ids by [`write`].

mod server;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{checkout, model, peer};
use server::Server;

const FILE: &str = "tests/golden/conversations.json";

/// The golden file.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Golden {
    /// Who wrote the prompts and tokens, and how.
    source: String,
    conversations: Vec<Conversation>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Conversation {
    name: String,
    messages: Vec<Message>,
    /// The rendered text, with the words that open the answer.
    #[serde(default)]
    prompt: String,
    /// Its token ids, special tokens among them.
    #[serde(default)]
    tokens: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Message {
    role: String,
    content: String,
}

#[derive(Deserialize)]
struct Rendered {
    prompt: String,
}

#[derive(Deserialize)]
struct Tokenised {
    tokens: Vec<u32>,
}

/// Asks llama-server for every prompt and its tokens and writes them into the golden file.
pub(crate) fn write() -> Result<()> {
    let (path, golden) = read()?;
    let asked = ask(&golden)?;
    let partial = path.with_extension("json.partial");
    fs::write(&partial, layout(&asked)?).and_then(|()| fs::rename(&partial, &path))?;
    eprintln!("wrote {} conversations to {FILE}", asked.conversations.len());
    Ok(())
}

/// One line a conversation, so that a change shows as the conversations that it changes.
fn layout(golden: &Golden) -> Result<String> {
    let lines = golden.conversations.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    let source = serde_json::to_string(&golden.source)?;
    Ok(format!("{{\"source\": {source},\n\"conversations\": [\n{}\n]}}\n", lines.join(",\n")))
}

/// Fails if llama-server answers anything else than what the golden file says.
pub(crate) fn check() -> Result<()> {
    let (_, golden) = read()?;
    let asked = ask(&golden)?;
    let pairs = golden.conversations.iter().zip(&asked.conversations);
    let different: Vec<&str> =
        pairs.filter(|(ours, theirs)| ours != theirs).map(|(ours, _)| ours.name.as_str()).collect();
    if !different.is_empty() {
        bail!(
            "llama-server renders or tokenises these otherwise than {FILE} says: {}; if that is right, run `cargo \
             xtask golden` and commit the file",
            different.join(", ")
        );
    }
    eprintln!("llama-server agrees with {FILE} on {} conversations", golden.conversations.len());
    Ok(())
}

fn read() -> Result<(PathBuf, Golden)> {
    let path = checkout()?.join(FILE);
    let golden = parse(&path).with_context(|| format!("cannot use {FILE}"))?;
    Ok((path, golden))
}

/// Every conversation says what the system is: without that the template adds a message of its own, which is
/// another test.
fn parse(path: &Path) -> Result<Golden> {
    let golden: Golden = serde_json::from_str(&fs::read_to_string(path)?)?;
    if golden.conversations.is_empty() {
        bail!("it has no conversations");
    }
    for Conversation { name, messages, .. } in &golden.conversations {
        if messages.first().is_none_or(|first| first.role != "system") {
            bail!("conversation `{name}` does not begin with a system message");
        }
    }
    Ok(golden)
}

fn ask(golden: &Golden) -> Result<Golden> {
    let server = Server::start(&peer::path()?, &model::CHAT.path()?)?;
    let mut conversations = Vec::new();
    for Conversation { name, messages, .. } in &golden.conversations {
        let rendered: Rendered = server.post("/apply-template", &json!({ "messages": messages }))?;
        let prompt = rendered.prompt;
        let question = json!({ "content": prompt, "add_special": true, "parse_special": true });
        let Tokenised { tokens } = server.post("/tokenize", &question)?;
        if tokens.is_empty() {
            bail!("llama-server found no tokens in conversation `{name}`");
        }
        conversations.push(Conversation { name: name.clone(), messages: messages.clone(), prompt, tokens });
    }
    Ok(Golden { source: golden.source.clone(), conversations })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_file_is_complete() {
        let (_, golden) = read().unwrap();
        for Conversation { name, prompt, tokens, .. } in &golden.conversations {
            assert!(!prompt.is_empty() && !tokens.is_empty(), "conversation `{name}` was never asked");
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let (_, golden) = read().unwrap();
        assert_eq!(serde_json::from_str::<Golden>(&layout(&golden).unwrap()).unwrap(), golden);
    }

    #[test]
    fn a_conversation_without_a_system_message_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("conversations.json");
        let message = json!({ "role": "user", "content": "hello" });
        let conversation = json!({ "name": "bare", "messages": [message] });
        fs::write(&path, json!({ "source": "", "conversations": [conversation] }).to_string()).unwrap();
        let error = parse(&path).unwrap_err().to_string();
        assert!(error.contains("`bare`"), "{error}");
    }
}
