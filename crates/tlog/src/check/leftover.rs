//! Files that are no part of the log at its size: what it left behind, or what came after its checkpoint.

use std::io;

use super::{CHECKPOINT_PATH, CheckError, Files, Problem, Report, Stop, read, tell};
use crate::{
    bundle::{self, BUNDLE_BYTES_MAX},
    tile::{TILE_BYTES_MAX, Tile, TileKind, parse_hashes},
    tree::HASH_BYTES,
};

pub(super) fn look<F: Files>(files: &F, size: u64, report: &mut Report) -> Result<(), Stop> {
    let mut stop = None;
    let walked = files.walk(&mut |path| {
        visit(files, size, path, report).map_err(|reason| {
            stop = Some(reason);
            io::Error::other("the check ends here")
        })
    });
    match (stop, walked) {
        (Some(reason), _) => Err(reason),
        (None, Err(error)) => Err(CheckError::Walk(error).into()),
        (None, Ok(())) => Ok(()),
    }
}

fn visit<F: Files>(files: &F, size: u64, path: &str, report: &mut Report) -> Result<(), Stop> {
    let Ok(tile) = path.parse::<Tile>() else {
        report.unrelated += u64::from(path != CHECKPOINT_PATH);
        return Ok(());
    };
    let Some(current) = Tile::of_tree(tile.kind(), tile.index(), size) else {
        report.beyond += 1;
        return Ok(());
    };
    if tile == current {
        return Ok(());
    }
    if tile.width() > current.width() {
        report.beyond += 1;
    } else {
        report.leftover += 1;
    }
    let limit = if tile.kind() == TileKind::Entries { BUNDLE_BYTES_MAX } else { TILE_BYTES_MAX };
    // What is gone meanwhile, or stands in for the part that is missing, was judged with the tree.
    let (Some(found), Some(part)) = (read(files, path, limit)?, read(files, &current.to_string(), limit)?)
    else {
        return Ok(());
    };
    // A part that cannot be read was told already, and nothing can be compared with it.
    match (start(&tile, &found, current.width()), start(&current, &part, tile.width())) {
        (_, None) => Ok(()),
        (Some(found), Some(part)) if found == part => Ok(()),
        _ => tell(report, Problem::Leftover(tile)),
    }
}

/// The bytes of up to `width` first hashes or entries, if the file is well-formed.
fn start<'a>(tile: &Tile, bytes: &'a [u8], width: usize) -> Option<&'a [u8]> {
    let width = width.min(tile.width());
    let length = match tile.kind() {
        TileKind::Hashes(_) => {
            parse_hashes(tile, bytes).ok()?;
            width * HASH_BYTES
        }
        TileKind::Entries => {
            let entries = bundle::parse(bytes, tile.width()).ok()?;
            entries.iter().take(width).map(|entry| 2 + entry.len()).sum()
        }
    };
    bytes.get(..length)
}
