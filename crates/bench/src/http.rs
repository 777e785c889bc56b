//! A client of the smallest kind: one connection, one request at a time, the same for every server measured.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};

/// Longest that one request may take, its answer included: a long prompt on a busy machine.
const REQUEST_MAX: Duration = Duration::from_mins(10);
/// Largest answer that is read whole, and longest line of a stream, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Where a server listens, and what it wants to see.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) key: Option<String>,
}

/// An open connection. Dropping it closes it.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    endpoint: Endpoint,
    driver: JoinHandle<()>,
}

/// When the parts of a streamed answer came.
#[derive(Debug)]
pub(crate) struct Streamed {
    /// When the request was sent.
    pub(crate) sent: Instant,
    /// When each piece of text came. A piece is a token, or a few where one alone is no valid text.
    pub(crate) pieces: Vec<Instant>,
    /// When the answer was complete.
    pub(crate) complete: Instant,
    /// Tokens of the prompt, as the server counted them.
    pub(crate) prompt_tokens: u32,
    /// Tokens generated, as the server counted them.
    pub(crate) tokens: u32,
}

impl Connection {
    pub(crate) async fn open(endpoint: &Endpoint) -> Result<Self> {
        let stream = TcpStream::connect(endpoint.address).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Its error is also that of the request on it.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, endpoint: endpoint.clone(), driver })
    }

    /// The status that `GET path` is answered with.
    pub(crate) async fn status(&mut self, path: &str) -> Result<StatusCode> {
        let request = self.request(Method::GET, path, Bytes::new())?;
        let response = timeout(REQUEST_MAX, self.send(request)).await.context("no answer")??;
        Ok(response.status())
    }

    /// Continues a prompt by `POST /v1/completions`. `body` must ask for a stream with usage.
    pub(crate) async fn complete(&mut self, body: &Value) -> Result<Streamed> {
        let request = self.request(Method::POST, "/v1/completions", serde_json::to_vec(body)?.into())?;
        let whole = async {
            let sent = Instant::now();
            let response = self.send(request).await?;
            if !response.status().is_success() {
                bail!("answered {}: {}", response.status(), text(response).await?);
            }
            stream(sent, response).await
        };
        timeout(REQUEST_MAX, whole).await.context("the answer took too long")?
    }

    /// Has vectors of texts computed by `POST /v1/embeddings`.
    pub(crate) async fn embed(&mut self, body: &Value) -> Result<()> {
        self.post("/v1/embeddings", serde_json::to_vec(body)?.into()).await
    }

    /// Has a conversation continued by `POST /v1/chat/completions`. `body` must not ask for a stream.
    pub(crate) async fn chat(&mut self, body: Bytes) -> Result<()> {
        self.post("/v1/chat/completions", body).await
    }

    async fn post(&mut self, path: &str, body: Bytes) -> Result<()> {
        let request = self.request(Method::POST, path, body)?;
        let whole = async {
            let response = self.send(request).await?;
            let status = response.status();
            let text = text(response).await?;
            ensure!(status.is_success(), "answered {status}: {text}");
            Ok(())
        };
        timeout(REQUEST_MAX, whole).await.context("the answer took too long")?
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.endpoint.address.to_string())
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = &self.endpoint.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        Ok(request.body(Full::new(body))?)
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn text(response: Response<Incoming>) -> Result<String> {
    let body = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES_MAX);
    let bytes = body.collect().await.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn stream(sent: Instant, response: Response<Incoming>) -> Result<Streamed> {
    let mut body = response.into_body();
    let mut reading = Reading::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the answer broke off")?;
        if let Some(bytes) = frame.data_ref() {
            reading.take(bytes, Instant::now())?;
        }
    }
    reading.finish(sent)
}

/// A piece of a streamed answer, as much of it as is measured.
#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    text: String,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: u32,
    completion_tokens: u32,
}

