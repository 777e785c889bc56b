//! What was asked on the command line.

use std::{ffi::OsString, path::PathBuf};

use crate::{shown::quoted, told, verdict::Trouble};

#[cfg(test)]
mod tests;

/// Most values of one option, and most files.
const VALUES_MAX: usize = 1000;

/// All the help that there is.
pub(crate) const HELP: &str = "\
llmos-verify: checks audit logs and receipts offline

usage:
  llmos-verify log DIR --key KEY [--checkpoint FILE]... [--witness KEY]...
      Checks a whole log: every entry, every tile and the signed root. DIR is a copy of the
      log's folder (tlog-tiles: the file `checkpoint` and the folder `tile`).

  llmos-verify receipt FILE --key KEY [--checkpoint FILE]... [--request FILE] [--answer FILE]
      Checks the receipt of one request and shows its records. FILE is `-` for standard input.
      With --request and --answer, also whether the question and the answer were these.

  llmos-verify checkpoints FILE... --key KEY [--log DIR]
      Compares signed checkpoints with one another, and with the log if it is given.

options:
  --key KEY          the log's public key, `name+id+key`, or a file that holds it. Get it from
                     somebody you trust, not from the server that you check
  --checkpoint FILE  a checkpoint of this log that was kept elsewhere; may be repeated. Without
                     one, nobody can see that a log was put back to an older state, or rewritten
                     and signed anew by whoever has its key
  --witness KEY      the public key of a witness that must have cosigned the log's checkpoint,
                     or a file that holds it; may be repeated
  --request FILE     the body of the request, as it was sent (JSON)
  --answer FILE      the answer, as it came (JSON, or the events of a stream), or only its text
  --log DIR          a copy of the log's folder
  -h, --help         this text
  -V, --version      the version

exit status:
  0  valid
  1  not valid: the output says what is wrong, and where
  2  could not be checked: wrong usage, or a file that cannot be read
";

/// A command with all its values.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Version,
    Log { folder: PathBuf, key: String, checkpoints: Vec<PathBuf>, witnesses: Vec<String> },
    Receipt { file: PathBuf, key: String, checkpoints: Vec<PathBuf>, texts: told::Files },
    Checkpoints { files: Vec<PathBuf>, key: String, log: Option<PathBuf> },
}

/// What stands on the line, sorted.
#[derive(Default)]
struct Line {
    files: Vec<PathBuf>,
    keys: Vec<String>,
    checkpoints: Vec<PathBuf>,
    witnesses: Vec<String>,
    logs: Vec<PathBuf>,
    requests: Vec<PathBuf>,
    answers: Vec<PathBuf>,
}

impl Command {
    /// Of all arguments but the program's name.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Trouble> {
        let mut arguments = arguments.into_iter();
        let Some(name) = arguments.next() else { return Err(usage("no command is given")) };
        let rest: Vec<OsString> = arguments.collect();
        let asks = |short, long| move |word: &OsString| word == short || word == long;
        let words = || std::iter::once(&name).chain(rest.iter().take_while(|word| *word != "--"));
        if name == "help" || words().any(asks("-h", "--help")) {
            return Ok(Self::Help);
        }
        if words().any(asks("-V", "--version")) {
            return Ok(Self::Version);
        }
        match name.to_str() {
            Some("log") => {
                let mut line = Line::parse(rest, &["--key", "--checkpoint", "--witness"])?;
                let folder = line.one_file("log", "folder of a log")?;
                let key = line.key()?;
                Ok(Self::Log { folder, key, checkpoints: line.checkpoints, witnesses: line.witnesses })
            }
            Some("receipt") => {
                let mut line = Line::parse(rest, &["--key", "--checkpoint", "--request", "--answer"])?;
                let file = line.one_file("receipt", "receipt")?;
                let request = at_most_one("--request", &mut line.requests)?;
                let answer = at_most_one("--answer", &mut line.answers)?;
                let texts = told::Files { request, answer };
                Ok(Self::Receipt { file, key: line.key()?, checkpoints: line.checkpoints, texts })
            }
            Some("checkpoints") => {
                let mut line = Line::parse(rest, &["--key", "--log"])?;
                let log = at_most_one("--log", &mut line.logs)?;
                if line.files.len() + usize::from(log.is_some()) < 2 || line.files.is_empty() {
                    return Err(usage("`checkpoints` takes two files or more, or one and --log"));
                }
                Ok(Self::Checkpoints { key: line.key()?, files: line.files, log })
            }
            _ => Err(usage(&format!("there is no command {}", quoted(&name.to_string_lossy())))),
        }
    }
}

impl Line {
    fn parse(arguments: Vec<OsString>, allowed: &[&str]) -> Result<Self, Trouble> {
        let mut line = Self::default();
        let mut arguments = arguments.into_iter();
        let mut only_files = false;
        while let Some(argument) = arguments.next() {
            let text = argument.to_str().unwrap_or_default();
            if only_files || !text.starts_with('-') || text == "-" {
                line.files.push(argument.into());
                bounded(&line.files, "files are")?;
                continue;
            }
            if text == "--" {
                only_files = true;
                continue;
            }
            let (option, value) = match text.split_once('=') {
                Some((option, value)) => (option, Some(OsString::from(value))),
                None => (text, None),
            };
            if !allowed.contains(&option) {
                return Err(usage(&format!("this command has no option {}", quoted(option))));
            }
            let value = value.or_else(|| arguments.next());
            let value = value.ok_or_else(|| usage(&format!("{option} needs a value")))?;
            line.take(option, value)?;
        }
        Ok(line)
    }

    fn take(&mut self, option: &str, value: OsString) -> Result<(), Trouble> {
        let text = |value: OsString| {
            value.into_string().map_err(|_| usage(&format!("the value of {option} is not UTF-8")))
        };
        match option {
            "--key" => self.keys.push(text(value)?),
            "--witness" => self.witnesses.push(text(value)?),
            "--checkpoint" => self.checkpoints.push(value.into()),
            "--request" => self.requests.push(value.into()),
            "--answer" => self.answers.push(value.into()),
            _ => self.logs.push(value.into()),
        }
        bounded(&self.witnesses, "--witness is")?;
        bounded(&self.checkpoints, "--checkpoint is")
    }

    fn one_file(&mut self, command: &str, what: &str) -> Result<PathBuf, Trouble> {
        match (self.files.pop(), self.files.len()) {
            (Some(file), 0) => Ok(file),
            (None, _) => Err(usage(&format!("`{command}` needs a {what}"))),
            (Some(_), others) => Err(usage(&format!("`{command}` takes one {what}, not {}", others + 1))),
        }
    }

    fn key(&mut self) -> Result<String, Trouble> {
        match (self.keys.pop(), self.keys.len()) {
            (Some(key), 0) => Ok(key),
            (None, _) => Err(usage("--key is missing: nothing can be checked without the log's public key")),
            (Some(_), _) => Err(usage("--key is given more than once")),
        }
    }
}

fn at_most_one(option: &str, values: &mut Vec<PathBuf>) -> Result<Option<PathBuf>, Trouble> {
    if values.len() > 1 {
        return Err(usage(&format!("{option} is given more than once")));
    }
    Ok(values.pop())
}

fn bounded<T>(values: &[T], what: &str) -> Result<(), Trouble> {
    if values.len() > VALUES_MAX {
        return Err(usage(&format!("{what} given more than {VALUES_MAX} times")));
    }
    Ok(())
}

fn usage(why: &str) -> Trouble {
    Trouble::Usage(why.to_owned())
}
