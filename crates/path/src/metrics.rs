//! What operators measure: vLLM's names and OpenTelemetry's `gen_ai.*`, so that existing dashboards work unchanged.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

use audit::{AnchorStatus, CollectorStatus, log::Status};
use engine::{Embedded, EngineError};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use resources::ReplicaView;
use types::{Event, FinishReason, ModelName, Tokens};

use crate::PathError;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByModel {
    model_name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    model_name: String,
    /// `stop`, `length`, `abort` (the caller left) or `error`.
    finished_reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GenAi {
    gen_ai_operation_name: &'static str,
    gen_ai_request_model: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
#[allow(clippy::struct_field_names)] // The field names are OpenTelemetry's label names.
struct GenAiTokens {
    gen_ai_operation_name: &'static str,
    gen_ai_request_model: String,
    gen_ai_token_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPlace {
    place: String,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// 1 ms to 131 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 18))
}

/// 1 to 524,288 tokens.
fn tokens() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 20))
}

/// The figures of this process.
pub(crate) struct Metrics {
    registry: Registry,
    replicas: ReplicaFigures,
    audit: AuditFigures,
    requests: RequestFigures,
    /// Those of one model and operation, found once: to find one takes longer than to count.
    of_models: RwLock<HashMap<(Operation, ModelName), Arc<ModelFigures>>>,
}

/// Read off the replicas when somebody asks.
struct ReplicaFigures {
    running: Family<ByModel, Gauge>,
    waiting: Family<ByModel, Gauge>,
    kv_usage: Family<ByModel, Gauge<f64, std::sync::atomic::AtomicU64>>,
    preemptions: Family<ByModel, Counter>,
}

/// Read off the audit log when somebody asks.
struct AuditFigures {
    entries: Gauge,
    open: Gauge,
    is_taking: Gauge,
    outside_entries: Family<ByPlace, Gauge>,
    outside_age: Family<ByPlace, Gauge>,
    collector_behind: Family<ByPlace, Gauge>,
    collector_refused: Family<ByPlace, Gauge>,
}

/// Counted as requests go by.
struct RequestFigures {
    prompt_tokens: Family<ByModel, Counter>,
    generation_tokens: Family<ByModel, Counter>,
    outcomes: Family<ByOutcome, Counter>,
    ttft: Histograms<ByModel>,
    inter_token: Histograms<ByModel>,
    e2e: Histograms<ByModel>,
    request_prompt: Histograms<ByModel>,
    request_generation: Histograms<ByModel>,
    gen_ai_duration: Histograms<GenAi>,
    gen_ai_ttft: Histograms<GenAi>,
    gen_ai_tpot: Histograms<GenAi>,
    gen_ai_tokens: Histograms<GenAiTokens>,
}

