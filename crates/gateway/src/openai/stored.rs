//! Stored chat completions: get, list, change and delete what was asked for with `store`.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Uri};
use path::{Exported, KeptError, Stored, StoredQuery};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use types::{RequestId, Secret};
use url::form_urlencoded;
use utoipa::ToSchema;

use super::{
    Protocol,
    answer::{ChatCompletion, Head, Usage, now},
    fields::Metadata,
    transcript::{self, ReadAnswer, ReadMessage},
};
use crate::{
    body::JsonBody,
    credential::Caller,
    error::{ApiError, ErrorBody},
    limits::{LIST_DEFAULT, LIST_MAX, METADATA_PAIRS_MAX},
    routes::Gateway,
};

/// About the bytes of a line of an export beside its texts.
const LINE_HEAD: usize = 1024;
/// Header with the texts that a list is filtered by.
const METADATA_HEADER: &str = "llmos-metadata";
/// What stands before the request's id.
const PREFIX: &str = "chatcmpl-";

/// A part of a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct List<T> {
    /// Always `list`.
    object: &'static str,
    /// The items.
    data: Vec<T>,
    /// Id of the first.
    first_id: Option<String>,
    /// Id of the last: `after` goes on behind it.
    last_id: Option<String>,
    /// Whether others follow.
    has_more: bool,
}

/// A message of a stored conversation.
#[derive(Serialize, ToSchema)]
pub(crate) struct StoredMessage {
    /// Its id.
    id: String,
    /// `system`, `user` or `assistant`.
    role: String,
    /// The text.
    content: String,
    /// Always null.
    name: Option<String>,
    /// Always null.
    content_parts: Option<String>,
}

/// What can be changed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    /// Comes in the place of what was attached: at most 16 texts by name.
    #[schema(required = true, value_type = Metadata)]
    metadata: Option<Metadata>,
}

/// What was deleted. The names are the protocol's.
#[allow(clippy::struct_field_names)]
#[derive(Serialize, ToSchema)]
pub(crate) struct Deleted {
    /// Always `chat.completion.deleted`.
    object: &'static str,
    /// Its id.
    id: String,
    /// Always true.
    deleted: bool,
}

/// Get a stored chat completion
#[utoipa::path(
    get,
    path = "/v1/chat/completions/{id}",
    tag = "openai",
    params(("id" = String, Path, description = "Id of the answer")),
    responses(
        (status = 200, description = "The answer, as it was given", body = ChatCompletion<'_>),
        (status = "4XX", description = "No valid key, no such answer of this user, or it was erased", body = ErrorBody),
        (status = "5XX", description = "It cannot be read now", body = ErrorBody),
    ),
)]
pub(crate) async fn get_stored(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let stored = gateway.path.stored(credential, named(id)?, now()).await?;
    shown(&stored)
}

/// List stored chat completions
///
/// Those of the key's own user.
#[utoipa::path(
    get,
    path = "/v1/chat/completions",
    tag = "openai",
    params(
        ("after" = Option<String>, Query, description = "Go on behind this id"),
        ("limit" = Option<usize>, Query, minimum = 1, maximum = 100, description = "At most so many: 1 to 100; 20 without it"),
        ("order" = Option<String>, Query, description = "`asc` (the oldest first) or `desc`"),
        ("model" = Option<String>, Query, description = "Only of this model"),
        ("metadata" = Option<BTreeMap<String, String>>, Query, style = DeepObject, explode, description = "As the header `llmos-metadata`, where the server has `metadata_filter = \"address\"`; else it is refused"),
        ("llmos-metadata" = Option<String>, Header, description = "Only those to which these texts are attached: an object of texts in JSON"),
    ),
    responses(
        (status = 200, description = "The answers", body = List<ChatCompletion<'_>>),
        (status = "4XX", description = "No valid key, or a parameter that is wrong", body = ErrorBody),
        (status = "5XX", description = "They cannot be read now", body = ErrorBody),
    ),
)]
pub(crate) async fn list_stored(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut query = Query::parse(&uri)?;
    query.metadata = filter(query.metadata, &headers, gateway.metadata_in_address)?;
    let matches = |metadata: &Secret| {
        query.metadata.is_empty()
            || transcript::read::<BTreeMap<String, String>>(metadata).is_ok_and(|attached| {
                query.metadata.iter().all(|(name, text)| attached.get(name) == Some(text))
            })
    };
    let wanted = StoredQuery {
        model: query.model,
        after: query.after.as_deref().map(parse_id).transpose()?,
        newest_first: query.newest_first,
        most: query.limit,
    };
    let page = gateway.path.stored_list(credential, &wanted, &matches, now()).await?;
    let answers = page.items.iter().map(|stored| Ok((stored, transcript::read(&stored.answer)?)));
    let answers = answers.collect::<Result<Vec<(&Stored, ReadAnswer)>, ApiError>>()?;
    let data = answers.iter().map(|(stored, answer)| completion(stored, answer));
    let ids = |stored: Option<&Stored>| stored.map(|stored| format!("{PREFIX}{}", stored.id));
    let list = List {
        object: "list",
        data: data.collect::<Result<Vec<_>, _>>()?,
        first_id: ids(page.items.first()),
        last_id: ids(page.items.last()),
        has_more: page.has_more,
    };
    Ok(Json(list).into_response())
}

