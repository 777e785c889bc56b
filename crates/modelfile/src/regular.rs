use std::{fs::File, io, path::Path};

/// Opens a regular file for reading, and says how long it is. Anything else is refused before it is opened: opening a
/// pipe waits for a writer, and a device has no length to check anything against.
pub(crate) fn open(path: &Path) -> io::Result<(File, u64)> {
    let refused = || io::Error::other("it is not a regular file");
    if !std::fs::metadata(path)?.is_file() {
        return Err(refused());
    }
    let file = File::open(path)?;
    // Looked at again: the name may mean something else by now.
    let facts = file.metadata()?;
    if facts.is_file() { Ok((file, facts.len())) } else { Err(refused()) }
}
