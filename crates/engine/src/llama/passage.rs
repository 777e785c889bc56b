//! The tokens that a model was trained to compute a vector of.

use llama_cpp_2::{model::LlamaModel, token::LlamaToken, vocab::LlamaVocab};

/// llama.cpp's "there is no such token".
const ABSENT: LlamaToken = LlamaToken(-1);
/// Where a model's own template for ranking has the texts.
const QUERY: &str = "{query}";
const DOCUMENT: &str = "{document}";

/// A text between the special tokens that the model puts around one.
pub(super) fn embedded(model: &LlamaModel, text: &str) -> Vec<LlamaToken> {
    let mut tokens = Vec::with_capacity(text.len() + 2);
    model.vocab().tokenize_into(text.as_bytes(), &mut tokens, true, false);
    tokens
}

/// A query and a document: in the model's own template for ranking if it has one, else with the special tokens
/// between them that its tokenizer asks for, as llama-server does it. What a person wrote is never read as special.
pub(super) fn ranked(model: &LlamaModel, query: &str, document: &str) -> Vec<LlamaToken> {
    let vocabulary = model.vocab();
    let mut tokens = Vec::with_capacity(query.len() + document.len() + 4);
    if let Ok(template) = model.meta_val_str("tokenizer.chat_template.rerank") {
        for piece in pieces(&template) {
            let (text, special) = match piece {
                Piece::Template(text) => (text, true),
                Piece::Query => (query, false),
                Piece::Document => (document, false),
            };
            vocabulary.tokenize_into(text.as_bytes(), &mut tokens, false, special);
        }
        return tokens;
    }
    let Marks { begin, between, end } = Marks::of(&vocabulary);
    tokens.extend(begin);
    vocabulary.tokenize_into(query.as_bytes(), &mut tokens, false, false);
    tokens.extend(between);
    vocabulary.tokenize_into(document.as_bytes(), &mut tokens, false, false);
    tokens.extend(end);
    tokens
}

/// The special tokens around a query and a document.
#[derive(Debug, PartialEq, Eq)]
struct Marks {
    begin: Vec<LlamaToken>,
    between: Vec<LlamaToken>,
    end: Vec<LlamaToken>,
}

impl Marks {
    fn of(vocabulary: &LlamaVocab<'_>) -> Self {
        let given = |token: LlamaToken, wanted: bool| (wanted && token != ABSENT).then_some(token);
        Self::new(
            given(vocabulary.bos(), vocabulary.should_add_bos()),
            given(vocabulary.eos(), vocabulary.should_add_eos()),
            given(vocabulary.sep(), vocabulary.should_add_sep()),
        )
    }

    /// From the tokens that the tokenizer asks for. BERT's `[CLS] query [SEP] document [SEP]` has no token for an
    /// end, so the separator stands for it; `RoBERTa` has a token for each, and two between query and document.
    fn new(bos: Option<LlamaToken>, eos: Option<LlamaToken>, sep: Option<LlamaToken>) -> Self {
        let between = eos.into_iter().chain(sep).collect();
        Self { begin: bos.into_iter().collect(), between, end: eos.or(sep).into_iter().collect() }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Template(&'a str),
    Query,
    Document,
}

/// A template for ranking, cut where the texts go.
fn pieces(template: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = template;
    loop {
        let places = [(QUERY, Piece::Query), (DOCUMENT, Piece::Document)];
        let found = places.into_iter().filter_map(|(name, piece)| Some((rest.find(name)?, name, piece)));
        let Some((at, name, piece)) = found.min_by_key(|(at, ..)| *at) else {
            pieces.push(Piece::Template(rest));
            return pieces;
        };
        pieces.extend([Piece::Template(&rest[..at]), piece]);
        rest = &rest[at + name.len()..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_cut_at_their_places() {
        use Piece::{Document, Query, Template};
        let cases: &[(&str, &[Piece<'_>])] = &[
            ("", &[Template("")]),
            ("none", &[Template("none")]),
            ("<q>{query}</q>{document}", &[Template("<q>"), Query, Template("</q>"), Document, Template("")]),
            ("{document}{query}", &[Template(""), Document, Template(""), Query, Template("")]),
            ("{{query}}", &[Template("{"), Query, Template("}")]),
        ];
        for (template, want) in cases {
            assert_eq!(pieces(template), *want, "{template}");
        }
    }

    #[test]
    fn a_pair_is_marked_as_the_model_was_trained() {
        let token = |id: i32| (id >= 0).then_some(LlamaToken(id));
        // bos, eos, sep (-1: not asked for); before, between and after the texts
        for (bos, eos, sep, begin, between, end) in [
            (101, -1, 102, &[101][..], &[102][..], &[102][..]),
            (0, 2, 2, &[0], &[2, 2], &[2]),
            (1, 2, -1, &[1], &[2], &[2]),
            (-1, -1, -1, &[], &[], &[]),
        ] {
            let ids = |ids: &[i32]| ids.iter().map(|&id| LlamaToken(id)).collect::<Vec<_>>();
            let want = Marks { begin: ids(begin), between: ids(between), end: ids(end) };
            assert_eq!(Marks::new(token(bos), token(eos), token(sep)), want);
        }
    }
}