/// List the messages of a stored chat completion
#[utoipa::path(
    get,
    path = "/v1/chat/completions/{id}/messages",
    tag = "openai",
    params(
        ("id" = String, Path, description = "Id of the answer"),
        ("after" = Option<String>, Query, description = "Go on behind this id of a message"),
        ("limit" = Option<usize>, Query, minimum = 1, maximum = 100, description = "At most so many: 1 to 100; 20 without it"),
        ("order" = Option<String>, Query, description = "`asc` (the first one first) or `desc`"),
    ),
    responses(
        (status = 200, description = "What was asked", body = List<StoredMessage>),
        (status = "4XX", description = "No valid key, no such answer of this user, or it was erased", body = ErrorBody),
        (status = "5XX", description = "It cannot be read now", body = ErrorBody),
    ),
)]
pub(crate) async fn list_stored_messages(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    id: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let id = named(id)?;
    let query = Query::parse(&uri)?;
    if query.model.is_some() || !query.metadata.is_empty() {
        let sentence = "messages have no model and no metadata; leave these parameters out";
        return Err(ApiError::parameter("model", sentence));
    }
    let stored = gateway.path.stored_messages(credential, id, now()).await?;
    let messages: Vec<ReadMessage> = transcript::read(&stored)?;
    let named = |index: usize| format!("{PREFIX}{id}-{index}");
    let mut all: Vec<usize> = (0..messages.len()).collect();
    if query.newest_first {
        all.reverse();
    }
    let start = match &query.after {
        None => 0,
        Some(after) => match all.iter().position(|index| named(*index) == *after) {
            Some(place) => place + 1,
            None => return Err(ApiError::parameter("after", "there is no message of this id")),
        },
    };
    let rest = all.get(start..).unwrap_or_default();
    let page = rest.get(..query.limit).unwrap_or(rest);
    let data = page.iter().map(|index| StoredMessage {
        id: named(*index),
        role: messages[*index].role.clone(),
        content: messages[*index].content.0.expose().to_owned(),
        name: None,
        content_parts: None,
    });
    let list = List {
        object: "list",
        data: data.collect(),
        first_id: page.first().map(|index| named(*index)),
        last_id: page.last().map(|index| named(*index)),
        has_more: page.len() < rest.len(),
    };
    Ok(Json(list).into_response())
}

/// Change what is attached to a stored chat completion
#[utoipa::path(
    post,
    path = "/v1/chat/completions/{id}",
    tag = "openai",
    request_body = Change,
    params(("id" = String, Path, description = "Id of the answer")),
    responses(
        (status = 200, description = "The answer, with what is attached now", body = ChatCompletion<'_>),
        (status = "4XX", description = "No valid key, no such answer of this user, or it was erased", body = ErrorBody),
        (status = "5XX", description = "It cannot be changed now", body = ErrorBody),
    ),
)]
pub(crate) async fn update_stored(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    id: Result<Path<String>, PathRejection>,
    JsonBody(change): JsonBody<Change>,
) -> Result<Response, ApiError> {
    let metadata = change.metadata.ok_or_else(|| ApiError::parameter("metadata", "`metadata` is missing"))?;
    let stored = gateway.path.update_stored(credential, named(id)?, &metadata.to_json(), now()).await?;
    shown(&stored)
}