/// The figures of what one model does in one operation.
struct ModelFigures {
    prompt_tokens: Counter,
    generation_tokens: Counter,
    stop: Counter,
    length: Counter,
    abort: Counter,
    error: Counter,
    ttft: Histogram,
    inter_token: Histogram,
    e2e: Histogram,
    request_prompt: Histogram,
    request_generation: Histogram,
    gen_ai_duration: Histogram,
    gen_ai_ttft: Histogram,
    gen_ai_tpot: Histogram,
    gen_ai_input: Histogram,
    gen_ai_output: Histogram,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let replicas = ReplicaFigures::registered(&mut registry);
        let audit = AuditFigures::registered(&mut registry);
        let requests = RequestFigures::registered(&mut registry);
        Self { registry, replicas, audit, requests, of_models: RwLock::default() }
    }

    /// A request for `model` has come.
    pub(crate) fn begin(&self, operation: Operation, model: &ModelName) -> Observation {
        Observation {
            figures: self.of(operation, model),
            begun: Instant::now(),
            last_token: None,
            first_token: None,
            output: Tokens(0),
            closed: false,
        }
    }

    fn of(&self, operation: Operation, model: &ModelName) -> Arc<ModelFigures> {
        let by = (operation, model.clone());
        if let Some(known) = self.of_models.read().unwrap_or_else(PoisonError::into_inner).get(&by) {
            return known.clone();
        }
        // The lock above is given back by now.
        let mut of_models = self.of_models.write().unwrap_or_else(PoisonError::into_inner);
        of_models.entry(by).or_insert_with(|| Arc::new(self.requests.of(operation, model))).clone()
    }

    /// All figures in the `OpenMetrics` text format.
    pub(crate) fn text(
        &self,
        replicas: &[ReplicaView],
        audit: &Status,
        anchors: &[AnchorStatus],
        collector: Option<&CollectorStatus>,
    ) -> String {
        for replica in replicas {
            self.replicas.read(replica);
        }
        self.audit.read(audit, anchors, collector);
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl ReplicaFigures {
    fn registered(registry: &mut Registry) -> Self {
        let all = Self {
            running: Family::default(),
            waiting: Family::default(),
            kv_usage: Family::default(),
            preemptions: Family::default(),
        };
        registry.register("vllm:num_requests_running", "Sequences on the device", all.running.clone());
        registry.register("vllm:num_requests_waiting", "Sequences that wait", all.waiting.clone());
        registry.register(
            "vllm:kv_cache_usage_perc",
            "Share of KV memory in use, 0 to 1",
            all.kv_usage.clone(),
        );
        registry.register("vllm:num_preemptions", "Sequences taken off the device", all.preemptions.clone());
        all
    }

    fn read(&self, replica: &ReplicaView) {
        let by = ByModel { model_name: replica.model.to_string() };
        let load = replica.load;
        self.running.get_or_create(&by).set(load.running as i64);
        self.waiting.get_or_create(&by).set(load.waiting as i64);
        let total = f64::from(load.kv_total.0.max(1));
        self.kv_usage.get_or_create(&by).set(f64::from(load.kv_used.0) / total);
        let preemptions = self.preemptions.get_or_create(&by);
        preemptions.inc_by(load.preemptions.saturating_sub(preemptions.get()));
    }
}

impl AuditFigures {
    fn registered(registry: &mut Registry) -> Self {
        let all = Self {
            entries: Gauge::default(),
            open: Gauge::default(),
            is_taking: Gauge::default(),
            outside_entries: Family::default(),
            outside_age: Family::default(),
            collector_behind: Family::default(),
            collector_refused: Family::default(),
        };
        registry.register("llmos_audit_entries", "Entries of the audit log", all.entries.clone());
        let open = "What has begun in the audit log and not ended";
        registry.register("llmos_audit_open", open, all.open.clone());
        let is_taking =
            "1 as long as the audit log takes entries, else 0: then nothing that has to be recorded is done";
        registry.register("llmos_audit_up", is_taking, all.is_taking.clone());
        let outside = "Entries of the audit log that a place off this machine vouches for";
        registry.register("llmos_audit_outside_entries", outside, all.outside_entries.clone());
        let age = "Age of the last checkpoint there; 0 if nothing was recorded since";
        registry.register("llmos_audit_outside_age_seconds", age, all.outside_age.clone());
        let behind = "Records of the audit log that the collector does not have yet";
        registry.register("llmos_audit_collector_behind", behind, all.collector_behind.clone());
        let refused = "Records of the audit log that the collector has refused for good";
        registry.register("llmos_audit_collector_refused", refused, all.collector_refused.clone());
        all
    }

    fn read(&self, status: &Status, anchors: &[AnchorStatus], collector: Option<&CollectorStatus>) {
        self.entries.set(status.size as i64);
        self.open.set(status.open as i64);
        self.is_taking.set(i64::from(status.paused.is_none() && status.broken.is_none()));
        for anchor in anchors {
            let by = ByPlace { place: anchor.place.clone() };
            self.outside_entries.get_or_create(&by).set(anchor.size.unwrap_or(0) as i64);
            if let Some(age) = anchor.age(status.size) {
                self.outside_age.get_or_create(&by).set(age.as_secs() as i64);
            }
        }
        if let Some(collector) = collector {
            let by = ByPlace { place: collector.place.clone() };
            self.collector_behind.get_or_create(&by).set(collector.behind(status.size) as i64);
            self.collector_refused.get_or_create(&by).set(collector.refused as i64);
        }
    }
}

impl RequestFigures {
    /// Those of one model and operation.
    fn of(&self, operation: Operation, model: &ModelName) -> ModelFigures {
        let by = ByModel { model_name: model.to_string() };
        let ended = |finished_reason| {
            let by = ByOutcome { model_name: model.to_string(), finished_reason };
            self.outcomes.get_or_create_owned(&by)
        };
        let (gen_ai_operation_name, gen_ai_request_model) = (operation.as_str(), model.to_string());
        let gen_ai = GenAi { gen_ai_operation_name, gen_ai_request_model };
        let tokens = |gen_ai_token_type| {
            let GenAi { gen_ai_operation_name, gen_ai_request_model } = gen_ai.clone();
            let by = GenAiTokens { gen_ai_operation_name, gen_ai_request_model, gen_ai_token_type };
            self.gen_ai_tokens.get_or_create_owned(&by)
        };
        ModelFigures {
            prompt_tokens: self.prompt_tokens.get_or_create_owned(&by),
            generation_tokens: self.generation_tokens.get_or_create_owned(&by),
            stop: ended("stop"),
            length: ended("length"),
            abort: ended("abort"),
            error: ended("error"),
            ttft: self.ttft.get_or_create_owned(&by),
            inter_token: self.inter_token.get_or_create_owned(&by),
            e2e: self.e2e.get_or_create_owned(&by),
            request_prompt: self.request_prompt.get_or_create_owned(&by),
            request_generation: self.request_generation.get_or_create_owned(&by),
            gen_ai_duration: self.gen_ai_duration.get_or_create_owned(&gen_ai),
            gen_ai_ttft: self.gen_ai_ttft.get_or_create_owned(&gen_ai),
            gen_ai_tpot: self.gen_ai_tpot.get_or_create_owned(&gen_ai),
            gen_ai_input: tokens("input"),
            gen_ai_output: tokens("output"),
        }
    }

    fn registered(registry: &mut Registry) -> Self {
        let all = Self {
            prompt_tokens: Family::default(),
            generation_tokens: Family::default(),
            outcomes: Family::default(),
            ttft: Family::new_with_constructor(seconds),
            inter_token: Family::new_with_constructor(seconds),
            e2e: Family::new_with_constructor(seconds),
            request_prompt: Family::new_with_constructor(tokens),
            request_generation: Family::new_with_constructor(tokens),
            gen_ai_duration: Family::new_with_constructor(seconds),
            gen_ai_ttft: Family::new_with_constructor(seconds),
            gen_ai_tpot: Family::new_with_constructor(seconds),
            gen_ai_tokens: Family::new_with_constructor(tokens),
        };
        registry.register("vllm:prompt_tokens", "Tokens of prompts", all.prompt_tokens.clone());
        registry.register("vllm:generation_tokens", "Tokens generated", all.generation_tokens.clone());
        registry.register("vllm:request_success", "Requests that ended, by how", all.outcomes.clone());
        registry.register("vllm:time_to_first_token_seconds", "Arrival to first token", all.ttft.clone());
        registry.register("vllm:inter_token_latency_seconds", "Token to token", all.inter_token.clone());
        registry.register("vllm:e2e_request_latency_seconds", "Arrival to last token", all.e2e.clone());
        registry.register("vllm:request_prompt_tokens", "Tokens of a prompt", all.request_prompt.clone());
        registry.register(
            "vllm:request_generation_tokens",
            "Tokens of an answer",
            all.request_generation.clone(),
        );
        let duration = all.gen_ai_duration.clone();
        registry.register("gen_ai_server_request_duration_seconds", "Arrival to last token", duration);
        let ttft = all.gen_ai_ttft.clone();
        registry.register("gen_ai_server_time_to_first_token_seconds", "Arrival to first token", ttft);
        let tpot = all.gen_ai_tpot.clone();
        registry.register(
            "gen_ai_server_time_per_output_token_seconds",
            "Time per token after the first",
            tpot,
        );
        registry.register("gen_ai_client_token_usage", "Tokens used, by type", all.gen_ai_tokens.clone());
        all
    }
}

/// What a request has a model do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    Generate,
    Embed,
    Rerank,
}

