//! What both requests have in common: the model, how tokens are drawn, where the answer ends, how it is sent.

use http::HeaderMap;
use serde::Deserialize;
use types::{
    Declared, GenerateRequest, Input, ModelName, OutOfRange, RequestId, Sampling, SamplingValues,
    StopStrings, Tokens,
};
use utoipa::ToSchema;

use super::{
    Asked, Delivery, Protocol,
    fields::{Count, LogitBias, Stop},
};
use crate::{error::ApiError, json::Object};

/// Header with the class of a request.
const CLASS_HEADER: &str = "llmos-class";
/// Header with the data class of a request.
const DATA_CLASS_HEADER: &str = "llmos-data-class";
/// Header with the purpose that a model is used for.
const PURPOSE_HEADER: &str = "llmos-purpose";

/// Declares a request: its own fields, then those that both have. (serde's `flatten` would do the same, but not
/// together with the refusal of unknown fields.)
macro_rules! generation_request {
    ($(#[$doc:meta])* $name:ident { $($own:tt)* }) => {
        $(#[$doc])*
        #[derive(serde::Deserialize, utoipa::ToSchema)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            $($own)*
            /// Name or alias of the model.
            #[schema(required = true, value_type = $crate::described::NameOfModel)]
            model: Option<String>,
            /// 0 (always the likeliest token) to 2.
            #[schema(minimum = 0, maximum = 2)]
            temperature: Option<f32>,
            /// Keep the likeliest tokens that together reach this probability: above 0, to 1 (off).
            #[schema(exclusive_minimum = 0, maximum = 1)]
            top_p: Option<f32>,
            /// Keep this many of the likeliest tokens; 0 and -1 are off. Not in OpenAI's API.
            #[schema(minimum = -1, maximum = 4_294_967_295.0)]
            top_k: Option<i64>,
            /// Keep tokens at least this likely, relative to the likeliest: 0 (off) to 1. Not in OpenAI's API.
            #[schema(minimum = 0, maximum = 1)]
            min_p: Option<f32>,
            /// -2 to 2: a malus for every token that occurred.
            #[schema(minimum = -2, maximum = 2)]
            presence_penalty: Option<f32>,
            /// -2 to 2: a malus for each time a token occurred.
            #[schema(minimum = -2, maximum = 2)]
            frequency_penalty: Option<f32>,
            /// Above 0, to 2; 1 is off. `repeat_penalty` is the same. Not in OpenAI's API.
            #[serde(alias = "repeat_penalty")]
            #[schema(exclusive_minimum = 0, maximum = 2)]
            repetition_penalty: Option<f32>,
            /// Makes sampling repeatable, as far as the engine can.
            seed: Option<i64>,
            /// Token ids, and what is added to their logits: -100 to 100.
            logit_bias: Option<$crate::openai::fields::LogitBias>,
            /// A string, or up to 16, at which the answer ends.
            stop: Option<$crate::openai::fields::Stop>,
            /// Most tokens of the answer, at least 1.
            #[schema(value_type = Option<u64>, minimum = 1, maximum = 4_294_967_295.0)]
            max_tokens: Option<$crate::openai::fields::Count>,
            /// Number of answers: only 1.
            #[schema(value_type = Option<u64>, minimum = 1, maximum = 1)]
            n: Option<$crate::openai::fields::Count>,
            /// Whether to send the answer as server-sent events.
            stream: Option<bool>,
            /// Only together with `stream`.
            #[schema(value_type = Option<$crate::openai::sampling::StreamOptions>)]
            stream_options: Option<$crate::json::Object<$crate::openai::sampling::StreamOptions>>,
            /// Accepted and not used: who asks is known from the key.
            #[allow(dead_code)]
            user: Option<String>,
        }

        impl $name {
            /// Takes out what both requests have.
            fn shared(&mut self) -> $crate::openai::sampling::Shared {
                $crate::openai::sampling::Shared {
                    model: self.model.take(),
                    temperature: self.temperature,
                    top_p: self.top_p,
                    top_k: self.top_k,
                    min_p: self.min_p,
                    presence_penalty: self.presence_penalty,
                    frequency_penalty: self.frequency_penalty,
                    repetition_penalty: self.repetition_penalty,
                    seed: self.seed,
                    logit_bias: self.logit_bias.take(),
                    stop: self.stop.take(),
                    max_tokens: self.max_tokens,
                    n: self.n,
                    stream: self.stream,
                    stream_options: self.stream_options.take(),
                }
            }
        }
    };
}
pub(super) use generation_request;

/// How a stream is sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamOptions {
    /// Whether the last chunk says what the request cost.
    include_usage: Option<bool>,
    /// Only false: nothing is padded.
    include_obfuscation: Option<bool>,
}

