use std::path::{Path, PathBuf};

use modelfile::{Gguf, ModelShape, Purpose};
use resources::{
    Size,
    inventory::Inventory,
    memory::{self, Available, Corrections, MemoryEstimate, Split, TooBig, Workload, gpu_layers_that_fit},
};
use serde_json::{Value, json};
use types::Tokens;

use crate::{
    cli::{EstimateArgs, GpuLayers},
    config::{Config, STORE},
    exit::{Exit, Failure},
    models,
    output::{self, Output},
    trained,
};

/// Types of tensors that are named in the table, most bytes first.
const KINDS_SHOWN_MAX: usize = 3;
/// Files end in this.
const GGUF: &str = "gguf";
/// Where there is nothing.
const NOTHING: &str = "-";

/// Prints what a worker of this model would need, part by part, and whether it fits.
pub(crate) fn run(config: &Config, args: &EstimateArgs, output: Output) -> Result<(), Failure> {
    let path = model_path(config, &args.model)?;
    let refuse = |error| Failure::new(Exit::Failed, error);
    let gguf = Gguf::open(&path).map_err(refuse)?;
    let shape = gguf.shape().map_err(refuse)?;
    let (corrections, complaint) = Corrections::open(&config.data_dir);
    if let Some(complaint) = complaint {
        output::note(complaint);
    }
    let available = available(args)?;
    let threads = args.threads.unwrap_or_else(|| resources::available_cores().len() as u32);
    let workload = Workload::new(Tokens(args.context), args.parallel, threads);
    let gpu_layers = match args.gpu_layers {
        GpuLayers::Count(layers) => layers,
        GpuLayers::Auto => gpu_layers_that_fit(&gguf, &shape, &workload, &corrections, available.device),
    };
    let workload = workload.on_device(gpu_layers);
    let trained = Tokens(shape.context_trained);
    let mut fits = memory::fits(&gguf, &shape, &workload, &corrections, available);
    if let Err(TooBig { would_fit, .. }) = &mut fits {
        // A shorter one fits too, and no text is longer than what the model was trained on.
        would_fit.context = would_fit.context.map(|context| context.min(trained));
    }
    if let Some(warning) = trained::too_long("the model", workload.context, trained) {
        output::note(warning);
    }
    let estimate = match &fits {
        Ok(estimate) => estimate,
        Err(too_big) => &too_big.estimate,
    };
    if output.json {
        output::document(&document(&shape, &workload, estimate, available, fits.as_ref().err()))?;
    } else {
        output.text(&headline(&args.model, &shape, &workload))?;
        output.table(&["PART", "HOST", "DEVICE", "WHAT IT IS"], &rows(&shape, &workload, estimate))?;
    }
    match fits {
        Err(too_big) => {
            let fewer = || gpu_layers_that_fit(&gguf, &shape, &workload, &corrections, available.device);
            let fits_with = |layers| {
                memory::fits(&gguf, &shape, &workload.on_device(layers), &corrections, available).is_ok()
            };
            let layers = (too_big.estimate.device() > available.device).then(fewer);
            Err(match layers.filter(|&layers| fits_with(layers)) {
                Some(layers) => too_many_layers(&too_big, layers),
                None => Failure::new(Exit::Failed, too_big),
            })
        }
        Ok(_) if output.json => Ok(()),
        Ok(estimate) => {
            output.text(&format!("fits: {} of main memory are there{}\n", Size(available.host), {
                if estimate.device() > 0 {
                    format!(", {} on devices", Size(available.device))
                } else {
                    String::new()
                }
            }))
        }
    }
}

/// What is short is only the devices' memory: then fewer layers on them help, and change nothing about the model.
fn too_many_layers(too_big: &TooBig, layers: u32) -> Failure {
    let (needed, there) = (too_big.estimate.device(), too_big.available.device);
    let what = format!(
        "the model needs {} of memory of devices, and {} are there: {} too little; it would fit with `--gpu-layers \
         {layers}`",
        Size(needed),
        Size(there),
        Size(needed.saturating_sub(there))
    );
    Failure::new(Exit::Failed, what)
}

/// Where the model lies: `store:NAME`, a file, or else one of the store. What looks like a path is one, there or not.
fn model_path(config: &Config, model: &Path) -> Result<PathBuf, Failure> {
    if let Some(name) = model.to_str().and_then(|text| text.strip_prefix(STORE)) {
        return stored(config, name);
    }
    let looks_like_path = model.components().count() != 1 || model.extension().is_some_and(|end| end == GGUF);
    match model.to_str() {
        Some(name) if !looks_like_path && !model.exists() => stored(config, name),
        _ => Ok(model.to_owned()),
    }
}

fn stored(config: &Config, name: &str) -> Result<PathBuf, Failure> {
    let store = models::open(config)?;
    let found = store.find(name).map_err(models::failure)?;
    Ok(store.path(&found))
}

