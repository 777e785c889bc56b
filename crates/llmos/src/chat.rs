//! `llmos chat`: the same API that everybody uses, over the local socket or from another machine.

use std::{
    io::{self, IsTerminal, Read},
    time::{Duration, Instant},
};

use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{
    cli::ChatArgs,
    client::{self, Begun, Client},
    exit::{Exit, Failure, Trying},
    output::{self, Output},
};

/// How long a model may load before the command gives up.
const LOADING_WAIT_MAX: Duration = Duration::from_mins(1);
/// How long to wait where the server does not say.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// After this, silence is explained.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// Longest prompt read from stdin.
const PROMPT_BYTES_MAX: u64 = 8 << 20;
/// Longest line of a stream of events.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// A turn of the conversation, in the API's shape.
#[derive(Serialize)]
struct Turn {
    role: &'static str,
    content: String,
}

/// Whom to ask, and how.
struct Partner {
    model: String,
    temperature: Option<f32>,
}

/// An answer that is complete.
#[derive(Default, Serialize)]
struct Reply {
    model: String,
    content: String,
    finish_reason: Option<String>,
    usage: Option<Value>,
}

pub(crate) async fn run(client: &Client, args: ChatArgs, output: Output) -> Result<(), Failure> {
    let model = match args.model {
        Some(model) => model,
        None => partner_of(&client.get("/v1/models").await?)?,
    };
    let partner = Partner { model, temperature: args.temperature };
    match args.prompt {
        Some(prompt) => once(client, &partner, prompt, output).await,
        None if io::stdin().is_terminal() => converse(client, &partner, output).await,
        None => once(client, &partner, read_prompt()?, output).await,
    }
}

/// The first model that generates, or else the first of which nothing is known yet.
fn partner_of(models: &Value) -> Result<String, Failure> {
    let models = models["data"].as_array().map(Vec::as_slice).unwrap_or_default();
    let first = |purpose: Option<&str>| models.iter().find(|model| model["purpose"].as_str() == purpose);
    let found = first(Some("generate")).or_else(|| first(None));
    found.and_then(|model| model["id"].as_str()).map(str::to_owned).ok_or_else(|| {
        Failure::new(Exit::NotFound, "the server has no model that generates")
            .advise("add a [[model]] to its configuration")
    })
}

fn read_prompt() -> Result<String, Failure> {
    let mut prompt = String::new();
    io::stdin()
        .take(PROMPT_BYTES_MAX + 1)
        .read_to_string(&mut prompt)
        .trying("read the prompt from stdin")?;
    if prompt.len() as u64 > PROMPT_BYTES_MAX {
        let what = format!("the prompt on stdin is longer than {PROMPT_BYTES_MAX} bytes");
        return Err(Failure::new(Exit::Usage, what));
    }
    if prompt.trim().is_empty() {
        return Err(Failure::new(Exit::Usage, "there is no prompt")
            .advise("write it after `llmos chat`, or send it on stdin"));
    }
    Ok(prompt)
}

async fn once(client: &Client, partner: &Partner, prompt: String, output: Output) -> Result<(), Failure> {
    answer(client, partner, &[Turn { role: "user", content: prompt }], output).await.map(drop)
}

/// Question and answer, until the person has enough. What goes wrong with one question ends only that question.
async fn converse(client: &Client, partner: &Partner, output: Output) -> Result<(), Failure> {
    output::note(format_args!("{} listens. /new forgets the conversation, /quit ends it.", partner.model));
    let mut turns: Vec<Turn> = Vec::new();
    loop {
        output::prompt("> ");
        let mut line = String::new();
        let read = io::stdin().read_line(&mut line).trying("read your question")?;
        match line.trim() {
            "/quit" => return Ok(()),
            _ if read == 0 => {
                output::note("");
                return Ok(());
            }
            "/new" => turns.clear(),
            "" => {}
            question => {
                turns.push(Turn { role: "user", content: question.to_owned() });
                match answer(client, partner, &turns, output).await {
                    Ok(reply) => turns.push(Turn { role: "assistant", content: reply.content }),
                    Err(failure) if failure.exit == Exit::Failed => {
                        turns.pop();
                        output.failure(&failure);
                    }
                    Err(failure) => return Err(failure),
                }
            }
        }
    }
}