/// What both requests have, as it was sent.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) model: Option<String>,
    pub(super) temperature: Option<f32>,
    pub(super) top_p: Option<f32>,
    pub(super) top_k: Option<i64>,
    pub(super) min_p: Option<f32>,
    pub(super) presence_penalty: Option<f32>,
    pub(super) frequency_penalty: Option<f32>,
    pub(super) repetition_penalty: Option<f32>,
    pub(super) seed: Option<i64>,
    pub(super) logit_bias: Option<LogitBias>,
    pub(super) stop: Option<Stop>,
    pub(super) max_tokens: Option<Count>,
    pub(super) n: Option<Count>,
    pub(super) stream: Option<bool>,
    pub(super) stream_options: Option<Object<StreamOptions>>,
}

impl Shared {
    /// The checked request. `input` is what the protocol's own fields say.
    pub(super) fn ask(
        mut self,
        id: RequestId,
        headers: &HeaderMap,
        protocol: Protocol,
        input: Input,
        tokens_max: Option<Tokens>,
    ) -> Result<Asked, ApiError> {
        let delivery = self.delivery()?;
        if self.n.is_some_and(|n| n != Count(1)) {
            return Err(ApiError::parameter(
                "n",
                "only one answer per request is offered; leave `n` out or send 1",
            ));
        }
        let model = self.model.take().ok_or_else(|| missing("model"))?;
        let stop = StopStrings::new(self.stop.take().unwrap_or_default().0)?;
        let request = GenerateRequest {
            id,
            model: model.parse::<ModelName>()?,
            input,
            tokens_max,
            sampling: self.sampling()?,
            stop,
            declared: declared(headers)?,
        };
        Ok(Asked { request, protocol, delivery, keep: None })
    }

    /// Most tokens of the answer, as both protocols name it.
    pub(super) fn tokens_max(&self) -> Result<Option<Tokens>, ApiError> {
        self.max_tokens.map(|count| at_least_one("max_tokens", count)).transpose()
    }

    fn delivery(&self) -> Result<Delivery, ApiError> {
        let stream = self.stream.unwrap_or(false);
        let Some(Object(options)) = &self.stream_options else {
            return Ok(if stream { Delivery::Stream { include_usage: false } } else { Delivery::Whole });
        };
        if !stream {
            return Err(ApiError::parameter(
                "stream_options",
                "`stream_options` is only for streams; send `stream` as true or leave it out",
            ));
        }
        if options.include_obfuscation == Some(true) {
            return Err(ApiError::parameter(
                "stream_options.include_obfuscation",
                "streams are not padded by this server; leave `include_obfuscation` out",
            ));
        }
        Ok(Delivery::Stream { include_usage: options.include_usage.unwrap_or(false) })
    }

