//! `llmos-verify`: checks an audit log, or the receipt of one request, on any machine and without a network.
//!
//! **Does**: reads what it is given, checks it with `tlog`, and says what was shown, what is wrong and what nobody could
//! tell from this. **Must never** believe the server that it checks: it uses no other crate of llmos, opens no connection,
//! and trusts only the public keys and the checkpoints that it is given.
//!
//! ```text
//! Command (what was asked) ──▶ log | receipt | checkpoints ──▶ Verdict (text, valid or not) ──▶ exit status 0 or 1
//!                                        └─────────────────────▶ Trouble (one clear error)  ──▶ exit status 2
//! ```
//!
//! The types to know: [`command::Command`], [`verdict::Verdict`], [`verdict::Trouble`].
#![forbid(unsafe_code)]

mod checkpoints;
mod command;
mod folder;
mod input;
mod log;
mod receipt;
mod shown;
mod told;
mod verdict;

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use command::Command;
use verdict::{Trouble, Verdict};

fn main() -> ExitCode {
    match run() {
        Ok(verdict) => {
            // Who closed the output does not want the text; the status says it all the same.
            let _ = io::stdout().write_all(verdict.text().as_bytes());
            ExitCode::from(u8::from(!verdict.is_valid()))
        }
        Err(trouble) => {
            let _ = writeln!(io::stderr(), "llmos-verify: {trouble}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<Verdict, Trouble> {
    match Command::parse(env::args_os().skip(1))? {
        Command::Help => Ok(Verdict::plain(command::HELP)),
        Command::Version => Ok(Verdict::plain(concat!("llmos-verify ", env!("CARGO_PKG_VERSION"), "\n"))),
        Command::Log { folder, key, checkpoints, witnesses } => {
            log::verify(&folder, &key, &checkpoints, &witnesses)
        }
        Command::Receipt { file, key, checkpoints, texts } => {
            receipt::verify(&file, &key, &checkpoints, &texts)
        }
        Command::Checkpoints { files, key, log } => checkpoints::verify(&files, &key, log.as_deref()),
    }
}
