//! Every beginning of a small model file, and the whole of it with one bit turned, thousands of times: each is given
//! to a process of its own, as an operator would.

use std::{
    fs,
    io::Write,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use modelfile::{TensorType, Writer};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tempfile::TempDir;
use wait4::Wait4;

use super::super::prompts::Prompts;
use crate::{
    figures::{Findings, Outcome},
    progress,
    statistics::Summary,
};

const MILLISECONDS: &str = "hostile_ms_worst";
const MEGABYTES: &str = "hostile_mb_worst";
/// Files with one bit turned.
const FLIPS: u64 = 10_000;
/// How often it is said how far it is.
const PROGRESS_EVERY: usize = 2_000;
/// Seconds of CPU time after which a run is ended by a signal, which fails the suite.
const CPU_SECONDS_MAX: u64 = 10;
/// Exit codes of an answer: it fits, or the file is refused or too big.
const ANSWERS: [i32; 2] = [0, 1];

/// The worst of all runs.
#[derive(Default)]
struct Worst {
    cpu_ms: f64,
    wall_ms: f64,
    mb: f64,
    runs: usize,
    refused: usize,
}

pub(super) fn run(llmos: &Path, findings: &mut Findings) -> Result<()> {
    let place = Place::new(llmos)?;
    let file = small_model()?;
    let mut worst = Worst::default();
    for length in 0..=file.len() {
        place.try_file(&file[..length], &mut worst).with_context(|| format!("the first {length} bytes"))?;
    }
    let mut draws = Prompts::default();
    for _ in 0..FLIPS {
        let (byte, bit) = (draws.draw() as usize % file.len(), draws.draw() % 8);
        let mut flipped = file.clone();
        flipped[byte] ^= 1 << bit;
        place.try_file(&flipped, &mut worst).with_context(|| format!("bit {bit} of byte {byte} turned"))?;
    }
    for (figure, value) in [(MILLISECONDS, worst.cpu_ms), (MEGABYTES, worst.mb)] {
        let summary = Summary::of(&[value]).context("nothing was measured")?;
        findings.outcomes.insert(figure, Outcome::Measured(summary));
    }
    findings.number("hostile: length of the file", file.len() as f64, "bytes");
    findings.number("hostile: runs", worst.runs as f64, "");
    findings.number("hostile: refused", worst.refused as f64, "");
    findings
        .text("hostile: time is", "CPU time of the process, which other work on the machine does not change");
    findings.number("hostile: greatest time on the clock", worst.wall_ms, "ms");
    Ok(())
}

/// A folder with a configuration that says nothing, so that nothing of this machine is read.
struct Place {
    llmos: PathBuf,
    folder: TempDir,
}

impl Place {
    fn new(llmos: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("llmos.toml"), "")?;
        Ok(Self { llmos: llmos.to_owned(), folder })
    }

    fn try_file(&self, bytes: &[u8], worst: &mut Worst) -> Result<()> {
        let path = self.folder.path().join("model.gguf");
        fs::File::create(&path)?.write_all(bytes)?;
        let mut command = Command::new(&self.llmos);
        command.arg("estimate").arg(&path).arg("--json");
        command.arg("--config").arg(self.folder.path().join("llmos.toml"));
        command.arg("--data-dir").arg(self.folder.path().join("data"));
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = Instant::now();
        let child = command.spawn().context("cannot start llmos")?;
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let limit = Rlimit { current: Some(CPU_SECONDS_MAX), maximum: Some(CPU_SECONDS_MAX) };
            // One that is gone already needs no limit.
            let _ = prlimit(Some(pid), Resource::Cpu, limit);
        }
        let used = child.wait4()?;
        let wall_ms = started.elapsed().as_secs_f64() * 1e3;
        ensure!(used.status.signal().is_none(), "llmos was ended by a signal: {}", used.status);
        let answered = used.status.code().is_some_and(|code| ANSWERS.contains(&code));
        ensure!(answered, "llmos gave no answer: {}", used.status);
        let cpu = used.rusage.utime + used.rusage.stime;
        worst.cpu_ms = worst.cpu_ms.max(cpu.as_secs_f64() * 1e3);
        worst.wall_ms = worst.wall_ms.max(wall_ms);
        worst.mb = worst.mb.max(used.rusage.maxrss as f64 / 1e6);
        worst.runs += 1;
        worst.refused += usize::from(used.status.code() == Some(1));
        if worst.runs.is_multiple_of(PROGRESS_EVERY) {
            progress(&format!("estimate: {} hostile files", worst.runs));
        }
        Ok(())
    }
}