/// What has been read of a stream of server-sent events.
#[derive(Default)]
struct Reading {
    rest: Vec<u8>,
    pieces: Vec<Instant>,
    complete: Option<Instant>,
    usage: Option<Usage>,
}

impl Reading {
    fn take(&mut self, bytes: &[u8], now: Instant) -> Result<()> {
        self.rest.extend_from_slice(bytes);
        while let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') {
            let after = self.rest.split_off(end + 1);
            let line = std::mem::replace(&mut self.rest, after);
            self.line(&line, now)?;
        }
        ensure!(self.rest.len() <= ANSWER_BYTES_MAX, "an event is longer than {ANSWER_BYTES_MAX} bytes");
        Ok(())
    }

    fn line(&mut self, line: &[u8], now: Instant) -> Result<()> {
        let Some(data) = line.strip_prefix(b"data:").map(<[u8]>::trim_ascii) else { return Ok(()) };
        if data == b"[DONE]" {
            return Ok(());
        }
        let chunk: Chunk = serde_json::from_slice(data).context("an event cannot be read")?;
        if let Some(error) = chunk.error {
            bail!("the answer ended with an error: {error}");
        }
        for choice in chunk.choices {
            if !choice.text.is_empty() {
                self.pieces.push(now);
            }
            if choice.finish_reason.is_some() {
                self.complete = Some(now);
            }
        }
        if chunk.usage.is_some() {
            self.usage = chunk.usage;
        }
        Ok(())
    }

    fn finish(self, sent: Instant) -> Result<Streamed> {
        let complete = self.complete.context("the answer ended before it was complete")?;
        let usage = self.usage.context("the answer does not say what it used")?;
        Ok(Streamed {
            sent,
            pieces: self.pieces,
            complete,
            prompt_tokens: usage.prompt_tokens,
            tokens: usage.completion_tokens,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text and reason together or apart, usage in the last event or in one of its own: both servers' ways.
    const STREAMS: [&str; 2] = [
        "data: {\"choices\":[{\"text\":\"a\",\"finish_reason\":null}],\"usage\":null}\n\n: keep-alive\n\n\
         data: {\"choices\":[{\"text\":\"b\",\"finish_reason\":null}]}\n\n\
         data: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"length\"}]}\n\n\
         data: {\"choices\":[],\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":3}}\n\ndata: [DONE]\n\n",
        "data: {\"choices\":[{\"text\":\"a\",\"finish_reason\":null}]}\r\n\r\n\
         data: {\"choices\":[{\"text\":\"b\",\"finish_reason\":\"length\"}],\
         \"usage\":{\"prompt_tokens\":4,\"completion_tokens\":3}}\r\n\r\ndata: [DONE]\r\n\r\n",
    ];

    fn read(stream: &str, size: usize) -> Result<Streamed> {
        let start = Instant::now();
        let mut reading = Reading::default();
        for (index, piece) in stream.as_bytes().chunks(size).enumerate() {
            reading.take(piece, start + Duration::from_millis(index as u64))?;
        }
        reading.finish(start)
    }

    #[test]
    fn streams_are_read_however_they_are_cut() {
        for stream in STREAMS {
            for size in [1, 7, stream.len()] {
                let streamed = read(stream, size).unwrap();
                assert_eq!((streamed.prompt_tokens, streamed.tokens, streamed.pieces.len()), (4, 3, 2));
                assert!(streamed.sent <= streamed.pieces[0] && streamed.pieces[1] <= streamed.complete);
            }
        }
    }

    #[test]
    fn an_answer_that_is_not_whole_is_no_measurement() {
        let (half, _) = STREAMS[0].split_at(60);
        for (stream, complaint) in [
            (half, "before it was complete"),
            ("data: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"stop\"}]}\n", "what it used"),
            ("data: {\"error\":{\"message\":\"the engine died\"}}\n", "the engine died"),
            ("data: nonsense\n", "cannot be read"),
        ] {
            let error = format!("{:#}", read(stream, stream.len()).unwrap_err());
            assert!(error.contains(complaint), "{error}");
        }
    }
}