    fn sampling(self) -> Result<Sampling, ApiError> {
        let default = SamplingValues::default();
        let top_k = match self.top_k {
            None => default.top_k,
            Some(-1) => 0,
            Some(given) => u32::try_from(given)
                .map_err(|_| OutOfRange::new("top_k", given, format!("-1 to {}", u32::MAX)))?,
        };
        let values = SamplingValues {
            temperature: self.temperature.unwrap_or(default.temperature),
            top_p: self.top_p.unwrap_or(default.top_p),
            top_k,
            min_p: self.min_p.unwrap_or(default.min_p),
            presence_penalty: self.presence_penalty.unwrap_or(default.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(default.frequency_penalty),
            repetition_penalty: self.repetition_penalty.unwrap_or(default.repetition_penalty),
            seed: self.seed.map(folded),
            logit_bias: self.logit_bias.unwrap_or_default().0,
        };
        Ok(Sampling::try_from(values)?)
    }
}

/// OpenAI's seeds have 64 bits, the engine's 32. Seeds below 2^32 stay what they are.
fn folded(seed: i64) -> u32 {
    (seed ^ (seed >> 32)) as u32
}

/// The complaint about a parameter that must be there.
pub(super) fn missing(parameter: &'static str) -> ApiError {
    ApiError::parameter(parameter, format!("`{parameter}` is missing"))
}

/// A number of tokens to generate.
pub(super) fn at_least_one(parameter: &'static str, Count(count): Count) -> Result<Tokens, ApiError> {
    if count == 0 {
        return Err(OutOfRange::new(parameter, 0, format!("1 to {}", u32::MAX)).into());
    }
    Ok(Tokens(count))
}

/// What the headers say of a request.
pub(super) fn declared(headers: &HeaderMap) -> Result<Declared, ApiError> {
    Ok(Declared {
        class: named(headers, CLASS_HEADER)?,
        data_class: named(headers, DATA_CLASS_HEADER)?,
        purpose: named(headers, PURPOSE_HEADER)?,
    })
}

/// What a header names, if it is there.
fn named<T: std::str::FromStr<Err = OutOfRange>>(
    headers: &HeaderMap,
    header: &'static str,
) -> Result<Option<T>, ApiError> {
    let mut values = headers.get_all(header).iter();
    let Some(value) = values.next() else { return Ok(None) };
    // A header that is not ASCII, or that is there twice, becomes a name that does not exist.
    let value = value.to_str().ok().filter(|_| values.next().is_none());
    let found = value.unwrap_or_default().trim().parse();
    found.map(Some).map_err(|error| OutOfRange { parameter: header, ..error }.into())
}

#[cfg(test)]
mod tests {
    use types::{DataClass, PriorityClass};

    use super::*;

    #[test]
    fn headers_name_the_classes() {
        let headers = |class: &str| {
            HeaderMap::from_iter([
                (CLASS_HEADER.parse().unwrap(), class.parse().unwrap()),
                (DATA_CLASS_HEADER.parse().unwrap(), "restricted".parse().unwrap()),
            ])
        };
        let ask = |headers: &HeaderMap| {
            let shared = Shared { model: Some("m".to_owned()), ..Shared::default() };
            shared.ask(RequestId(1), headers, Protocol::Chat, Input::Tokens(vec![1]), None)
        };
        let request = ask(&headers("batch")).ok().unwrap().request;
        assert_eq!(request.declared.class, Some(PriorityClass::Batch));
        assert_eq!(request.declared.data_class, Some(DataClass::Restricted));
        let request = ask(&HeaderMap::new()).ok().unwrap().request;
        assert_eq!(request.declared, Declared::default());
        let error = ask(&headers("urgent")).err().unwrap();
        assert!(error.to_string().contains("`llmos-class` is an unknown name; allowed: batch, normal"));
    }

    #[test]
    fn seeds_below_two_to_the_32_stay() {
        for (seed, expected) in [(0, 0), (42, 42), (4_294_967_295, u32::MAX), (1 << 32, 1)] {
            assert_eq!(folded(seed), expected);
        }
        assert_ne!(folded(-2), folded(-3));
    }
}
