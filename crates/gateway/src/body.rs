//! From the bytes of a request's body to a typed value, under bounds.

use std::collections::HashSet;

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Request},
};
use http::{HeaderMap, header, request::Parts};
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::{
    error::ApiError,
    json,
    limits::{
        BODY_BYTES_MAX, BODY_READ_TIMEOUT, BODY_TOTAL_TIMEOUT, DISCARD_BYTES_MAX, FORM_BYTES_MAX,
        NOTE_BODY_BYTES_MAX, QUOTE_BYTES_MAX,
    },
};

/// A body that is one JSON object of `T`'s shape.
pub(crate) struct JsonBody<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        // Read first, complain after: a caller who still sends would not see the answer.
        let bytes = timeout(BODY_TOTAL_TIMEOUT, read(&parts.headers, body))
            .await
            .map_err(|_| ApiError::BodyTooSlow)??;
        if bytes.trim_ascii().is_empty() {
            return Err(ApiError::EmptyBody);
        }
        if !says(&parts.headers, b"application/json") {
            return Err(ApiError::NotJson);
        }
        json::parse(&bytes).map(Self)
    }
}

/// A body that is JSON of SCIM's, which has a media type of its own.
pub(crate) struct ScimBody(pub serde_json::Value);

impl<S: Sync> FromRequest<S> for ScimBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = timeout(BODY_TOTAL_TIMEOUT, read(&parts.headers, body))
            .await
            .map_err(|_| ApiError::BodyTooSlow)??;
        if !says(&parts.headers, b"application/scim+json") && !says(&parts.headers, b"application/json") {
            return Err(ApiError::NotJson);
        }
        json::parse(&bytes).map(Self)
    }
}

/// A body that is one form of `T`'s fields. Fields that `T` does not have are passed over, as OAuth asks (RFC 6749, section 3.2).
pub(crate) struct FormBody<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for FormBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = timeout(BODY_TOTAL_TIMEOUT, read(&parts.headers, body))
            .await
            .map_err(|_| ApiError::BodyTooSlow)??;
        if !says(&parts.headers, b"application/x-www-form-urlencoded") {
            return Err(ApiError::NotForm);
        }
        if bytes.len() > FORM_BYTES_MAX {
            return Err(ApiError::BodyTooLarge);
        }
        fields(&bytes).map(Self)
    }
}

/// A body that is the text of a signed note and what is around it. No media type is agreed on for it (C2SP `tlog-witness`).
pub(crate) struct NoteBody(pub Vec<u8>);

impl<S: Sync> FromRequest<S> for NoteBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = timeout(BODY_TOTAL_TIMEOUT, read(&parts.headers, body))
            .await
            .map_err(|_| ApiError::BodyTooSlow)??;
        if bytes.len() > NOTE_BODY_BYTES_MAX {
            return Err(ApiError::BodyTooLarge);
        }
        Ok(Self(bytes))
    }
}

/// The query of an address, as one form of `T`'s fields.
pub(crate) struct QueryFields<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for QueryFields<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        fields(parts.uri.query().unwrap_or_default().as_bytes()).map(Self)
    }
}

fn fields<T: DeserializeOwned>(form: &[u8]) -> Result<T, ApiError> {
    each_once(form)?;
    let pairs = url::form_urlencoded::parse(form);
    let fields: serde_json::Map<String, serde_json::Value> =
        pairs.map(|(name, value)| (name.into_owned(), value.into())).collect();
    serde_json::from_value(fields.into()).map_err(|_| ApiError::Malformed("a field is missing".to_owned()))
}

/// Of a field that is there twice it cannot be known which one is meant: others on the way may read the other one.
pub(crate) fn each_once(form: &[u8]) -> Result<(), ApiError> {
    let mut seen = HashSet::new();
    let mut names = url::form_urlencoded::parse(form).map(|(name, _)| name);
    let Some(twice) = names.find(|name| !seen.insert(name.clone())) else { return Ok(()) };
    let shown = if twice.len() <= QUOTE_BYTES_MAX { twice.into_owned() } else { "a parameter".to_owned() };
    let sentence = format!("`{shown}` is there twice; send it once");
    Err(ApiError::parameter(shown, sentence))
}

