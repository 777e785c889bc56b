//! The tokens that stand at the beginning and the end of a text. llama.cpp aborts where it shall put one there and has
//! none.

use super::keys::{number, refuse};
use crate::{
    Gguf, ModelFileError,
    gguf::{Scalar, Value},
};

/// What a tokenizer does if the file does not say (`llama_vocab::impl::load` of llama.cpp b10200).
struct Habit {
    /// Its name in the file.
    model: &'static str,
    bos: End,
    eos: End,
    sep: End,
}

/// A token at one end of a text.
struct End {
    /// Its id, unless the file names another.
    id: Option<u32>,
    put: Put,
}

/// Whether it is put there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Put {
    Always,
    /// Unless the file says no.
    Usually,
    /// If the file says so.
    Asked,
    Never,
}

use Put::{Always, Asked, Never, Usually};

const fn end(id: Option<u32>, put: Put) -> End {
    End { id, put }
}

const HABITS: [Habit; 8] = [
    Habit { model: "llama", bos: end(Some(1), Usually), eos: end(Some(2), Asked), sep: end(None, Never) },
    Habit { model: "bert", bos: end(Some(101), Always), eos: end(None, Never), sep: end(Some(102), Always) },
    Habit { model: "t5", bos: end(None, Asked), eos: end(Some(1), Usually), sep: end(None, Never) },
    Habit { model: "gpt2", bos: end(Some(11), Asked), eos: end(Some(11), Asked), sep: end(None, Never) },
    Habit { model: "hybriddna", bos: end(Some(11), Asked), eos: end(Some(11), Asked), sep: end(None, Never) },
    Habit {
        model: "whitespace",
        bos: end(Some(11), Asked),
        eos: end(Some(11), Asked),
        sep: end(None, Never),
    },
    Habit { model: "gemma4", bos: end(None, Always), eos: end(None, Asked), sep: end(None, Never) },
    Habit { model: "plamo2", bos: end(Some(1), Asked), eos: end(Some(2), Asked), sep: end(None, Never) },
];

/// Refuses a file that asks for a token that it does not have.
pub(super) fn check(gguf: &Gguf, model: &str, tokens: u32) -> Result<(), ModelFileError> {
    let Some(habit) = HABITS.iter().find(|habit| habit.model == model) else { return Ok(()) };
    let ends = [
        (&habit.bos, "bos_token_id", "add_bos_token"),
        (&habit.eos, "eos_token_id", "add_eos_token"),
        (&habit.sep, "seperator_token_id", "add_sep_token"),
    ];
    for (end, id, add) in ends {
        let (id, add) = (format!("tokenizer.ggml.{id}"), format!("tokenizer.ggml.{add}"));
        let asked = truth(gguf, &add)?;
        let put = match end.put {
            Always => true,
            Usually => asked.unwrap_or(true),
            Asked => asked.unwrap_or(false),
            Never => false,
        };
        let named = gguf.value(&id).map(|value| number(&id, value, u32::MAX)).transpose()?;
        let known = |id: &u32| *id < tokens;
        if put && named.filter(known).or(end.id.filter(known)).is_none() {
            return Err(refuse(id, format!("names no token, and the tokenizer `{model}` puts one there")));
        }
    }
    Ok(())
}

fn truth(gguf: &Gguf, key: &str) -> Result<Option<bool>, ModelFileError> {
    match gguf.value(key) {
        None => Ok(None),
        Some(&Value::Scalar(Scalar::Bool(truth))) => Ok(Some(truth)),
        Some(other) => Err(refuse(key, format!("has type {}, and must have bool", other.kind()))),
    }
}
