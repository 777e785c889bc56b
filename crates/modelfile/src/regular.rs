use std::{
    fs::{self, File},
    io,
    path::Path,
};

/// Opens a file that somebody named, to read it. A pipe would make whoever opens it wait for a writer that may never
/// come, and a device may have no end: they are refused unopened.
///
/// # Errors
/// What the system says, or that it is not a regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let refuse_others = |facts: fs::Metadata| {
        let refuse = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
        facts.is_file().then_some(()).ok_or_else(refuse)
    };
    refuse_others(fs::metadata(path)?)?;
    let file = File::open(path)?;
    // Another may have taken its place.
    refuse_others(file.metadata()?)?;
    Ok(file)
}
