//! Values whose JSON has more than one shape.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Unexpected, Visitor},
};
use serde_json::{Value, json};
use types::{Prompt, STOP_BYTES_MAX, STOP_STRINGS_MAX};

use crate::{
    described::{count, described},
    json::{Given, Object},
    limits::{METADATA_KEY_CHARS_MAX, METADATA_PAIRS_MAX, METADATA_VALUE_CHARS_MAX, PARTS_MAX},
};

/// A whole number from 0 to `u32::MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count(pub u32);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;

        impl Visitor<'_> for Whole {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from 0 to {}", u32::MAX)
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Count, E> {
                let count = u32::try_from(value);
                count.map(Count).map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Count, E> {
                let count = u32::try_from(value);
                count.map(Count).map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))
            }
        }

        deserializer.deserialize_u64(Whole)
    }
}

described! {
    Stop = json!({ "anyOf": [
        stop_string(), { "type": "array", "items": stop_string(), "maxItems": STOP_STRINGS_MAX },
    ] });
    LogitBias = json!({
        "type": "object",
        "propertyNames": { "type": "string", "pattern": "^[0-9]{1,9}$" },
        "additionalProperties": { "type": "number", "minimum": -100, "maximum": 100 },
    });
    Content = json!({ "anyOf": [
        { "type": "string" },
        {
            "type": "array", "minItems": 1,
            "items": {
                "type": "object", "required": ["type", "text"], "additionalProperties": false,
                "properties": { "type": { "type": "string", "enum": ["text"] }, "text": { "type": "string" } },
            },
        },
    ] });
    Metadata = json!({
        "type": "object", "maxProperties": METADATA_PAIRS_MAX,
        "propertyNames": { "type": "string", "maxLength": METADATA_KEY_CHARS_MAX },
        "additionalProperties": { "type": "string", "maxLength": METADATA_VALUE_CHARS_MAX },
    });
    RawPrompt = json!({ "anyOf": [
        { "type": "string" },
        { "type": "array", "items": count(0), "minItems": 1 },
        {
            "type": "array", "minItems": 1, "maxItems": 1,
            "items": { "anyOf": [{ "type": "string" }, { "type": "array", "items": count(0), "minItems": 1 }] },
        },
    ] });
}

fn stop_string() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": STOP_BYTES_MAX })
}

/// `stop`: one string or several.
#[derive(Debug, Default)]
pub(super) struct Stop(pub Vec<String>);

impl<'de> Deserialize<'de> for Stop {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Stop;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_str<E>(self, text: &str) -> Result<Stop, E> {
                Ok(Stop(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Stop, A::Error> {
                let mut strings = Vec::new();
                while let Some(string) = items.next_element()? {
                    strings.push(string);
                }
                Ok(Stop(strings))
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

/// `logit_bias`: an object of token ids, written as strings, and what is added to their logits.
#[derive(Debug, Default)]
pub(super) struct LogitBias(pub Vec<(u32, f32)>);

impl<'de> Deserialize<'de> for LogitBias {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Biases;

        impl<'de> Visitor<'de> for Biases {
            type Value = LogitBias;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of token ids and numbers, for example {\"42\": -100}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<LogitBias, A::Error> {
                let mut biases = BTreeMap::new();
                while let Some(key) = entries.next_key::<String>()? {
                    let token: u32 = key
                        .parse()
                        .map_err(|_| A::Error::invalid_value(Unexpected::Str(&key), &"a token id"))?;
                    match biases.entry(token) {
                        Entry::Vacant(entry) => entry.insert(entries.next_value::<f32>()?),
                        Entry::Occupied(_) => {
                            return Err(A::Error::custom(format_args!(
                                "the token id {token} is given twice"
                            )));
                        }
                    };
                }
                Ok(LogitBias(biases.into_iter().collect()))
            }
        }

        deserializer.deserialize_map(Biases)
    }
}

/// `content` of a message: a text, or parts of type `text`, which are joined by line ends.
pub(super) struct Content(pub Prompt);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    r#type: Option<String>,
    text: Option<Text>,
    #[serde(default)]
    image_url: Given,
    #[serde(default)]
    input_audio: Given,
    #[serde(default)]
    file: Given,
    #[serde(default)]
    refusal: Given,
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrParts;

        impl<'de> Visitor<'de> for TextOrParts {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of parts like {\"type\": \"text\", \"text\": \"…\"}")
            }

            fn visit_str<E>(self, text: &str) -> Result<Content, E> {
                Ok(Content(Prompt::from(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Content, A::Error> {
                let mut texts: Vec<Text> = Vec::new();
                while let Some(Object(part)) = parts.next_element::<Object<Part>>()? {
                    if texts.len() == PARTS_MAX {
                        return Err(A::Error::custom(format_args!(
                            "a message has at most {PARTS_MAX} parts"
                        )));
                    }
                    texts.push(part.text::<A::Error>()?);
                }
                if texts.is_empty() {
                    return Err(A::Error::invalid_length(0, &"at least one part"));
                }
                let texts: Vec<&str> = texts.iter().map(|Text(text)| text.expose()).collect();
                Ok(Content(Prompt::from(texts.join("\n"))))
            }
        }

        deserializer.deserialize_any(TextOrParts)
    }
}

impl Part {
    fn text<E: Error>(self) -> Result<Text, E> {
        match self.r#type.as_deref() {
            Some("text") => {}
            Some(kind @ ("image_url" | "input_audio" | "file" | "refusal")) => {
                return Err(E::custom(format_args!(
                    "parts of type `{kind}` are not offered by this server, only `text`"
                )));
            }
            Some(_) => return Err(E::custom("a part has an unknown `type`; only `text` is offered")),
            None => return Err(E::missing_field("type")),
        }
        let others = [&self.image_url, &self.input_audio, &self.file, &self.refusal];
        if others.iter().any(|other| **other != Given::Nothing) {
            return Err(E::custom("a part of type `text` holds something else as well"));
        }
        self.text.ok_or_else(|| E::missing_field("text"))
    }
}

/// A string that a person wrote.
pub(super) struct Text(pub Prompt);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Prompt::from(text)))
    }
}