impl Operation {
    /// The value of `gen_ai.operation.name`: OpenTelemetry's where it has one.
    fn as_str(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Embed => "embeddings",
            Self::Rerank => "rerank",
        }
    }
}

/// One request being watched. Dropped before it is complete, it counts as aborted: the caller left.
pub(crate) struct Observation {
    figures: Arc<ModelFigures>,
    begun: Instant,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
    output: Tokens,
    closed: bool,
}

impl Observation {
    pub(crate) fn see(&mut self, event: &Result<Event, EngineError>) {
        match event {
            Ok(Event::Delta(_)) => self.token(),
            Ok(Event::Usage { input, output }) => self.usage(*input, *output),
            Ok(Event::Finished(how)) => self.finish(*how),
            Err(_) => self.close(|figures| &figures.error),
        }
    }

    /// Watches a computation to its end.
    pub(crate) async fn computing(
        mut self,
        computation: impl Future<Output = Result<Embedded, PathError>>,
    ) -> Result<Embedded, PathError> {
        let computed = computation.await;
        match &computed {
            Ok(embedded) => {
                self.usage(embedded.input, Tokens(0));
                self.finish(FinishReason::Stop);
            }
            Err(_) => self.refused(),
        }
        computed
    }

    /// The engine did not take it.
    pub(crate) fn refused(&mut self) {
        self.close(|figures| &figures.error);
    }

