use std::{io, panic};

use tracing_subscriber::{
    Layer, filter::LevelFilter, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::{
    config::{Log, LogFormat},
    output,
};

/// Crates whose lines are written at the level that was asked for. They never log content; libraries, of which
/// we cannot know that, are held to warnings.
const OURS: [&str; 8] = ["access", "audit", "engine", "gateway", "llmos", "path", "resources", "store"];

/// Starts logging on stderr. Once per process.
pub(crate) fn start(log: Log) {
    let libraries = log.level.min(LevelFilter::WARN);
    let targets = Targets::new().with_default(libraries).with_targets(OURS.map(|target| (target, log.level)));
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => lines.with_ansi(output::colour_on_stderr()).with_target(false).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(targets)).init();
    panic::set_hook(Box::new(|panic| {
        // The place only: the message of a panic may quote the text that it tripped over.
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a defect in llmos stopped a task; please report this place in the code");
    }));
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn every_crate_of_ours_that_writes_lines_is_heard() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let writes = |folder: &Path| {
            let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
            manifest.lines().any(|line| line.starts_with("tracing."))
        };
        let folders = fs::read_dir(crates).unwrap().map(|entry| entry.unwrap().path());
        let mut found: Vec<String> = folders
            .filter(|folder| writes(folder))
            .map(|folder| folder.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        found.sort();
        assert_eq!(found, OURS);
    }
}