/// Delete a stored chat completion
#[utoipa::path(
    delete,
    path = "/v1/chat/completions/{id}",
    tag = "openai",
    params(("id" = String, Path, description = "Id of the answer")),
    responses(
        (status = 200, description = "It is deleted", body = Deleted),
        (status = "4XX", description = "No valid key, or no such answer of this user", body = ErrorBody),
        (status = "5XX", description = "It cannot be deleted now", body = ErrorBody),
    ),
)]
pub(crate) async fn delete_stored(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Deleted>, ApiError> {
    let id = named(id)?;
    gateway.path.delete_stored(credential, id, now()).await?;
    Ok(Json(Deleted { object: "chat.completion.deleted", id: format!("{PREFIX}{id}"), deleted: true }))
}

/// An id that none of ours could have names none.
fn named(id: Result<Path<String>, PathRejection>) -> Result<RequestId, ApiError> {
    id.map_or_else(|_| Err(unknown()), |Path(id)| parse_id(&id))
}

fn parse_id(id: &str) -> Result<RequestId, ApiError> {
    let digits = id.strip_prefix(PREFIX).filter(|digits| digits.len() == 32);
    let is_hexadecimal = |digits: &&str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = digits.filter(is_hexadecimal).and_then(|digits| u128::from_str_radix(digits, 16).ok());
    number.map(RequestId).ok_or_else(unknown)
}

fn unknown() -> ApiError {
    path::PathError::from(KeptError::Unknown).into()
}

fn shown(stored: &Stored) -> Result<Response, ApiError> {
    let answer: ReadAnswer = transcript::read(&stored.answer)?;
    Ok(Json(completion(stored, &answer)?).into_response())
}

fn completion<'a>(stored: &Stored, answer: &'a ReadAnswer) -> Result<ChatCompletion<'a>, ApiError> {
    let head = Head::new(Protocol::Chat, false, stored.id, &stored.model, stored.created_at);
    let usage = Usage::new(types::Tokens(answer.prompt_tokens), types::Tokens(answer.completion_tokens));
    let shown = ChatCompletion::new(head, answer.content.0.expose(), &answer.finish_reason, usage);
    Ok(ChatCompletion { metadata: Some(transcript::read(&stored.metadata)?), ..shown })
}

/// The texts that a list is filtered by. They may be somebody's words, and addresses are written down by proxies, browsers and
/// programs of callers, so they have a header.
fn filter(
    in_address: BTreeMap<String, String>,
    headers: &HeaderMap,
    may_be_in_address: bool,
) -> Result<BTreeMap<String, String>, ApiError> {
    let refused = |sentence: &'static str| Err(ApiError::parameter(METADATA_HEADER, sentence));
    let mut values = headers.get_all(METADATA_HEADER).iter();
    let (value, another) = (values.next(), values.next());
    match value {
        None if in_address.is_empty() || may_be_in_address => Ok(in_address),
        None => Err(ApiError::parameter(
            "metadata",
            "this server takes no `metadata` in an address, where others may write it down; send the header \
             `llmos-metadata: {\"name\": \"text\"}`, or let whoever runs the server set `metadata_filter = \"address\"`",
        )),
        Some(_) if !in_address.is_empty() || another.is_some() => refused(
            "the texts to filter by are given twice; send the header `llmos-metadata` once, and no `metadata`",
        ),
        Some(value) => match serde_json::from_slice::<Metadata>(value.as_bytes()) {
            Ok(Metadata(pairs)) => {
                Ok(pairs.into_iter().map(|(name, text)| (name, text.0.expose().to_owned())).collect())
            }
            Err(_) => refused("it must be an object of texts in JSON, for example {\"ward\": \"3b\"}"),
        },
    }
}

/// One of them as a line of an export.
pub(crate) fn line(exported: &Exported) -> Option<Secret> {
    #[derive(Serialize)]
    struct Line<'a> {
        #[serde(flatten)]
        completion: ChatCompletion<'a>,
        messages: &'a RawValue,
    }

    let answer: ReadAnswer = transcript::read(&exported.stored.answer).ok()?;
    let messages: &RawValue = transcript::read(&exported.messages).ok()?;
    let line = Line { completion: completion(&exported.stored, &answer).ok()?, messages };
    let length = exported.stored.answer.expose().len() + messages.get().len() + LINE_HEAD;
    Some(transcript::written(&line, length))
}

/// What stands behind the `?` of a list.
#[derive(Debug, PartialEq, Eq)]
struct Query {
    after: Option<String>,
    limit: usize,
    newest_first: bool,
    model: Option<String>,
    metadata: BTreeMap<String, String>,
}

