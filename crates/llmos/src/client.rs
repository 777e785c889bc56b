//! How the commands talk to the server: HTTP/1 over the socket in its data directory, or `https` to another machine.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use gateway::admin_types::Version;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use outbound::Streamed;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, time::timeout};

use crate::{
    data_dir::SOCKET,
    exit::{Exit, Failure, Trying},
    remote::Remote,
};

/// Largest answer that is not a stream.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Longest wait for an answer that is not a generation.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);

/// The server that is asked.
pub(crate) struct Client {
    place: Place,
}

enum Place {
    /// The one that uses a data directory.
    Here(PathBuf),
    /// One on another machine, where somebody has signed in.
    Elsewhere(Box<Remote>),
}

impl Client {
    /// Does not connect yet.
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self { place: Place::Here(data_dir.to_owned()) }
    }

    /// One on another machine.
    pub(crate) fn remote(remote: Remote) -> Self {
        Self { place: Place::Elsewhere(Box::new(remote)) }
    }

    pub(crate) async fn version(&self) -> Result<Version, Failure> {
        self.get("/api/v1/version").await
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// An answer that is no JSON.
    pub(crate) async fn text(&self, path: &str) -> Result<String, Failure> {
        let body = self.answer(Method::GET, path, Bytes::new()).await?;
        String::from_utf8(body.into()).trying("read the server's answer; is it of another version?")
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.call(Method::POST, path, encoded(body)?).await
    }

    pub(crate) async fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.call(Method::PATCH, path, encoded(body)?).await
    }

    pub(crate) async fn put<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.call(Method::PUT, path, Bytes::new()).await
    }

    pub(crate) async fn put_with<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.call(Method::PUT, path, encoded(body)?).await
    }

    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.call(Method::DELETE, path, Bytes::new()).await
    }

    /// Whether it is the server of this machine.
    pub(crate) fn is_here(&self) -> bool {
        matches!(self.place, Place::Here(_))
    }

    /// Sends a request and returns as soon as the answer begins. Waits long, because a generation may stand in a queue; the person at
    /// the keyboard is the limit.
    pub(crate) async fn begin(&self, path: &str, body: &impl Serialize) -> Result<Begun, Failure> {
        let body = encoded(body)?;
        match &self.place {
            Place::Here(data_dir) => {
                let (head, body) = send(data_dir, Method::POST, path, body).await?.into_parts();
                let seconds =
                    head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                let retry_after = seconds.map(Duration::from_secs);
                Ok(Begun { status: head.status, retry_after, body: Pieces::Here(body) })
            }
            Place::Elsewhere(remote) => {
                let Streamed { status, retry_after, body } =
                    remote.begin(Method::POST, path, body.to_vec()).await?;
                Ok(Begun { status, retry_after, body: Pieces::Elsewhere(Box::new(body)) })
            }
        }
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, Failure> {
        let body = self.answer(method, path, body).await?;
        // An answer without content is `null`, which `()` is read from.
        let body = if body.is_empty() { Bytes::from_static(b"null") } else { body };
        serde_json::from_slice(&body).trying("read the server's answer; is it of another version?")
    }

    async fn answer(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Failure> {
        let exchange = async {
            let (status, body) = match &self.place {
                Place::Here(data_dir) => {
                    let response = send(data_dir, method, path, body).await?;
                    (response.status(), whole(response).await?)
                }
                Place::Elsewhere(remote) => {
                    let body = (!body.is_empty()).then(|| body.to_vec());
                    let reply = remote.ask(method, path, body).await?;
                    (reply.status, reply.body)
                }
            };
            let refused = || refusal_of(status, &serde_json::from_slice(&body).unwrap_or_default());
            if status.is_success() { Ok(body) } else { Err(refused()) }
        };
        let late = |_| {
            Failure::new(
                Exit::Failed,
                format!("the server did not answer within {} s", ANSWER_WAIT_MAX.as_secs()),
            )
            .advise("its log may say why")
        };
        timeout(ANSWER_WAIT_MAX, exchange).await.map_err(late)?
    }
}

/// An answer that has begun.
pub(crate) struct Begun {
    pub(crate) status: StatusCode,
    /// When to come again, if the server says so.
    pub(crate) retry_after: Option<Duration>,
    body: Pieces,
}

enum Pieces {
    Here(Incoming),
    Elsewhere(Box<outbound::Body>),
}

impl Begun {
    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// Why there are no more.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        match &mut self.body {
            Pieces::Here(body) => loop {
                match body.frame().await {
                    None => return Ok(None),
                    Some(Err(error)) => return Err(error.to_string()),
                    Some(Ok(frame)) => {
                        if let Ok(bytes) = frame.into_data() {
                            return Ok(Some(bytes));
                        }
                    }
                }
            },
            Pieces::Elsewhere(body) => body.chunk().await.map_err(|error| error.to_string()),
        }
    }

    /// What the server says about a request that it did not carry out.
    pub(crate) async fn refusal(mut self) -> Failure {
        let mut body = Vec::new();
        while let Ok(Some(bytes)) = self.chunk().await
            && body.len() < ANSWER_BYTES_MAX
        {
            body.extend_from_slice(&bytes);
        }
        refusal_of(self.status, &serde_json::from_slice(&body).unwrap_or_default())
    }
}