/// The whole body, if it is not too large.
async fn read(headers: &HeaderMap, mut body: Body) -> Result<Vec<u8>, ApiError> {
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let waits_for_permission = headers.contains_key(header::EXPECT);
    if declared > DISCARD_BYTES_MAX || (declared > BODY_BYTES_MAX && waits_for_permission) {
        return Err(ApiError::BodyTooLarge);
    }
    let mut bytes = Vec::with_capacity(declared.min(BODY_BYTES_MAX));
    let mut arrived = 0_usize;
    while let Some(frame) =
        timeout(BODY_READ_TIMEOUT, body.frame()).await.map_err(|_| ApiError::BodyTooSlow)?
    {
        let Ok(data) = frame.map_err(|_| ApiError::BrokenBody)?.into_data() else { continue };
        arrived = arrived.saturating_add(data.len());
        if arrived > DISCARD_BYTES_MAX {
            break;
        }
        if arrived <= BODY_BYTES_MAX {
            bytes.extend_from_slice(&data);
        } else {
            bytes = Vec::new();
        }
    }
    if arrived > BODY_BYTES_MAX {
        return Err(ApiError::BodyTooLarge);
    }
    Ok(bytes)
}

/// Whether it is of this media type, with parameters or without.
fn says(headers: &HeaderMap, media_type: &[u8]) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return false };
    let said = value.as_bytes().split(|&b| b == b';').next().unwrap_or_default();
    said.trim_ascii().eq_ignore_ascii_case(media_type)
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, stream};
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Small {
        a: String,
    }

    fn outcome(content_type: Option<&str>, body: Body) -> Result<String, &'static str> {
        let mut request = Request::new(body);
        if let Some(content_type) = content_type {
            request.headers_mut().insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let parsed = runtime.block_on(JsonBody::<Small>::from_request(request, &()));
        parsed.map(|JsonBody(small)| small.a).map_err(|error| error.code())
    }

    /// A body of unknown length, as of `Transfer-Encoding: chunked`.
    fn chunked(pieces: usize, piece: &'static [u8]) -> Body {
        Body::from_stream(stream::iter((0..pieces).map(move |_| Ok::<_, axum::Error>(piece))))
    }

    #[test]
    fn bodies_are_read_under_bounds() {
        const MEBIBYTE: &[u8] = &[b' '; 1024 * 1024];
        let json = Some("application/json");
        let good = || Body::from("{\"a\":\"b\"}");
        assert_eq!(outcome(json, good()), Ok("b".to_owned()));
        assert_eq!(outcome(Some("Application/JSON; charset=utf-8"), good()), Ok("b".to_owned()));
        assert_eq!(outcome(None, good()), Err("unsupported_media_type"));
        assert_eq!(outcome(Some("text/plain"), good()), Err("unsupported_media_type"));
        assert_eq!(outcome(json, Body::empty()), Err("empty_body"));
        assert_eq!(outcome(json, Body::from(" \n")), Err("empty_body"));
        assert_eq!(outcome(json, chunked(4, MEBIBYTE)), Err("empty_body"));
        assert_eq!(outcome(json, Body::from(vec![b' '; BODY_BYTES_MAX + 1])), Err("body_too_large"));
        assert_eq!(outcome(json, chunked(5, MEBIBYTE)), Err("body_too_large"));
        // It stops reading at the second bound: the stream never ends.
        assert_eq!(outcome(json, chunked(usize::MAX, MEBIBYTE)), Err("body_too_large"));
        let broken = stream::iter([Ok("{\"a\""), Err(axum::Error::new("reset"))]);
        assert_eq!(outcome(json, Body::from_stream(broken)), Err("broken_body"));
    }

    #[test]
    fn what_is_there_twice_is_named() {
        let long = "x".repeat(QUOTE_BYTES_MAX + 1);
        for (form, expected) in [
            ("", None),
            ("a=1&b=1&A=1&a[x]=1&a[y]=1", None),
            ("limit=1&limit=2", Some("limit")),
            ("limit=1&after=x&l%69mit=1", Some("limit")),
            ("a&a", Some("a")),
            ("a%5Bx%5D=1&a[x]=2", Some("a[x]")),
            (&format!("{long}=1&{long}=2"), Some("a parameter")),
        ] {
            let error = each_once(form.as_bytes()).err().map(|error| error.to_string());
            assert_eq!(
                error,
                expected.map(|name| format!("`{name}` is there twice; send it once")),
                "{form}"
            );
        }
    }

    #[test]
    fn who_asks_before_sending_too_much_is_refused_at_once() {
        let headers = HeaderMap::from_iter([(header::EXPECT, "100-continue".parse().unwrap())]);
        let large = Body::from(vec![0; BODY_BYTES_MAX + 1]);
        assert!(matches!(read(&headers, large).now_or_never(), Some(Err(ApiError::BodyTooLarge))));
    }
}
