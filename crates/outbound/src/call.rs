//! Asks for something else than a file: sends what a protocol wants, and reads the short answer, whatever its status is.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;
use hyper::body::Body as _;
use types::Secret;
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use crate::{
    Body, Extent, Outbound, OutboundError,
    body::Pace,
    client::{common, resource, value},
    head::Shape,
    location::Target,
};

/// What is asked.
pub struct Call {
    /// How.
    pub method: Method,
    /// The media type of the body, and the body.
    pub body: Option<(&'static str, Secret)>,
    /// The whole `Authorization` header.
    pub authorization: Option<Secret>,
    /// Most bytes of the answer.
    pub bytes_max: u64,
}

impl Call {
    /// Sends a form, as OAuth's protocols do. Values are secrets as a rule; they are wiped when dropped.
    pub fn form(fields: &[(&str, &Secret)], authorization: Option<Secret>, bytes_max: u64) -> Self {
        let mut text = form_urlencoded::Serializer::new(String::new());
        for (name, field) in fields {
            text.append_pair(name, &Zeroizing::new(String::from_utf8_lossy(field.expose()).into_owned()));
        }
        let body = Some(("application/x-www-form-urlencoded", Secret::from(text.finish())));
        Self { method: Method::POST, body, authorization, bytes_max }
    }

    /// The `Authorization` header with a token.
    pub fn bearer(token: &Secret) -> Secret {
        Secret::from([b"Bearer ", token.expose()].concat())
    }
}

/// An answer to a call, which has begun.
pub struct Streamed {
    /// Its status: what was refused is explained in the body.
    pub status: StatusCode,
    /// How long to wait until the next try (`Retry-After`), if it says so in seconds.
    pub retry_after: Option<Duration>,
    /// The bytes, as they come.
    pub body: Body,
}

/// An answer to a call.
pub struct Reply {
    /// Its status: what was refused is explained in the body.
    pub status: StatusCode,
    /// How long to wait until the next try (`Retry-After`), if it says so in seconds.
    pub retry_after: Option<Duration>,
    /// All of it.
    pub body: Bytes,
}

impl Outbound {
    /// Asks what is at `url`, an `https` address. A redirect is not followed: it would carry what is sent to somebody else.
    pub async fn call(&self, url: &Url, call: &Call) -> Result<Reply, OutboundError> {
        let Streamed { status, retry_after, body } = self.begin(url, call, Pace::Steady).await?;
        Ok(Reply { status, retry_after, body: body.collect().await? })
    }

    /// The same, of an answer that is made while it is sent: some bytes now and then are enough, and it may stand in a queue before
    /// it begins.
    pub async fn stream(&self, url: &Url, call: &Call) -> Result<Streamed, OutboundError> {
        self.begin(url, call, Pace::AsItComes).await
    }

    async fn begin(&self, url: &Url, call: &Call, coming: Pace) -> Result<Streamed, OutboundError> {
        let target = Target::new(url)?;
        let (response, line) = self.ask(&target, request(&target, call)?, coming).await?;
        let (head, incoming) = response.into_parts();
        let place = target.place();
        if head.status.is_redirection() {
            let why = "what was sent is not sent on to where it leads".to_owned();
            return Err(OutboundError::BadRedirect { place, why });
        }
        let length = incoming.size_hint().exact();
        if length.is_some_and(|length| length > call.bytes_max) {
            let why = format!("it is larger than {} bytes", call.bytes_max);
            return Err(OutboundError::BadAnswer { place, why });
        }
        let shape = Shape { extent: Extent::Whole, length, total: length, bytes_max: call.bytes_max };
        let body = Body::new(incoming, line, place, &shape, self.stall()).paced(coming);
        let seconds =
            head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Streamed { status: head.status, retry_after: seconds.map(Duration::from_secs), body })
    }
}

fn request(target: &Target, call: &Call) -> Result<Request<Full<Bytes>>, OutboundError> {
    let mut fields = common(target, "application/json")?;
    let body = match &call.body {
        Some((media_type, body)) => {
            fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
            Full::from(Bytes::copy_from_slice(body.expose()))
        }
        None => Full::default(),
    };
    if let Some(authorization) = &call.authorization {
        let mut sensitive = value(authorization.expose(), "`authorization`")?;
        sensitive.set_sensitive(true);
        fields.insert(header::AUTHORIZATION, sensitive);
    }
    let mut request = Request::new(body);
    *request.method_mut() = call.method.clone();
    *request.uri_mut() = resource(target)?;
    *request.headers_mut() = fields;
    Ok(request)
}
