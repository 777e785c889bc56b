//! The reader on the real packaged model.
//!
//! `LLMOS_TEST_MODEL` names the model file; `make test` sets it. Without it this test says so and passes.
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::Path;

use modelfile::{Gguf, Purpose};

#[test]
fn the_packaged_model_has_its_shape() {
    let Some(path) = std::env::var_os("LLMOS_TEST_MODEL") else {
        eprintln!("skipped: LLMOS_TEST_MODEL does not name the packaged model; run `make test`");
        return;
    };
    let file = Gguf::open(Path::new(&path)).unwrap();
    let shape = file.shape().unwrap();
    assert_eq!((shape.architecture.as_str(), shape.purpose), ("llama", Purpose::Generate));
    assert_eq!((shape.layers, shape.embedding, shape.vocabulary), (30, 576, 49152));
    assert_eq!((shape.parameters, shape.kv_per_token(0)), (134_515_008, (192, 192)));
    assert_eq!(shape.quantisation.as_deref(), Some("Q4_1"));
    let parts =
        shape.weights.layers.iter().sum::<u64>() + shape.weights.token_embedding + shape.weights.other;
    assert_eq!((parts, shape.weights.output), (shape.weights.total, 0));
    assert!(shape.weights.total + file.data_offset <= file.length);
}