/// What models may take on this machine, or on the one that a file describes.
fn available(args: &EstimateArgs) -> Result<Available, Failure> {
    match &args.inventory {
        Some(file) => {
            let machine = Inventory::from_file(file).map_err(|error| Failure::new(Exit::Failed, error))?;
            Ok(Available::on(&machine))
        }
        // Looking for devices takes a while, and is not needed for what uses none.
        None if args.gpu_layers == GpuLayers::Count(0) => {
            Ok(Available { host: resources::memory_for_models(), device: 0 })
        }
        None => Ok(Available::on(&Inventory::probe())),
    }
}

fn headline(path: &Path, shape: &ModelShape, workload: &Workload) -> String {
    let quantisation = shape.quantisation.as_deref().unwrap_or("of unknown quantisation");
    format!(
        "{}: {} ({}), {:.2} billion parameters, {quantisation}; {} tokens of context, {} at once, {} threads\n",
        path.display(),
        shape.architecture,
        purpose(shape.purpose),
        shape.parameters as f64 / 1e9,
        workload.context.0,
        workload.parallel,
        workload.threads
    )
}

fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Generate => "generates",
        Purpose::Embed => "embeds",
        Purpose::Rank => "ranks",
    }
}

fn rows(shape: &ModelShape, workload: &Workload, estimate: &MemoryEstimate) -> Vec<Vec<String>> {
    let shown = |bytes| if bytes > 0 { Size(bytes).to_string() } else { NOTHING.to_owned() };
    let row = |name: &str, part: Split, what: String| {
        vec![name.to_owned(), shown(part.host), shown(part.device), what]
    };
    let host = |bytes| Split { host: bytes, device: 0 };
    let kv = if estimate.kv == Split::default() {
        "nothing is kept of a text once its vector is computed".to_owned()
    } else {
        let layer = |layer| shape.kv_per_token(layer);
        let numbers: u64 = (0..shape.layers as usize).map(layer).map(|(key, value)| key + value).sum();
        format!("keys and values of {} tokens{}", workload.context.0, {
            if numbers > 0 { format!(": at most {} bytes for each", numbers * 2) } else { String::new() }
        })
    };
    let results = match shape.purpose {
        Purpose::Generate => format!("{} rows of logits, and what samplers keep of them", workload.parallel),
        Purpose::Embed | Purpose::Rank => "a row for each token of a step".to_owned(),
    };
    let mut rows = vec![
        row("weights", estimate.weights, weights(shape, estimate)),
        row("kv", estimate.kv, kv),
        row("compute", estimate.compute, "what a step holds while it is computed".to_owned()),
        row("output", host(estimate.output), results),
        row("overhead", estimate.overhead, "the process: vocabulary, graphs, threads, program".to_owned()),
        row("total", Split { host: estimate.host(), device: estimate.device() }, String::new()),
    ];
    if estimate.file_cache > 0 {
        let what = "pages of the file that nothing uses; the system takes them back when it needs them";
        rows.push(row("file cache", host(estimate.file_cache), what.to_owned()));
    }
    rows
}

fn weights(shape: &ModelShape, estimate: &MemoryEstimate) -> String {
    let mut kinds: Vec<_> = shape.weights.by_kind.iter().collect();
    kinds.sort_by_key(|(_, bytes)| std::cmp::Reverse(**bytes));
    let shown = kinds.iter().take(KINDS_SHOWN_MAX).map(|(kind, bytes)| format!("{} {kind}", Size(**bytes)));
    let shown = shown.collect::<Vec<_>>().join(", ");
    let others = if kinds.len() > KINDS_SHOWN_MAX { " and others" } else { "" };
    let copied = match estimate.repacked {
        0 => String::new(),
        bytes => format!("; {} are copied into the processor's own layout", Size(bytes)),
    };
    format!("{shown}{others}{copied}")
}

fn document(
    shape: &ModelShape,
    workload: &Workload,
    estimate: &MemoryEstimate,
    available: Available,
    too_big: Option<&TooBig>,
) -> Value {
    json!({
        "architecture": shape.architecture,
        "purpose": shape.purpose,
        "quantisation": shape.quantisation,
        "parameters": shape.parameters,
        "context": workload.context.0,
        "parallel": workload.parallel,
        "threads": workload.threads,
        "gpu_layers": workload.gpu_layers,
        "parts": estimate,
        "total": { "host": estimate.host(), "device": estimate.device() },
        "resident": estimate.resident(),
        "available": { "host": available.host, "device": available.device },
        "fits": too_big.is_none(),
        "would_fit": too_big.map(|too_big| json!({
            "context": too_big.would_fit.context.map(|context| context.0),
            "parallel": too_big.would_fit.parallel,
            "quantisation": too_big.would_fit.quantisation,
        })),
    })
}