/// `metadata`: names and texts that a caller attaches to what is stored.
pub(super) struct Metadata(pub BTreeMap<String, Text>);

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Metadata;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts, for example {\"ward\": \"3b\"}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Metadata, A::Error> {
                let mut pairs = BTreeMap::new();
                while let Some(key) = entries.next_key::<String>()? {
                    if pairs.len() == METADATA_PAIRS_MAX {
                        return Err(A::Error::custom(format_args!(
                            "there are at most {METADATA_PAIRS_MAX} pairs"
                        )));
                    }
                    let value: Text = entries.next_value()?;
                    if key.chars().count() > METADATA_KEY_CHARS_MAX
                        || value.0.expose().chars().count() > METADATA_VALUE_CHARS_MAX
                    {
                        return Err(A::Error::custom(format_args!(
                            "a name has at most {METADATA_KEY_CHARS_MAX} characters, and a text \
                             {METADATA_VALUE_CHARS_MAX}"
                        )));
                    }
                    if pairs.insert(key, value).is_some() {
                        return Err(A::Error::custom("a name is given twice"));
                    }
                }
                Ok(Metadata(pairs))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

/// `prompt` of a completion: a text or token ids, bare or as the only element of an array.
pub(super) enum RawPrompt {
    Text(Prompt),
    Tokens(Vec<u32>),
}

impl<'de> Deserialize<'de> for RawPrompt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrArray;

        impl<'de> Visitor<'de> for OneOrArray {
            type Value = RawPrompt;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, an array of token ids, or an array of one of these")
            }

            fn visit_str<E>(self, text: &str) -> Result<RawPrompt, E> {
                Ok(RawPrompt::Text(Prompt::from(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<RawPrompt, A::Error> {
                let Some(first) = items.next_element()? else {
                    return Err(A::Error::invalid_length(0, &self));
                };
                let prompt = match first {
                    Element::Text(text) => RawPrompt::Text(text),
                    Element::Tokens(tokens) => RawPrompt::Tokens(tokens),
                    Element::Token(token) => {
                        let mut tokens = vec![token];
                        while let Some(Count(token)) = items.next_element()? {
                            tokens.push(token);
                        }
                        return Ok(RawPrompt::Tokens(tokens));
                    }
                };
                if items.next_element::<Element>()?.is_some() {
                    return Err(A::Error::custom(
                        "only one prompt per request is offered; send several requests",
                    ));
                }
                Ok(prompt)
            }
        }

        deserializer.deserialize_any(OneOrArray)
    }
}

/// What an array of `prompt` or `input` may hold.
pub(super) enum Element {
    Text(Prompt),
    Token(u32),
    Tokens(Vec<u32>),
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Element;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a string, a token id from 0 to {}, or an array of token ids", u32::MAX)
            }

            fn visit_str<E>(self, text: &str) -> Result<Element, E> {
                Ok(Element::Text(Prompt::from(text.to_owned())))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Element, E> {
                let token = u32::try_from(value);
                token.map(Element::Token).map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Element, A::Error> {
                let mut tokens = Vec::new();
                while let Some(Count(token)) = items.next_element()? {
                    tokens.push(token);
                }
                if tokens.is_empty() {
                    return Err(A::Error::invalid_length(0, &"at least one token id"));
                }
                Ok(Element::Tokens(tokens))
            }
        }

        deserializer.deserialize_any(Any)
    }
}
