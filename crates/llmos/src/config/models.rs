//! Checks what is set about models.

use std::{collections::BTreeMap, time::Duration};

use engine::Purpose;
use resources::{GpuLayers, LoadWhen, ModelSpec, Source, Stay, model_store::Digest};
use types::{ModelName, Tokens};

use super::{
    check::{Check, MEMORY_MB_MAX},
    file::Model,
};

/// Models of one server.
const MODELS_MAX: usize = 64;
/// Other names of one model.
const ALIASES_MAX: usize = 16;
/// Tokens of KV memory of one model.
const CONTEXT_MAX: i64 = 1 << 24;
/// Threads of one model.
const THREADS_MAX: i64 = 1_024;
/// Sequences of one model at once: llama.cpp's `LLAMA_MAX_SEQ`.
const PARALLEL_MAX: i64 = 256;
/// Layers of one model.
const GPU_LAYERS_MAX: i64 = 1_000;
/// Longest that a model stays unused: a year.
const KEEP_ALIVE_S_MAX: i64 = 31_536_000;
/// The source that needs no file.
const SIMULATOR: &str = "simulator:";
/// The same, without waiting: to measure and to test what is around a model.
const INSTANT: &str = "simulator:instant";
/// Whether they may be configured: in what is shipped they are not there.
const IS_SIMULATED: bool = cfg!(feature = "simulated");
/// How an error offers them.
const OR_SIMULATED: &str = if IS_SIMULATED { ", or \"simulator:\"" } else { "" };
/// What stands before the name of a model of the store.
pub(crate) const STORE: &str = "store:";
/// Hexadecimal digits of a SHA-256.
const SHA256_DIGITS: usize = 64;

/// When a model is loaded.
const LOADS: [(&str, LoadWhen); 2] = [("start", LoadWhen::Start), ("demand", LoadWhen::Demand)];