    fn token(&mut self) {
        let now = Instant::now();
        if let Some(last) = self.last_token {
            self.figures.inter_token.observe((now - last).as_secs_f64());
        } else {
            let ttft_s = (now - self.begun).as_secs_f64();
            self.first_token = Some(now);
            self.figures.ttft.observe(ttft_s);
            self.figures.gen_ai_ttft.observe(ttft_s);
        }
        self.last_token = Some(now);
    }

    fn usage(&mut self, input: Tokens, output: Tokens) {
        self.output = output;
        let figures = &self.figures;
        figures.prompt_tokens.inc_by(input.0.into());
        figures.generation_tokens.inc_by(output.0.into());
        figures.request_prompt.observe(input.0.into());
        figures.request_generation.observe(output.0.into());
        figures.gen_ai_input.observe(input.0.into());
        figures.gen_ai_output.observe(output.0.into());
    }

    fn finish(&mut self, how: FinishReason) {
        let took_s = self.begun.elapsed().as_secs_f64();
        self.figures.e2e.observe(took_s);
        self.figures.gen_ai_duration.observe(took_s);
        if let (Some(first), Tokens(output @ 2..)) = (self.first_token, self.output) {
            let tpot_s = first.elapsed().as_secs_f64() / f64::from(output - 1);
            self.figures.gen_ai_tpot.observe(tpot_s);
        }
        match how {
            FinishReason::Stop => self.close(|figures| &figures.stop),
            FinishReason::Length => self.close(|figures| &figures.length),
        }
    }

    fn close(&mut self, ended: fn(&ModelFigures) -> &Counter) {
        if !std::mem::replace(&mut self.closed, true) {
            ended(&self.figures).inc();
        }
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.close(|figures| &figures.abort);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Prompt;

    fn status() -> Status {
        Status {
            size: 7,
            checkpoint_size: 5,
            open: 2,
            groups: 1,
            group_entries_last: 1,
            tail_bytes: 0,
            paused: None,
            stuck: None,
            broken: None,
        }
    }

    #[tokio::test]
    async fn a_request_leaves_its_figures() {
        let metrics = Metrics::new();
        let model: ModelName = "m".parse().unwrap();
        let mut watched = metrics.begin(Operation::Generate, &model);
        for _ in 0..3 {
            watched.see(&Ok(Event::Delta(Prompt::from("x".to_owned()))));
        }
        watched.see(&Ok(Event::Usage { input: Tokens(5), output: Tokens(3) }));
        watched.see(&Ok(Event::Finished(FinishReason::Stop)));
        drop(watched);
        metrics.begin(Operation::Generate, &model).see(&Err(EngineError::Killed));
        drop(metrics.begin(Operation::Generate, &model));
        for (operation, input) in [(Operation::Embed, Tokens(7)), (Operation::Rerank, Tokens(11))] {
            let embedded = async { Ok(Embedded { vectors: vec![], input }) };
            metrics.begin(operation, &model).computing(embedded).await.unwrap();
        }
        let anchor = AnchorStatus { place: "w".to_owned(), size: Some(7), at_ms: Some(1), error: None };
        let collector =
            CollectorStatus { place: "c".to_owned(), sent: 5, refused: 1, at_ms: None, error: None };
        let text = metrics.text(&[], &status(), &[anchor], Some(&collector));
        for line in [
            "llmos_audit_entries 7",
            "llmos_audit_up 1",
            "llmos_audit_collector_behind{place=\"c\"} 2",
            "llmos_audit_collector_refused{place=\"c\"} 1",
            "vllm:prompt_tokens_total{model_name=\"m\"} 23",
            "vllm:generation_tokens_total{model_name=\"m\"} 3",
            "vllm:inter_token_latency_seconds_count{model_name=\"m\"} 2",
            "vllm:time_to_first_token_seconds_count{model_name=\"m\"} 1",
            "vllm:request_success_total{model_name=\"m\",finished_reason=\"stop\"} 3",
            "vllm:request_success_total{model_name=\"m\",finished_reason=\"error\"} 1",
            "vllm:request_success_total{model_name=\"m\",finished_reason=\"abort\"} 1",
            "gen_ai_token_type=\"output\"",
            "gen_ai_operation_name=\"embeddings\"",
            "gen_ai_operation_name=\"rerank\"",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
