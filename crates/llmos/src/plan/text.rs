//! Files that problems are read from.

use std::{
    io::{BufReader, Read},
    path::Path,
};

use flate2::read::MultiGzDecoder;
use planner::ReadError;

use crate::exit::{Exit, Failure, Trying};

/// Longest file, as text. A million arcs have about 30 MB.
const TEXT_BYTES_MAX: u64 = 1 << 30;
/// How a file of gzip begins (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A file as text, unpacked if it is packed by gzip.
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    let trying = || format!("read {}", path.display());
    let mut file = BufReader::new(modelfile::open_regular(path).trying(trying())?);
    let mut begins = Vec::with_capacity(GZIP.len());
    file.by_ref().take(GZIP.len() as u64).read_to_end(&mut begins).trying(trying())?;
    let is_packed = begins == GZIP;
    let whole = begins.as_slice().chain(file);
    let mut text = String::new();
    let read = if is_packed {
        MultiGzDecoder::new(whole).take(TEXT_BYTES_MAX + 1).read_to_string(&mut text)
    } else {
        whole.take(TEXT_BYTES_MAX + 1).read_to_string(&mut text)
    };
    read.trying(trying())?;
    if text.len() as u64 > TEXT_BYTES_MAX {
        let what = format!("{} has more than {TEXT_BYTES_MAX} bytes", path.display());
        return Err(Failure::new(Exit::Failed, what));
    }
    Ok(text)
}

/// What is wrong with a file, and where.
pub(super) fn refused(path: &Path, error: &ReadError) -> Failure {
    Failure::new(Exit::Failed, format!("{}, {error}", path.display()))
}