/// Asks, and prints what comes as it comes.
async fn answer(
    client: &Client,
    partner: &Partner,
    turns: &[Turn],
    output: Output,
) -> Result<Reply, Failure> {
    let model = &partner.model;
    let mut body = json!({
        "model": model,
        "messages": turns,
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    if let Some(temperature) = partner.temperature {
        body["temperature"] = temperature.into();
    }
    let mut answered = begin(client, model, &body).await?;
    let mut reply = Reply { model: model.clone(), ..Reply::default() };
    let mut lines = Lines::default();
    while let Some(bytes) = answered.chunk().await.map_err(|why| cut_off(&format!(": {why}")))? {
        for line in lines.push(&bytes)? {
            match event(&line)? {
                Some(Event::Chunk(chunk)) => {
                    let new = reply.take(&chunk);
                    if !output.json {
                        output.text(new)?;
                    }
                }
                Some(Event::Done) => return finish(reply, output),
                None => {}
            }
        }
    }
    Err(cut_off(""))
}

fn finish(reply: Reply, output: Output) -> Result<Reply, Failure> {
    if output.json {
        output::document(&reply)?;
    } else {
        output.text("\n")?;
    }
    if reply.finish_reason.as_deref() == Some("length") {
        output::note("(the answer ends here because the context is full)");
    }
    Ok(reply)
}

fn cut_off(why: &str) -> Failure {
    Failure::new(Exit::Failed, format!("the connection ended before the answer did{why}"))
        .advise("ask again; the server's log may say why")
}

/// Sends the question; while the model loads, waits as long as the server asks for and the limit allows.
async fn begin(client: &Client, model: &str, body: &Value) -> Result<Begun, Failure> {
    let started = Instant::now();
    let mut told = String::new();
    loop {
        let mut sent = std::pin::pin!(client.begin("/v1/chat/completions", body));
        let response = if let Ok(response) = timeout(SILENCE_MAX, &mut sent).await {
            response?
        } else {
            output::note(format_args!("waiting for {model}; `llmos ps` says why"));
            sent.await?
        };
        if response.status.is_success() {
            return Ok(response);
        }
        let loading = response.status == StatusCode::SERVICE_UNAVAILABLE;
        let pause = response.retry_after.unwrap_or(RETRY_AFTER);
        let failure = response.refusal().await;
        if !loading || started.elapsed() + pause > LOADING_WAIT_MAX {
            return Err(failure);
        }
        if told != failure.what {
            output::note(format_args!("waiting: {}", failure.what));
            told = failure.what;
        }
        sleep(pause).await;
    }
}

impl Reply {
    /// Takes over a chunk; returns what it adds to the text.
    fn take<'a>(&mut self, chunk: &'a Value) -> &'a str {
        if let Some(usage) = chunk.get("usage").filter(|usage| !usage.is_null()) {
            self.usage = Some(usage.clone());
        }
        let choice = &chunk["choices"][0];
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.finish_reason = Some(reason.to_owned());
        }
        let new = choice["delta"]["content"].as_str().unwrap_or_default();
        self.content.push_str(new);
        new
    }
}

enum Event {
    Chunk(Value),
    Done,
}

/// Reads one line of a stream of server-sent events: nothing if it is no data.
fn event(line: &[u8]) -> Result<Option<Event>, Failure> {
    let Some(data) = line.strip_prefix(b"data:") else { return Ok(None) };
    let data = data.trim_ascii();
    if data == b"[DONE]" {
        return Ok(Some(Event::Done));
    }
    let chunk: Value = serde_json::from_slice(data).trying("read the server's answer")?;
    if chunk.get("error").is_some() {
        return Err(client::refusal_of(StatusCode::INTERNAL_SERVER_ERROR, &chunk));
    }
    Ok(Some(Event::Chunk(chunk)))
}

/// Makes lines of pieces.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn push(&mut self, piece: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
        self.rest.extend_from_slice(piece);
        let mut lines = Vec::new();
        while let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
            let after = self.rest.split_off(end + 1);
            lines.push(std::mem::replace(&mut self.rest, after));
        }
        if self.rest.len() > EVENT_BYTES_MAX {
            return Err(Failure::new(Exit::Failed, "the server sent an event that is too long"));
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<(Reply, bool), Failure> {
        let (mut lines, mut reply, mut done) = (Lines::default(), Reply::default(), false);
        for piece in pieces {
            for line in lines.push(piece)? {
                match event(&line)? {
                    Some(Event::Chunk(chunk)) => drop(reply.take(&chunk).to_owned()),
                    Some(Event::Done) => done = true,
                    None => {}
                }
            }
        }
        Ok((reply, done))
    }

    #[test]
    fn a_stream_is_read_however_it_is_cut() {
        let stream = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n: comment\n\
                      data: {\"choices\":[{\"delta\":{\"content\":\"grü\"}}]}\r\n\r\n\
                      data: {\"choices\":[{\"delta\":{\"content\":\"ezi\"},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n\
                      data: {\"choices\":[],\"usage\":{\"total_tokens\":5}}\n\ndata: [DONE]\n\n";
        for size in [1, 7, stream.len()] {
            let (reply, done) = read(stream.as_bytes().chunks(size)).unwrap();
            assert!(done);
            assert_eq!((reply.content.as_str(), reply.finish_reason.as_deref()), ("grüezi", Some("stop")));
            assert_eq!(reply.usage.unwrap()["total_tokens"], 5);
        }
    }

    #[test]
    fn whoever_names_no_model_talks_to_the_first_that_generates() {
        for (purposes, found) in [
            (&[Some("embed"), Some("generate"), Some("generate")][..], Some(1)),
            (&[Some("rank"), None, Some("generate")], Some(2)),
            (&[Some("embed"), None, None], Some(1)),
            (&[Some("embed")], None),
            (&[], None),
        ] {
            let model = |(index, purpose)| json!({ "id": format!("m{index}"), "purpose": purpose });
            let models = json!({ "data": purposes.iter().enumerate().map(model).collect::<Vec<_>>() });
            assert_eq!(partner_of(&models).ok(), found.map(|index: usize| format!("m{index}")), "{models}");
        }
    }

    #[test]
    fn an_error_in_the_stream_is_an_error() {
        let read = |line: &str| read([line.as_bytes()].into_iter()).err().unwrap();
        let failure = read("data: {\"error\":{\"message\":\"the engine died\"}}\n\n");
        assert_eq!((failure.exit, failure.what.as_str()), (Exit::Failed, "the engine died"));
        assert!(read("data: {nonsense\n").what.contains("cannot read"));
        assert!(read(&"x".repeat(EVENT_BYTES_MAX + 1)).what.contains("too long"));
    }
}