/// A model of one layer that has all that the reader looks at, and as little of it as there may be.
fn small_model() -> Result<Vec<u8>> {
    const EMBEDDING: u64 = 8;
    const FORWARD: u64 = 16;
    let mut file = Writer::new();
    file.text("general.architecture", "llama")
        .text("general.name", "Small")
        .u32("general.file_type", 1)
        .u32("llama.block_count", 1)
        .u32("llama.context_length", 256)
        .u32("llama.embedding_length", EMBEDDING as u32)
        .u32("llama.feed_forward_length", FORWARD as u32)
        .u32("llama.attention.head_count", 2)
        .u32("llama.attention.head_count_kv", 1)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "default")
        .texts("tokenizer.ggml.tokens", &["<s>", "</s>", "a", "b"])
        .i32s("tokenizer.ggml.token_type", &[3, 3, 1, 1])
        .texts("tokenizer.ggml.merges", &["a b"])
        .u32("tokenizer.ggml.bos_token_id", 0)
        .u32("tokenizer.ggml.eos_token_id", 1);
    for (name, dimensions) in [
        ("token_embd", &[EMBEDDING, 4][..]),
        ("output_norm", &[EMBEDDING]),
        ("blk.0.attn_norm", &[EMBEDDING]),
        ("blk.0.attn_q", &[EMBEDDING, EMBEDDING]),
        ("blk.0.attn_k", &[EMBEDDING, EMBEDDING / 2]),
        ("blk.0.attn_v", &[EMBEDDING, EMBEDDING / 2]),
        ("blk.0.attn_output", &[EMBEDDING, EMBEDDING]),
        ("blk.0.ffn_norm", &[EMBEDDING]),
        ("blk.0.ffn_gate", &[EMBEDDING, FORWARD]),
        ("blk.0.ffn_up", &[EMBEDDING, FORWARD]),
        ("blk.0.ffn_down", &[FORWARD, EMBEDDING]),
    ] {
        let kind = if dimensions.len() == 1 { TensorType::F32 } else { TensorType::F16 };
        file.tensor(&format!("{name}.weight"), dimensions, kind);
    }
    Ok(file.to_bytes()?)
}

#[cfg(test)]
mod tests {
    use modelfile::Gguf;

    use super::*;

    #[test]
    fn the_small_model_is_small_and_sound() {
        let bytes = small_model().unwrap();
        assert!(bytes.len() < 4096, "{}", bytes.len());
        let shape = Gguf::read(&mut bytes.as_slice(), bytes.len() as u64).unwrap().shape().unwrap();
        assert_eq!(shape.vocabulary, 4);
    }

    /// `true` stands for a program that answers, `sh` for one that does not.
    #[test]
    fn a_run_is_measured_and_no_answer_is_an_error() {
        let mut worst = Worst::default();
        Place::new(Path::new("true")).unwrap().try_file(b"", &mut worst).unwrap();
        assert!((worst.runs, worst.refused) == (1, 0) && worst.wall_ms > 0.0 && worst.mb > 0.0);
        // It finds no script `estimate`.
        let error = Place::new(Path::new("sh")).unwrap().try_file(b"", &mut worst).unwrap_err();
        assert!(error.to_string().contains("no answer"), "{error}");
    }
}