async fn send(
    data_dir: &Path,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Response<Incoming>, Failure> {
    let stream =
        UnixStream::connect(data_dir.join(SOCKET)).await.map_err(|error| absent(data_dir, &error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.trying("reach the server")?;
    // It ends with the answer; what goes wrong on it comes back as an error of that answer.
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .trying("make a request")?;
    sender.send_request(request).await.trying("get an answer from the server")
}

fn absent(data_dir: &Path, error: &io::Error) -> Failure {
    let data_dir = data_dir.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            Failure::new(Exit::NotAllowed, format!("the data directory {data_dir} belongs to another user"))
                .advise("run this command as the user that runs the server")
        }
        _ => Failure::new(Exit::NoServer, format!("no server is running with the data directory {data_dir}"))
            .advise("start one with `llmos serve`")
            .advise("if it uses another folder, name that with --data-dir or LLMOS_DATA_DIR"),
    }
}

fn encoded(body: &impl Serialize) -> Result<Bytes, Failure> {
    serde_json::to_vec(body).map(Bytes::from).trying("write the request as JSON")
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, Failure> {
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    body.map(http_body_util::Collected::to_bytes).trying("read the server's answer")
}

/// What the server says about a request that it did not carry out, in OpenAI's shape.
pub(crate) fn refusal_of(status: StatusCode, body: &serde_json::Value) -> Failure {
    let exit = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::NotAllowed,
        StatusCode::NOT_FOUND => Exit::NotFound,
        _ => Exit::Failed,
    };
    let error = &body["error"];
    let what =
        error["message"].as_str().map_or_else(|| format!("the server answered {status}"), str::to_owned);
    let failure = Failure::new(exit, what);
    match error["request_id"].as_str() {
        Some(id) if status.is_server_error() => {
            failure.advise(format_args!("request {id} in the server's log"))
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_has_its_exit_code() {
        for (status, exit) in [
            (StatusCode::UNAUTHORIZED, Exit::NotAllowed),
            (StatusCode::FORBIDDEN, Exit::NotAllowed),
            (StatusCode::NOT_FOUND, Exit::NotFound),
            (StatusCode::BAD_REQUEST, Exit::Failed),
            (StatusCode::INTERNAL_SERVER_ERROR, Exit::Failed),
        ] {
            let failure = refusal_of(status, &json!({ "error": { "message": "no" } }));
            assert_eq!((failure.exit, failure.what.as_str()), (exit, "no"));
        }
        assert!(refusal_of(StatusCode::BAD_GATEWAY, &json!(null)).what.contains("502"));
    }

    #[tokio::test]
    async fn without_a_server_the_exit_code_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let failure = Client::new(folder.path()).version().await.unwrap_err();
        assert_eq!(failure.exit, Exit::NoServer);
        // A socket that nobody listens on any more.
        drop(std::os::unix::net::UnixListener::bind(folder.path().join(SOCKET)).unwrap());
        assert_eq!(Client::new(folder.path()).version().await.unwrap_err().exit, Exit::NoServer);
    }
}
