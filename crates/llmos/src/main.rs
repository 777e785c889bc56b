//! The roof: command line, configuration and wiring. **The only crate that knows all the others; it must never
//! decide anything**: it passes what the configuration says to those who decide.
//!
//! The three types to know: `config::Config` (effective values and where each comes from), `client::Client` (how
//! the commands talk to the server, over its local socket) and `exit::Failure` (what happened, what to do, and
//! the exit code).
#![forbid(unsafe_code)]

mod audit;
mod chat;
mod cli;
mod client;
mod config;
mod configured;
mod data_dir;
mod detect;
mod estimate;
mod exit;
mod kept;
mod keys;
mod log;
mod login;
mod models;
mod output;
mod plan;
mod policies;
mod progress;
mod ps;
mod remote;
mod residency;
mod secrets;
mod serve;
mod top;
mod trained;
mod usage;
mod users;
mod vault;

use std::{path::PathBuf, process::ExitCode};

use cli::{AuditCommand, Command, ConfigArgs, ConfigCommand, VaultCommand};
use client::Client;
use config::{Config, Surroundings};
use exit::{Exit, Failure, Trying};
use output::Output;
use remote::Remote;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

fn main() -> ExitCode {
    let cli = cli::parse();
    let output = Output::new(cli.json);
    let args = cli.config;
    let result = match cli.command {
        // The worker locks itself in first: here nothing has started a thread or opened a file yet.
        Command::EngineWorker { .. } => return engine_worker(),
        Command::Serve => load(&args).and_then(|config| serve::run(&config, output)),
        Command::Config(ConfigCommand::Show) => load(&args).and_then(|config| show(&config, output)),
        Command::Config(ConfigCommand::Check { file }) => check(args, file, output),
        Command::Detect(detect) => detect::run(&detect, || Ok(load(&args)?.data_dir), output),
        Command::Version => version(&args, output),
        Command::Chat(chat) => ask(&args, async |client| chat::run(&client, chat, output).await),
        Command::Estimate(wanted) => load(&args).and_then(|config| estimate::run(&config, &wanted, output)),
        Command::Ps => ask(&args, async |client| ps::list(&client, output).await),
        Command::Top { delay } => ask(&args, async |client| top::run(client, delay, output).await),
        Command::Load { model } => ask(&args, async |client| residency::load(&client, &model, output).await),
        Command::Unload { model } => {
            ask(&args, async |client| residency::unload(&client, &model, output).await)
        }
        Command::Kill { id } => ask(&args, async |client| ps::kill(&client, id, output).await),
        Command::Login => remote(&args, async |remote| login::login(remote, output).await),
        Command::Logout => remote(&args, async |remote| login::logout(remote, output).await),
        Command::Whoami => remote(&args, async |remote| login::whoami(remote, output).await),
        Command::Sessions(command) => {
            remote(&args, async |remote| login::sessions(remote, command, output).await)
        }
        Command::Plan(command) => plan::run(command, output),
        Command::Pull(pull) => load(&args).and_then(|config| models::pull(&config, pull, output)),
        Command::Models { verify } => load(&args).and_then(|config| models::list(&config, verify, output)),
        Command::Rm { name, .. } => load(&args).and_then(|config| models::remove(&config, name, output)),
        Command::Import(import) => load(&args).and_then(|config| models::import(&config, import, output)),
        Command::Audit(AuditCommand::Verify { checkpoints }) => {
            load(&args).and_then(|config| audit::verify(&config.data_dir, &checkpoints, output))
        }
        Command::Audit(command) => ask(&args, async |client| audit::run(&client, command, output).await),
        Command::Vault(VaultCommand::Secrets(command)) => {
            here(&args).and_then(|config| secrets::run(&config, command, output))
        }
        Command::Vault(VaultCommand::Keys(command)) => {
            ask(&args, async |client| vault::run(&client, command, output).await)
        }
        Command::Shred(shred) => ask(&args, async |client| vault::shred(&client, shred, output).await),
        Command::Export(export) => ask(&args, async |client| vault::export(&client, export, output).await),
        Command::Budgets => ask(&args, async |client| usage::budgets(&client, output).await),
        Command::Usage(usage) => ask(&args, async |client| usage::run(&client, usage, output).await),
        Command::Policies(command) => {
            ask(&args, async |client| policies::run(&client, command, output).await)
        }
        Command::Why(command) => ask(&args, async |client| policies::why(&client, command, output).await),
        Command::Users(command) => ask(&args, async |client| users::run(&client, command, output).await),
        Command::Keys(command) => ask(&args, async |client| keys::run(&client, command, output).await),
    };
    match result {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit.into()
        }
    }
}

