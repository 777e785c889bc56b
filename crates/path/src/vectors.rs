//! Arithmetic on vectors: shortening them, and finding the nearest. Pure.

use types::Vector;

/// Where the scores of a ranking come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The model read query and document together, and these are its own scores: higher is more relevant, and
    /// their range is the model's.
    Rank,
    /// The model only embeds: the cosine between query and document, -1 to 1.
    Cosine,
}

impl Method {
    /// The name used in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rank => "rank",
            Self::Cosine => "cosine",
        }
    }
}

/// How relevant one document is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Relevance {
    /// Its place among the documents that were sent, from 0.
    pub index: usize,
    /// Its score, by the method of the ranking.
    pub score: f32,
}

/// The first `dimensions` numbers, scaled to length 1 again. Meant for models that put what matters most first
/// (Kusupati et al., Matryoshka Representation Learning, 2022).
pub(crate) fn shortened(whole: &Vector, dimensions: u32) -> Vector {
    let kept = &whole.expose()[..whole.expose().len().min(dimensions as usize)];
    let length = product(kept, kept).sqrt();
    let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
    Vector::from(kept.iter().map(|number| number * scale).collect::<Vec<f32>>())
}

/// The most relevant documents, at most `most` of them; of equals the first comes first. By rank, there is one score
/// for each document; by cosine, an embedding of length 1 for each document and then the query's.
pub(crate) fn best_first(method: Method, vectors: &[Vector], most: usize) -> Vec<Relevance> {
    let scores: Vec<f32> = match (method, vectors.split_last()) {
        (Method::Rank, _) => vectors.iter().filter_map(|score| score.expose().first().copied()).collect(),
        (Method::Cosine, None) => Vec::new(),
        (Method::Cosine, Some((query, documents))) => {
            // Of vectors that point the same way the product may exceed 1 by rounding.
            let cosine = |document: &Vector| product(document.expose(), query.expose()).clamp(-1.0, 1.0);
            documents.iter().map(cosine).collect()
        }
    };
    let mut best: Vec<_> =
        scores.into_iter().enumerate().map(|(index, score)| Relevance { index, score }).collect();
    best.sort_by(|a, b| b.score.total_cmp(&a.score));
    best.truncate(most);
    best
}

fn product(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors(numbers: &[&[f32]]) -> Vec<Vector> {
        numbers.iter().map(|numbers| Vector::from(numbers.to_vec())).collect()
    }

    #[test]
    fn a_shortened_vector_has_length_one_again() {
        for (whole, dimensions, want) in [
            (&[0.6, 0.8][..], 2, &[0.6, 0.8][..]),
            (&[0.6, 0.8], 1, &[1.0]),
            (&[0.48, 0.64, 0.6], 2, &[0.6, 0.8]),
            (&[0.0, 1.0], 1, &[0.0]),
        ] {
            let short = shortened(&Vector::from(whole.to_vec()), dimensions);
            let near = short.expose().iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6);
            assert!(near && short.expose().len() == want.len(), "{:?}", short.expose());
        }
    }

    #[test]
    fn the_most_relevant_come_first_and_equals_stay_in_order() {
        let ranked = |method, numbers: &[&[f32]], most| {
            let best = best_first(method, &vectors(numbers), most);
            best.into_iter().map(|one| (one.index, one.score)).collect::<Vec<_>>()
        };
        let scores: &[&[f32]] = &[&[-1.0], &[3.0], &[0.5], &[3.0]];
        assert_eq!(ranked(Method::Rank, scores, 9), [(1, 3.0), (3, 3.0), (2, 0.5), (0, -1.0)]);
        assert_eq!(ranked(Method::Rank, scores, 1), [(1, 3.0)]);
        let query_last: &[&[f32]] = &[&[0.0, 1.0], &[0.6, 0.8], &[1.0, 0.0]];
        assert_eq!(ranked(Method::Cosine, query_last, 9), [(1, 0.6), (0, 0.0)]);
        let rounded: &[&[f32]] = &[&[0.6, 0.800_000_1], &[0.6, 0.800_000_1]];
        assert_eq!(ranked(Method::Cosine, rounded, 9), [(0, 1.0)]);
        assert_eq!(ranked(Method::Cosine, &[], 9), []);
    }
}
