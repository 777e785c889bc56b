//! Samples for tests.

use gateway::admin_types::{Processes, Replica, Sequence};

use super::{
    figures::Figures,
    sample::{Machine, Memory, Sample, Ticks},
};

const GIB: u64 = 1 << 30;

pub(crate) fn sample(at_s: f64, models: &[&str], sequences: Vec<Sequence>) -> Sample {
    let replicas = models.iter().map(|model| replica(model)).collect();
    let ticks = Ticks { busy: (at_s * 50.0) as u64, all: (at_s * 200.0) as u64 };
    let memory = Memory { used: 6 * GIB, total: 16 * GIB };
    Sample {
        at_s,
        processes: Processes { replicas, sequences },
        figures: Figures::default(),
        machine: Machine { ticks: Some(ticks), memory: Some(memory) },
    }
}

pub(crate) fn replica(model: &str) -> Replica {
    Replica {
        model: model.to_owned(),
        state: "ready".to_owned(),
        why: None,
        pid: Some(4242),
        percent: None,
        left_s: None,
        memory: Some(GIB),
        resident: Some(GIB / 2),
        requests: 3,
        pinned: false,
        cores: vec![0, 1],
        running: 2,
        waiting: 1,
        kv_used: 1024,
        kv_total: 4096,
    }
}

pub(crate) fn sequence(id: u64, model: &str, prompt: u32, generated: u32) -> Sequence {
    Sequence {
        id,
        model: model.to_owned(),
        tenant: 1,
        class: "normal".to_owned(),
        state: "running".to_owned(),
        prompt,
        generated,
        age_s: 1.5,
        why: vec![format!("runs; {generated} of at most 512 tokens")],
    }
}

/// Times to the first token: `fast` of them up to 0.1 s, `all` in all.
pub(crate) fn bucket_text(fast: usize, all: usize) -> String {
    let bucket = |le, count| format!("vllm:time_to_first_token_seconds_bucket{{le=\"{le}\"}} {count}\n");
    format!("{}{}{}", bucket("0.1", fast), bucket("1.0", all), bucket("+Inf", all))
}