impl Check<'_> {
    pub(super) fn models(&mut self, models: &[Model]) -> Vec<ModelSpec> {
        if models.len() > MODELS_MAX {
            self.refuse(
                "model",
                format!("there are {} models; at most {MODELS_MAX} are allowed", models.len()),
            );
            return Vec::new();
        }
        let specs = models.iter().enumerate();
        let specs: Vec<ModelSpec> =
            specs.filter_map(|(index, model)| self.model(&format!("model[{index}]"), model)).collect();
        self.names_are_unique(models);
        specs
    }

    fn model(&mut self, section: &str, model: &Model) -> Option<ModelSpec> {
        let key = |name: &str| format!("{section}.{name}");
        let name = self.model_name(&key("name"), "name", &model.name);
        if model.aliases.len() > ALIASES_MAX {
            let message = format!("a model has at most {ALIASES_MAX} aliases, not {}", model.aliases.len());
            self.refuse(&key("aliases"), message);
        }
        let aliases = model.aliases.iter().take(ALIASES_MAX);
        let aliases: Vec<ModelName> =
            aliases.filter_map(|alias| self.model_name(&key("aliases"), "aliases", alias)).collect();
        let sha256 = self.sha256(&key("sha256"), model.sha256.as_deref());
        let source = self.source(&key("source"), &model.source, sha256);
        let context = self.number(&key("context"), model.context, 1, CONTEXT_MAX);
        let parallel = self.number(&key("parallel"), model.parallel, 1, PARALLEL_MAX);
        let threads = model.threads.map(|count| self.number(&key("threads"), count, 1, THREADS_MAX));
        let memory = model.memory_mb.map(|mb| self.number(&key("memory_mb"), mb, 1, MEMORY_MB_MAX));
        let gpu_layers = self.gpu_layers(&key("gpu_layers"), &model.gpu_layers);
        let load = self.one_of(&key("load"), &model.load, &LOADS);
        let keep_alive = self.keep_alive(&key("keep_alive_s"), model);
        Some(ModelSpec {
            name: name?,
            aliases,
            source: source?,
            context: Tokens(context?.unsigned_abs() as u32),
            parallel: parallel?.unsigned_abs() as u32,
            threads: threads.flatten().map(|count| count.unsigned_abs() as usize),
            memory_max: memory.flatten().map(|mb| mb.unsigned_abs() << 20),
            gpu_layers: gpu_layers?,
            stay: Stay { load: load?, keep_alive, pinned: model.pinned },
        })
    }

    fn gpu_layers(&mut self, key: &str, text: &str) -> Option<GpuLayers> {
        if text == "auto" {
            return Some(GpuLayers::Auto);
        }
        let Ok(count) = text.parse() else {
            self.refuse(
                key,
                format!("`gpu_layers` is `{text}`; allowed: \"auto\", or 0 to {GPU_LAYERS_MAX}"),
            );
            return None;
        };
        Some(GpuLayers::Count(self.number(key, count, 0, GPU_LAYERS_MAX)?.unsigned_abs() as u32))
    }

    /// A pinned model never goes, so a time after which it does would silently do nothing.
    fn keep_alive(&mut self, key: &str, model: &Model) -> Option<Duration> {
        let seconds = self.number(key, model.keep_alive_s?, 1, KEEP_ALIVE_S_MAX)?;
        if model.pinned {
            let message = "this model is `pinned`, so it never goes; remove `keep_alive_s` or `pinned`";
            self.refuse(key, message.to_owned());
        }
        Some(Duration::from_secs(seconds.unsigned_abs()))
    }

    fn model_name(&mut self, key: &str, setting: &str, text: &str) -> Option<ModelName> {
        let parsed = text.parse();
        if let Err(types::OutOfRange { allowed, .. }) = &parsed {
            let message = if text.is_empty() {
                format!("this model has an empty or no `{setting}`; give it one: {allowed}")
            } else {
                format!("`{setting}` contains `{text}`; allowed: {allowed}")
            };
            self.refuse(key, message);
        }
        parsed.ok()
    }

    fn source(&mut self, key: &str, text: &str, sha256: Option<String>) -> Option<Source> {
        if let Some(simulated) = simulated(text, IS_SIMULATED) {
            if sha256.is_some() {
                let message = format!("a model with the source {text} has no file, so remove its `sha256`");
                self.refuse(&key.replace("source", "sha256"), message);
            }
            return simulated.map_err(|message| self.refuse(key, message)).ok();
        }
        if text.is_empty() {
            let message = format!("this model has no `source`; write the path of a GGUF file{OR_SIMULATED}");
            self.refuse(key, message);
            return None;
        }
        if let Some(model) = text.strip_prefix(STORE) {
            return self.stored(key, model, sha256);
        }
        if let Some(scheme) = scheme(text) {
            let message = format!(
                "`{scheme}:` is not a known kind of source; write the path of a GGUF file (`./{text}` if this is \
                 one), \"{STORE}NAME\" after `llmos pull {text} --name NAME`{OR_SIMULATED}"
            );
            self.refuse(key, message);
            return None;
        }
        Some(Source::File { path: self.path(key, text)?, sha256 })
    }

    /// A model of the store, by name or by digest.
    fn stored(&mut self, key: &str, model: &str, sha256: Option<String>) -> Option<Source> {
        let wrong = if model.starts_with("sha256:") {
            model.parse::<Digest>().err().map(|error| error.to_string())
        } else {
            model.parse::<ModelName>().err().map(|error| format!("a name has {}", error.allowed))
        };
        if let Some(wrong) = wrong {
            self.refuse(key, format!("`{STORE}{model}` names no model of the store: {wrong}"));
            return None;
        }
        if sha256.is_some() {
            let message = format!(
                "a model of the store is known by its digest; remove its `sha256`, or write \"{STORE}sha256:…\""
            );
            self.refuse(&key.replace("source", "sha256"), message);
        }
        Some(Source::Store { model: model.to_owned() })
    }

    fn sha256(&mut self, key: &str, text: Option<&str>) -> Option<String> {
        let text = text?;
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() == SHA256_DIGITS && digits {
            return Some(text.to_owned());
        }
        let message = format!(
            "`sha256` must be {SHA256_DIGITS} lower-case hexadecimal digits, as `sha256sum FILE` prints them; this \
             has {} characters",
            text.chars().count()
        );
        self.refuse(key, message);
        None
    }

    fn names_are_unique(&mut self, models: &[Model]) {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, model) in models.iter().enumerate() {
            let own = std::iter::once(("name", &model.name));
            for (setting, name) in own.chain(model.aliases.iter().map(|alias| ("aliases", alias))) {
                let Some(first) = seen.insert(name, index).filter(|_| !name.is_empty()) else { continue };
                let (first, this) = (first + 1, index + 1);
                let message = format!(
                    "`{name}` names model {first} and model {this}: a name or alias may stand for one model, once"
                );
                self.refuse(&format!("model[{index}].{setting}"), message);
            }
        }
    }
}

/// `hf` for `hf:org/model`; nothing for a path.
fn scheme(source: &str) -> Option<&str> {
    let (scheme, _) = source.split_once(':')?;
    let is_scheme =
        scheme.len() > 1 && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+');
    is_scheme.then_some(scheme)
}

/// A model without weights, if the text asks for one; refused where they are not built in.
pub(super) fn simulated(text: &str, is_built_in: bool) -> Option<Result<Source, String>> {
    if ![SIMULATOR, INSTANT].contains(&text) {
        return None;
    }
    Some(if is_built_in {
        Ok(Source::Simulator { purpose: Purpose::Generate, instant: text == INSTANT })
    } else {
        Err(format!(
            "`{text}` is for tests, and this llmos was built without the `simulated` feature; write the path of a GGUF file"
        ))
    })
}