#[cfg(feature = "llama")]
fn engine_worker() -> ExitCode {
    engine::llama::worker_main()
}

#[cfg(not(feature = "llama"))]
fn engine_worker() -> ExitCode {
    let what = "this llmos was built without the `llama` feature, so it runs `simulator:` models only";
    Output::new(false).failure(&Failure::new(Exit::Failed, what));
    Exit::Failed.into()
}

fn load(args: &ConfigArgs) -> Result<Config, Failure> {
    Config::load(args, &Surroundings::here()?).map_err(|problems| config::failure(&problems))
}

/// The configuration of a command that works on the data directory: another server's is out of reach.
fn here(args: &ConfigArgs) -> Result<Config, Failure> {
    match server(args) {
        None => load(args),
        Some(_) => Err(Failure::new(Exit::Usage, "secrets are sealed on the machine of the server").advise(
            "leave --server and LLMOS_SERVER out, and run this there as the user who runs the server",
        )),
    }
}

/// Runs a command that talks to the server.
fn ask(args: &ConfigArgs, command: impl AsyncFnOnce(Client) -> Result<(), Failure>) -> Result<(), Failure> {
    let config = load(args)?;
    let client = match server(args) {
        None => Client::new(&config.data_dir),
        Some(server) => Client::remote(Remote::new(&server, &config)?.signed_in()?),
    };
    runtime()?.block_on(command(client))
}

/// The server on another machine that is meant, if one is.
fn server(args: &ConfigArgs) -> Option<String> {
    args.server.clone().or_else(|| std::env::var(config::SERVER).ok())
}

/// Runs a command that is about a sign-in at another server.
fn remote(
    args: &ConfigArgs,
    command: impl AsyncFnOnce(Remote) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let server = server(args).ok_or_else(|| {
        Failure::new(Exit::Usage, "which server? name it with --server or LLMOS_SERVER")
            .advise("commands without it talk to the server of the data directory, and need no sign-in")
    })?;
    let remote = Remote::new(&server, &load(args)?)?;
    runtime()?.block_on(command(remote))
}

fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().trying("start")
}

fn show(config: &Config, output: Output) -> Result<(), Failure> {
    if output.json { output::document(&config.to_json()) } else { output.text(&config.to_toml()) }
}

fn check(mut args: ConfigArgs, file: Option<PathBuf>, output: Output) -> Result<(), Failure> {
    args.config = file.or(args.config);
    let (file, problems) = match Config::load(&args, &Surroundings::here()?) {
        Ok(config) => (config.file.clone(), config.problems_of_serving()),
        Err(problems) => (None, problems),
    };
    if output.json {
        let described: Vec<_> = problems.iter().map(config::Problem::to_json).collect();
        output::document(&json!({ "ok": problems.is_empty(), "problems": described }))?;
    }
    if !problems.is_empty() {
        return Err(config::failure(&problems));
    }
    if output.json {
        return Ok(());
    }
    let file = file.map_or("no file".to_owned(), |file| file.display().to_string());
    output.text(&format!("ok ({file})\n"))
}

/// Ours, and the server's if one answers: nothing about it can fail the command.
fn version(args: &ConfigArgs, output: Output) -> Result<(), Failure> {
    let ours = env!("CARGO_PKG_VERSION");
    let server =
        load(args).and_then(|config| runtime()?.block_on(Client::new(&config.data_dir).version())).ok();
    if output.json {
        return output::document(&json!({ "version": ours, "server": server }));
    }
    output.text(&format!("llmos {ours}\n"))?;
    match server {
        Some(server) => {
            output.text(&format!("server {} at {}, process {}\n", server.version, server.listen, server.pid))
        }
        None => Ok(()),
    }
}
