//! JSON at the edge: strict, and with errors that name the parameter.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::error::Category;

use crate::{error::ApiError, limits::QUOTE_BYTES_MAX};

/// How alike (Jaro-Winkler, 0 to 1) an unknown name and a known one must be for a suggestion.
const ALIKE_MIN: f64 = 0.85;

/// One JSON object of `T`'s shape, and nothing after it.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        ApiError::Malformed(format!("it is not UTF-8 from byte {} on", error.valid_up_to()))
    })?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let Object(value) = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        explain(&path, &error.into_inner())
    })?;
    deserializer.end().map_err(|error| ApiError::Malformed(error.to_string()))?;
    Ok(value)
}

fn explain(path: &str, error: &serde_json::Error) -> ApiError {
    let text = error.to_string();
    if error.classify() != Category::Data {
        return ApiError::Malformed(text);
    }
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    if let Some(unknown) = text.strip_prefix("unknown field `") {
        return unknown_field(path, unknown);
    }
    let text = shortened(text);
    match path {
        // Neither the whole nor an unknown place is a parameter. A field given twice is named by the text.
        "." | "?" => match text.split('`').nth(1).filter(|_| text.starts_with("duplicate field `")) {
            Some(field) => ApiError::parameter(field.to_owned(), format!("`{field}` is given twice")),
            None => ApiError::Malformed(text),
        },
        path => ApiError::parameter(shortened(path), format!("`{}`: {text}", shortened(path))),
    }
}

/// `unknown` is the rest of serde's sentence: the name, a backtick, and the names that were expected.
fn unknown_field(path: &str, unknown: &str) -> ApiError {
    let (name, expected) = unknown.rsplit_once("`, expected ").unwrap_or((unknown, ""));
    // The path may end in the unknown name or in the object that holds it.
    let object = shortened(path.strip_suffix(name).unwrap_or(path).trim_end_matches('.'));
    let name = shortened(name);
    let parameter = if object.is_empty() { name.clone() } else { format!("{object}.{name}") };
    let known = expected.split('`').skip(1).step_by(2);
    let nearest = known
        .map(|known| (strsim::jaro_winkler(known, &name), known))
        .filter(|(alike, _)| *alike >= ALIKE_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    let advice = match nearest {
        Some((_, nearest)) => format!("did you mean `{nearest}`?"),
        None => "leave it out".to_owned(),
    };
    let sentence = format!("there is no parameter `{parameter}`; {advice}");
    ApiError::parameter(parameter, sentence)
}

/// Beginning and end of a text that may hold megabytes of the caller's own.
fn shortened(text: &str) -> String {
    if text.len() <= 4 * QUOTE_BYTES_MAX {
        return text.to_owned();
    }
    let head = text.floor_char_boundary(QUOTE_BYTES_MAX);
    let tail = text.ceil_char_boundary(text.len() - QUOTE_BYTES_MAX);
    format!("{}…{}", &text[..head], &text[tail..])
}

/// A `T` that is written as a JSON object. Without it serde would also take an array of the fields' values.
#[derive(Debug)]
pub(crate) struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Fields(PhantomData))
    }
}

