//! The body of an answer, in pieces, and counted.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    body::{Body as _, Frame, Incoming},
    client::conn::http1::Connection,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::client::TlsStream;

use crate::{OutboundError, Place, head::Shape};

/// Fewest bytes within the longest wait: a server that sends one byte now and then does not hold us for years.
const PROGRESS_BYTES_MIN: u64 = 4 << 10;

/// How an answer may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// At once, and without long pauses.
    Steady,
    /// When there is something to say.
    AsItComes,
}

/// The connection behind an answer. It makes progress only while somebody waits for the answer, and closes when
/// dropped.
pub(crate) struct Line {
    connection: Option<Connection<TokioIo<TlsStream<TcpStream>>, Full<Bytes>>>,
    /// Bytes that came behind the end of the answer.
    surplus: usize,
}

impl Line {
    pub(crate) fn new(connection: Connection<TokioIo<TlsStream<TcpStream>>, Full<Bytes>>) -> Self {
        Self { connection: Some(connection), surplus: 0 }
    }

    /// Waits for something that comes over this line.
    pub(crate) async fn wait<T>(&mut self, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
        poll_fn(|cx| {
            if let Poll::Ready(ready) = poll(cx) {
                return Poll::Ready(ready);
            }
            self.advance(cx);
            poll(cx)
        })
        .await
    }

    /// Its errors reach whoever waits for what it carries.
    fn advance(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && connection.poll_without_shutdown(cx).is_ready()
            && let Some(ended) = self.connection.take()
        {
            self.surplus = ended.into_parts().read_buf.len();
        }
    }
}

/// The bytes of an answer. Nothing is read ahead of the caller but one buffer, and dropping it ends the connection.
pub struct Body {
    incoming: Incoming,
    line: Line,
    place: Place,
    /// Bytes that the whole body must have, if that is known.
    promised: Option<u64>,
    bytes_max: u64,
    bytes: u64,
    wait_max: Duration,
    /// Time waited for the server, and bytes that came, since it was last seen to be fast enough.
    waited: Duration,
    progress: u64,
    progress_min: u64,
    failed: bool,
}

impl Body {
    pub(crate) fn new(
        incoming: Incoming,
        line: Line,
        place: Place,
        shape: &Shape,
        wait_max: Duration,
    ) -> Self {
        Self {
            incoming,
            line,
            place,
            promised: shape.length,
            bytes_max: shape.bytes_max,
            bytes: 0,
            wait_max,
            waited: Duration::ZERO,
            progress: 0,
            progress_min: PROGRESS_BYTES_MIN,
            failed: false,
        }
    }

    pub(crate) fn paced(self, pace: Pace) -> Self {
        let progress_min = if pace == Pace::AsItComes { 1 } else { PROGRESS_BYTES_MIN };
        Self { progress_min, ..self }
    }

    /// The next bytes, or none if the body is complete. After an error every further call is one too. May be
    /// dropped and called again: no bytes are lost.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, OutboundError> {
        if self.failed {
            return Err(self.cut_short());
        }
        let result = self.next().await;
        self.failed = result.is_err();
        result
    }

    /// All bytes at once, for answers that the caller's limit keeps small.
    pub async fn collect(mut self) -> Result<Bytes, OutboundError> {
        let mut all = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all.into())
    }

    async fn next(&mut self) -> Result<Option<Bytes>, OutboundError> {
        loop {
            // Only what the server takes counts: the caller may be as slow as its disk.
            let since = Instant::now();
            let Ok(frame) = timeout(self.wait_max.saturating_sub(self.waited), self.frame()).await else {
                return Err(self.stalled());
            };
            self.waited += since.elapsed();
            match frame {
                None => return self.end().await,
                Some(Err(_)) => return Err(self.cut_short()),
                // Trailers say nothing that we go by.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return self.count(data).map(Some),
                    _ => {}
                },
            }
        }
    }

    async fn frame(&mut self) -> Option<Result<Frame<Bytes>, hyper::Error>> {
        let Self { incoming, line, .. } = self;
        line.wait(|cx| Pin::new(&mut *incoming).poll_frame(cx)).await
    }

    fn count(&mut self, data: Bytes) -> Result<Bytes, OutboundError> {
        self.bytes += data.len() as u64;
        self.progress += data.len() as u64;
        if self.progress >= self.progress_min {
            (self.progress, self.waited) = (0, Duration::ZERO);
        }
        match self.promised {
            Some(promised) if self.bytes > promised => Err(self.overlong(promised, self.bytes)),
            _ if self.bytes > self.bytes_max => {
                Err(OutboundError::TooLarge { place: self.place.clone(), bytes_max: self.bytes_max })
            }
            _ => Ok(data),
        }
    }

    async fn end(&mut self) -> Result<Option<Bytes>, OutboundError> {
        let Self { line, .. } = self;
        poll_fn(|cx| {
            line.advance(cx);
            Poll::Ready(())
        })
        .await;
        if self.promised.is_some_and(|promised| self.bytes < promised) {
            return Err(self.cut_short());
        }
        if self.line.surplus > 0 {
            return Err(self.overlong(self.bytes, self.bytes + self.line.surplus as u64));
        }
        Ok(None)
    }

    fn cut_short(&self) -> OutboundError {
        OutboundError::CutShort { place: self.place.clone(), bytes: self.bytes, promised: self.promised }
    }

    fn overlong(&self, promised: u64, bytes: u64) -> OutboundError {
        OutboundError::Overlong { place: self.place.clone(), bytes, promised }
    }

    fn stalled(&self) -> OutboundError {
        OutboundError::Stalled {
            place: self.place.clone(),
            bytes: self.bytes,
            progress: self.progress_min,
            wait: self.wait_max,
        }
    }
}