impl Query {
    fn parse(uri: &Uri) -> Result<Self, ApiError> {
        let mut query = Self {
            after: None,
            limit: LIST_DEFAULT,
            newest_first: false,
            model: None,
            metadata: BTreeMap::new(),
        };
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            match name.as_ref() {
                "after" => query.after = Some(value.into_owned()),
                "model" => query.model = Some(value.into_owned()),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=LIST_MAX).contains(limit));
                    query.limit = limit.ok_or_else(|| {
                        ApiError::parameter("limit", format!("`limit` is a number from 1 to {LIST_MAX}"))
                    })?;
                }
                "order" => {
                    query.newest_first = match value.as_ref() {
                        "asc" => false,
                        "desc" => true,
                        _ => return Err(ApiError::parameter("order", "`order` is `asc` or `desc`")),
                    }
                }
                name => {
                    let attached = name.strip_prefix("metadata[").and_then(|name| name.strip_suffix(']'));
                    let Some(attached) = attached else {
                        let sentence = "there is such a parameter neither here nor by another spelling; known: after, \
                                        limit, order, model, metadata[name]";
                        return Err(ApiError::parameter("query", sentence));
                    };
                    if query.metadata.len() == METADATA_PAIRS_MAX {
                        let sentence = format!("there are at most {METADATA_PAIRS_MAX} pairs");
                        return Err(ApiError::parameter("metadata", sentence));
                    }
                    query.metadata.insert(attached.to_owned(), value.into_owned());
                }
            }
        }
        Ok(query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(query: &str) -> Result<Query, &'static str> {
        let uri: Uri = format!("/v1/chat/completions{query}").parse().unwrap();
        Query::parse(&uri).map_err(|error| error.code())
    }

    #[test]
    fn queries_are_read_strictly() {
        let none = parsed("").unwrap();
        assert_eq!((none.limit, none.newest_first, none.after), (20, false, None));
        let all =
            parsed("?limit=7&order=desc&model=a%2Fb&metadata%5Bward%5D=3%20b&metadata[x]=&after=y").unwrap();
        assert_eq!((all.limit, all.newest_first), (7, true));
        assert_eq!((all.model.as_deref(), all.after.as_deref()), (Some("a/b"), Some("y")));
        assert_eq!(all.metadata["ward"], "3 b");
        for bad in ["?limit=0", "?limit=101", "?limit=x", "?order=up", "?sort=asc", "?metadata=x"] {
            assert_eq!(parsed(bad), Err("invalid_parameter"), "{bad}");
        }
    }

    #[test]
    fn texts_to_filter_by_are_in_the_header_unless_the_address_is_allowed() {
        let texts = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|&(name, text)| (name.to_owned(), text.to_owned()));
            pairs.collect::<BTreeMap<String, String>>()
        };
        let (none, ward) = (texts(&[]), texts(&[("ward", "3\u{e4}")]));
        let given = r#"{"ward": "3\u00e4"}"#;
        for (address, values, allowed, expected) in [
            (&none, &[][..], false, Ok(&none)),
            (&none, &[given], false, Ok(&ward)),
            (&none, &["{\"ward\": \"3ä\"}"], false, Ok(&ward)),
            (&none, &[given], true, Ok(&ward)),
            (&ward, &[], true, Ok(&ward)),
            (&ward, &[], false, Err("send the header")),
            (&ward, &[given], true, Err("given twice")),
            (&none, &[given, given], false, Err("given twice")),
            (&none, &["ward=3b"], false, Err("an object of texts")),
            (&none, &["{\"ward\": 3}"], false, Err("an object of texts")),
            (&none, &["{\"a\": \"\", \"a\": \"\"}"], false, Err("an object of texts")),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(METADATA_HEADER, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            let found = filter(address.clone(), &headers, allowed);
            match expected {
                Ok(expected) => assert_eq!(found.as_ref().ok(), Some(expected), "{address:?} {values:?}"),
                Err(says) => {
                    let error = found.err().unwrap().to_string();
                    assert!(error.contains(says) && !error.contains("3ä"), "{error}");
                }
            }
        }
    }

    #[test]
    fn ids_are_those_that_were_given() {
        assert_eq!(parse_id("chatcmpl-0000000000000000000000000000000a").ok(), Some(RequestId(10)));
        for bad in [
            "",
            "chatcmpl-",
            "chatcmpl-a",
            "cmpl-0000000000000000000000000000000a",
            "chatcmpl-+000000000000000000000000000000a",
        ] {
            assert_eq!(parse_id(bad).err().unwrap().code(), "chat_completion_not_found", "{bad}");
        }
    }
}