/// What was given for a parameter that is not offered. The value itself is not kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum Given {
    /// Absent, null, false or empty: leaving it out changes nothing.
    #[default]
    Nothing,
    /// A short word.
    Word(String),
    /// Anything else.
    Something,
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Anything;

        impl<'de> Visitor<'de> for Anything {
            type Value = Given;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_unit<E>(self) -> Result<Given, E> {
                Ok(Given::Nothing)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Given, E> {
                Ok(if value { Given::Something } else { Given::Nothing })
            }

            fn visit_i64<E>(self, _: i64) -> Result<Given, E> {
                Ok(Given::Something)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Given, E> {
                Ok(Given::Something)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Given, E> {
                Ok(Given::Something)
            }

            fn visit_str<E>(self, text: &str) -> Result<Given, E> {
                Ok(match text {
                    "" => Given::Nothing,
                    text if text.len() <= QUOTE_BYTES_MAX => Given::Word(text.to_owned()),
                    _ => Given::Something,
                })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Given, A::Error> {
                let mut given = Given::Nothing;
                while items.next_element::<IgnoredAny>()?.is_some() {
                    given = Given::Something;
                }
                Ok(given)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Given, A::Error> {
                let mut given = Given::Nothing;
                while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    given = Given::Something;
                }
                Ok(given)
            }
        }

        deserializer.deserialize_any(Anything)
    }
}

impl Given {
    /// Refuses what would have had an effect. `neutral` are the words that have none.
    pub(crate) fn refuse(&self, parameter: &str, neutral: &[&str]) -> Result<(), ApiError> {
        match self {
            Self::Nothing => Ok(()),
            Self::Word(word) if neutral.contains(&word.as_str()) => Ok(()),
            _ => Err(ApiError::parameter(
                parameter.to_owned(),
                format!("`{parameter}` is not offered by this server; leave it out"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Outer {
        temperature: Option<f32>,
        inner: Option<Object<Inner>>,
        #[serde(default)]
        tools: Given,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Inner {
        include_usage: Option<bool>,
    }

    #[test]
    fn errors_name_the_parameter() {
        let deep = format!("{{\"temperature\":{}", "[".repeat(100_000));
        let deep_tools = format!("{{\"tools\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let long = format!("{{\"temperature\":\"{}\"}}", "é".repeat(1_000_000));
        let long_name = format!("{{\"{}\":1}}", "x".repeat(1_000_000));
        let short_name = format!("{0}…{0}", "x".repeat(QUOTE_BYTES_MAX));
        let table: &[(&[u8], &str, &str)] = &[
            (b"{", "", "EOF"),
            (b"[1]", "", "expected a JSON object"),
            (b"\"text\"", "", "expected a JSON object"),
            (b"{} {}", "", "trailing characters"),
            (b"{\"temperature\":NaN}", "", "expected value"),
            (b"{\"temperature\":1e999}", "", "out of range"),
            (b"\xff{}", "", "not UTF-8 from byte 0"),
            (deep.as_bytes(), "temperature", "invalid type: sequence"),
            (long.as_bytes(), "temperature", "expected f32"),
            (long_name.as_bytes(), &short_name, "leave it out"),
            (b"{\"temperature\":\"hot\"}", "temperature", "invalid type: string \"hot\", expected f32"),
            (b"{\"temperature\":1,\"temperature\":2}", "temperature", "given twice"),
            (b"{\"inner\":{\"include_usage\":true,\"include_usage\":true}}", "inner", "duplicate field"),
            (b"{\"inner\":[true]}", "inner", "expected a JSON object"),
            (b"{\"inner\":{\"include_usag\":true}}", "inner.include_usag", "did you mean `include_usage`?"),
            (b"{\"temprature\":1}", "temprature", "did you mean `temperature`?"),
            (b"{\"quux\":1}", "quux", "leave it out"),
        ];
        for (text, parameter, part) in table {
            let error = parse::<Outer>(text).unwrap_err();
            let message = error.to_string();
            assert!(message.contains(part), "{message}");
            assert!(message.len() < 1000, "{} bytes", message.len());
            let named = match &error {
                ApiError::Parameter { parameter, .. } => parameter,
                _ => "",
            };
            assert_eq!(&named, parameter, "{message}");
        }
        // Skipped values may be deep: nothing recurses over them.
        assert_eq!(parse::<Outer>(deep_tools.as_bytes()).unwrap().tools, Given::Something);
    }

    #[test]
    fn only_what_has_no_effect_is_nothing() {
        for (text, expected) in [
            ("null", Given::Nothing),
            ("false", Given::Nothing),
            ("\"\"", Given::Nothing),
            ("[]", Given::Nothing),
            ("{}", Given::Nothing),
            ("true", Given::Something),
            ("0", Given::Something),
            ("-1", Given::Something),
            ("0.5", Given::Something),
            ("\"auto\"", Given::Word("auto".to_owned())),
            ("[null]", Given::Something),
            ("{\"a\":null}", Given::Something),
        ] {
            let given: Given = serde_json::from_str(text).unwrap();
            assert_eq!(given, expected, "{text}");
        }
    }
}
