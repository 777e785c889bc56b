//! What kernel and worker say to each other: frames of a length (4 bytes, little endian) and a `postcard` value.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::parent::WorkerOrder;
use crate::ModelCard;

/// Longest frame in bytes: a prompt of a million tokens, or the card of a vocabulary of a million, fits.
pub(super) const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

/// To the worker, on its standard input.
#[derive(Serialize, Deserialize)]
pub(super) enum Order {
    /// The first: load the model. Answered by any number of `Loading`, then `Loaded` or `Failed`.
    Load(WorkerOrder),
    /// Not answered. Without `sampling` a vector is wanted.
    Add { sequence: u64, prompt: Vec<u32>, sampling: Option<WireSampling> },
    /// Answered by `Stepped` or `Failed`.
    Step(WirePlan),
}

/// From the worker, on its standard input.
#[derive(Serialize, Deserialize)]
pub(super) enum Report {
    /// The share of the load that is done, 0 to 1.
    Loading(f32),
    Loaded(ModelCard),
    Stepped(WireOutcome),
    Failed(String),
}

/// To the worker, on its standard output.
#[derive(Serialize, Deserialize)]
pub(super) enum Text {
    Chat(Vec<(String, String)>),
    Plain(String),
    /// To be embedded.
    Passage(String),
    /// A query and a document, to be ranked.
    Pair(String, String),
}

/// From the worker, on its standard output: token ids, or why there are none.
pub(super) type Encoded = Result<Vec<u32>, String>;

#[derive(Serialize, Deserialize)]
pub(super) struct WirePlan {
    pub release: Vec<u64>,
    /// To be read again from the start.
    pub recompute: Vec<u64>,
    pub run: Vec<(u64, u32)>,
}

#[derive(Default, Serialize, Deserialize)]
pub(super) struct WireOutcome {
    pub took_ns: u64,
    pub produced: Vec<(u64, u32)>,
    pub finished: Vec<u64>,
    pub vectors: Vec<(u64, Vec<f32>)>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct WireSampling {
    pub temperature: f32,
    pub top_p: f32,
    pub top_k: u32,
    pub min_p: f32,
    pub presence_penalty: f32,
    pub frequency_penalty: f32,
    pub repetition_penalty: f32,
    pub seed: u32,
    pub logit_bias: Vec<(u32, f32)>,
}

/// Appends `value` to `bytes` as one frame.
pub(super) fn frame(value: &impl Serialize, bytes: &mut Vec<u8>) -> io::Result<()> {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    let taken = std::mem::take(bytes);
    *bytes = postcard::to_extend(value, taken).map_err(io::Error::other)?;
    let length = bytes.len() - start - 4;
    if length > FRAME_BYTES_MAX {
        return Err(too_long(length));
    }
    bytes[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(())
}

pub(super) fn write(to: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut bytes = Vec::new();
    frame(value, &mut bytes)?;
    to.write_all(&bytes)
}

pub(super) fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let mut bytes = vec![0; checked(length)?];
    from.read_exact(&mut bytes)?;
    postcard::from_bytes(&bytes).map_err(io::Error::other)
}

pub(super) async fn receive<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await?;
    let mut bytes = vec![0; checked(length)?];
    from.read_exact(&mut bytes).await?;
    postcard::from_bytes(&bytes).map_err(io::Error::other)
}

fn checked(length: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(length) as usize;
    if length > FRAME_BYTES_MAX { Err(too_long(length)) } else { Ok(length) }
}

fn too_long(length: usize) -> io::Error {
    io::Error::other(format!("a frame of {length} bytes, the most is {FRAME_BYTES_MAX}"))
}
