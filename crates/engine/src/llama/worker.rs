//! The worker process.

use std::{
    collections::HashMap,
    convert::Infallible,
    ffi::CStr,
    io::{self, BufReader},
    num::NonZeroU32,
    os::{fd::AsFd, unix::net::UnixStream},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use llama_cpp_2::{
    context::{
        LlamaContext,
        params::{LlamaContextParams, LlamaPoolingType},
    },
    llama_backend::LlamaBackend,
    llama_batch::LlamaBatch,
    model::{LlamaModel, params::LlamaModelParams},
    token::LlamaToken,
    token_type::LlamaTokenAttr,
    vocab::LlamaVocab,
};

use super::{
    buffers, confinement,
    parent::WorkerOrder,
    passage,
    sampler::Sampler,
    wire::{self, Encoded, Order, Report, Text, WireOutcome, WirePlan, WireSampling},
};
use crate::{ModelCard, Purpose, template::ChatTemplate};

/// Tokens that llama.cpp computes at once; a step may hold more.
const MICRO_BATCH: u32 = 512;

/// The body of `llmos engine-worker`. Returns when the kernel process closes a socket.
///
/// Must run before anything else in the process: it makes its own threads, and changes what all of them may do.
pub fn worker_main() -> ExitCode {
    // A panic on any thread ends the process; its message may quote text, so only the place is told.
    std::panic::set_hook(Box::new(|panic| {
        let _ = io::Write::write_fmt(
            &mut io::stderr(),
            format_args!("worker: panic at {:?}\n", panic.location()),
        );
        std::process::abort();
    }));
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The kernel process keeps the last lines of this for its own report.
            let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("worker: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    close_inherited().map_err(|error| format!("cannot see which files are open: {error}"))?;
    ignore_signals().map_err(|error| format!("cannot ignore signals: {error}"))?;
    let (steps, texts) =
        sockets().map_err(|error| format!("this command is started by `llmos serve`: {error}"))?;
    let mut orders = BufReader::new(steps.try_clone().map_err(|error| error.to_string())?);
    let mut reports = steps;
    let Order::Load(order) = wire::read(&mut orders).map_err(|error| error.to_string())? else {
        return Err("the first order was not to load".to_owned());
    };
    let Err(why) = serve(&order, &mut orders, &mut reports, texts);
    let _ = wire::write(&mut reports, &Report::Failed(why.clone()));
    Err(why)
}

/// All but the three that the kernel process gave: its own close when it starts a program, but what a library of it opened
/// (a security module's, for one) may not.
#[allow(unsafe_code)]
fn close_inherited() -> io::Result<()> {
    let number = |entry: io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    let open: Vec<std::ffi::c_int> = std::fs::read_dir("/proc/self/fd")?.filter_map(number).collect();
    for descriptor in open.into_iter().filter(|&descriptor| descriptor > libc::STDERR_FILENO) {
        // SAFETY: nothing of this process owns it, since the process has opened nothing yet. That of the list itself is
        // closed already, which is an error that changes nothing.
        unsafe { libc::close(descriptor) };
    }
    Ok(())
}

/// The kernel process decides when a worker ends, also when a whole group or service is told to.
fn ignore_signals() -> io::Result<()> {
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::default())?;
    }
    Ok(())
}

/// The two sockets that came as standard input and output. In their place come nothing and standard error, so
/// that a library's stray line cannot break the protocol.
fn sockets() -> io::Result<(UnixStream, UnixStream)> {
    let steps = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let texts = UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?);
    // Not sockets: somebody started the command by hand.
    steps.peer_addr()?;
    texts.peer_addr()?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    Ok((steps, texts))
}

fn serve(
    order: &WorkerOrder,
    orders: &mut BufReader<UnixStream>,
    reports: &mut UnixStream,
    texts: UnixStream,
) -> Result<Infallible, String> {
    let confinement = confinement::confine(order)?;
    buffers::listen();
    let backend = LlamaBackend::init().map_err(|error| error.to_string())?;
    let parameters = LlamaModelParams::default()
        .with_n_gpu_layers(order.gpu_layers)
        .with_progress_callback(progress(reports.try_clone().map_err(|error| error.to_string())?));
    let model = LlamaModel::load_from_file(&backend, &order.path, &parameters)
        .map_err(|error| format!("llama.cpp cannot load {}: {error}", order.path.display()))?;
    let step = step(&model, order);
    let context = model.new_context(&backend, context_parameters(&model, order, step)).map_err(|error| {
        format!("cannot make a context of {} tokens ({error}): lower `context`", order.context)
    })?;
    let mut card = card(&model, &context, order, step, confinement);
    let template = template(&model);
    let mut stepper = Stepper::new(&model, context, order, step);
    card.dimensions = stepper.dimensions()?;
    std::thread::scope(|scope| {
        // Ends the process when the kernel process is gone, even in the middle of a step.
        scope.spawn(|| {
            encode_until_closed(&model, template, texts);
            std::process::exit(0);
        });
        let _ = wire::write(reports, &Report::Loaded(card));
        // A closed socket is how a worker is told to end; so the scope is never left.
        while let Ok(order) = wire::read(orders) {
            match order {
                Order::Load(_) => break,
                Order::Add { sequence, prompt, sampling } => {
                    stepper.add(sequence, prompt, sampling.as_ref());
                }
                Order::Step(plan) => {
                    let report = stepper.step(&plan).map_or_else(Report::Failed, Report::Stepped);
                    if wire::write(reports, &report).is_err() {
                        break;
                    }
                }
            }
        }
        std::process::exit(0)
    })
}

/// Tells the kernel process of each percent that is loaded. If that is gone, the load is broken off.
fn progress(mut reports: UnixStream) -> impl FnMut(f32) -> bool + 'static {
    let mut told = 0;
    move |share| {
        let percent = (share * 100.0) as u32;
        if percent <= told {
            return true;
        }
        told = percent;
        wire::write(&mut reports, &Report::Loading(share)).is_ok()
    }
}

/// Most tokens of one step. Of what is read whole the longest must fit, which is as long as the model was trained on.
fn step(model: &LlamaModel, order: &WorkerOrder) -> u32 {
    match order.purpose {
        Purpose::Generate => order.step,
        // llama.cpp aborts when it reserves memory to pool a number of tokens that its sequences cannot share evenly.
        Purpose::Embed | Purpose::Rank => {
            let longest = order.context.min(model.n_ctx_train());
            order.step.max(longest).next_multiple_of(order.running_max)
        }
    }
}

fn context_parameters(model: &LlamaModel, order: &WorkerOrder, step: u32) -> LlamaContextParams {
    let threads = order.cores.len() as i32;
    let pools = order.purpose != Purpose::Generate;
    // What is pooled, or looks at what follows it, is computed at once.
    let micro_batch = if pools { step } else { step.min(MICRO_BATCH) };
    LlamaContextParams::default()
        .with_embeddings(pools)
        .with_pooling_type(pooling(model, order.purpose))
        .with_n_ctx(NonZeroU32::new(order.context))
        .with_n_batch(step)
        .with_n_ubatch(micro_batch)
        .with_n_seq_max(order.running_max)
        .with_n_threads(threads)
        .with_n_threads_batch(threads)
        // One memory for all sequences; copying between split ones aborts the process.
        .with_kv_unified(true)
        // Layers that see a window keep no more than that: we never go back into a sequence, only drop it whole.
        .with_swa_full(false)
        .with_no_perf(true)
}

/// How the vectors of tokens become one: as the file says; where it says nothing, by their mean.
fn pooling(model: &LlamaModel, purpose: Purpose) -> LlamaPoolingType {
    let says_how = || {
        let architecture = model.meta_val_str("general.architecture").ok()?;
        let pooling = model.meta_val_str(&format!("{architecture}.pooling_type")).ok()?;
        (pooling != "0").then_some(())
    };
    match purpose {
        Purpose::Rank => LlamaPoolingType::Rank,
        Purpose::Embed if says_how().is_none() => LlamaPoolingType::Mean,
        Purpose::Embed | Purpose::Generate => LlamaPoolingType::Unspecified,
    }
}

fn card(
    model: &LlamaModel,
    context: &LlamaContext<'_>,
    order: &WorkerOrder,
    step: u32,
    confinement: String,
) -> ModelCard {
    let vocabulary = model.vocab();
    let piece = |token| vocabulary.token_to_piece(token, false, None);
    ModelCard {
        purpose: order.purpose,
        dimensions: 0,
        pieces: vocabulary.tokens().map(piece).collect(),
        context_trained: model.n_ctx_train(),
        kv: context.n_ctx().min(order.context),
        step,
        running_max: order.running_max,
        confinement,
        graph_reserved: buffers::graph_reserved(),
        hardware: hardware(),
    }
}

/// llama.cpp's list of the instruction sets it was built with and found.
#[allow(unsafe_code)]
fn hardware() -> String {
    // SAFETY: the function returns a pointer to a static, NUL-terminated string, and this is its only caller.
    let text = unsafe { CStr::from_ptr(llama_cpp_sys_2::llama_print_system_info()) };
    text.to_string_lossy().trim().to_owned()
}

type Template = Result<ChatTemplate, crate::template::TemplateError>;

fn template(model: &LlamaModel) -> Template {
    let source =
        model.meta_val_str("tokenizer.chat_template").map_err(|_| crate::template::TemplateError::Absent)?;
    let vocabulary = model.vocab();
    let text = |token: LlamaToken| {
        let known = (0..vocabulary.n_tokens()).contains(&token.0);
        known.then(|| vocabulary.text(token)).flatten().map(|text| text.to_string_lossy().into_owned())
    };
    let control =
        vocabulary.tokens().filter(|&token| is_special(&vocabulary, token)).filter_map(text).collect();
    let bos = text(vocabulary.bos()).unwrap_or_default();
    let eos = text(vocabulary.eos()).unwrap_or_default();
    ChatTemplate::new(&source, &bos, &eos, control)
}

/// Whether llama.cpp reads the token's text as the token only where special tokens are asked for.
fn is_special(vocabulary: &LlamaVocab<'_>, token: LlamaToken) -> bool {
    let attributes = vocabulary.attr(token);
    attributes.contains(LlamaTokenAttr::Control) || attributes.contains(LlamaTokenAttr::Unknown)
}

fn encode_until_closed(model: &LlamaModel, template: Template, mut texts: UnixStream) {
    let Ok(reading) = texts.try_clone() else { return };
    let mut reading = BufReader::new(reading);
    while let Ok(text) = wire::read(&mut reading) {
        let encoded: Encoded = encode(model, &template, text);
        if wire::write(&mut texts, &encoded).is_err() {
            return;
        }
    }
}

fn encode(model: &LlamaModel, template: &Template, text: Text) -> Encoded {
    let vocabulary = model.vocab();
    let mut tokens: Vec<LlamaToken> = Vec::new();
    match text {
        Text::Plain(text) => vocabulary.tokenize_into(text.as_bytes(), &mut tokens, true, true),
        Text::Passage(text) => tokens = passage::embedded(model, &text),
        Text::Pair(query, document) => tokens = passage::ranked(model, &query, &document),
        Text::Chat(messages) => {
            let template = template.as_ref().map_err(ToString::to_string)?;
            let messages: Vec<_> =
                messages.iter().map(|(role, content)| (role.as_str(), content.as_str())).collect();
            let fragments = template.render(&messages).map_err(|error| error.to_string())?;
            for (i, fragment) in fragments.iter().enumerate() {
                // A template that writes BOS itself must not get a second one.
                let first = i == 0 && !template.begins_with_bos(&fragment.text);
                vocabulary.tokenize_into(fragment.text.as_bytes(), &mut tokens, first, fragment.special);
            }
        }
    }
    Ok(tokens.into_iter().map(|token| token.0 as u32).collect())
}

/// A sequence in the worker.
struct Sequence {
    /// Prompt and answer so far.
    tokens: Vec<LlamaToken>,
    /// How many of them are in KV memory.
    filled: usize,
    /// llama.cpp's number for it while it has KV memory.
    slot: Option<i32>,
    /// Absent if a vector is wanted.
    sampler: Option<Sampler>,
}

struct Stepper<'model> {
    model: &'model LlamaModel,
    purpose: Purpose,
    context: LlamaContext<'model>,
    batch: LlamaBatch<'static>,
    sequences: HashMap<u64, Sequence>,
    free_slots: Vec<i32>,
}

impl<'model> Stepper<'model> {
    fn new(model: &'model LlamaModel, context: LlamaContext<'model>, order: &WorkerOrder, step: u32) -> Self {
        let slots = order.running_max as i32;
        Self {
            model,
            purpose: order.purpose,
            context,
            batch: LlamaBatch::new(step as usize, 1),
            sequences: HashMap::new(),
            free_slots: (0..slots).rev().collect(),
        }
    }

    /// Numbers in each vector, found out by computing one.
    fn dimensions(&mut self) -> Result<u32, String> {
        if self.purpose == Purpose::Generate {
            return Ok(0);
        }
        let prompt = vec![self.model.vocab().bos().0.max(0) as u32];
        self.add(0, prompt, None);
        let plan = |release, run| WirePlan { release, recompute: vec![], run };
        let tried = self.step(&plan(vec![], vec![(0, 1)]))?;
        self.step(&plan(vec![0], vec![]))?;
        tried
            .vectors
            .first()
            .map(|(_, vector)| vector.len() as u32)
            .ok_or("no vector was computed".to_owned())
    }

    fn add(&mut self, sequence: u64, prompt: Vec<u32>, sampling: Option<&WireSampling>) {
        let sampler = sampling.map(|sampling| Sampler::new(sampling, self.model.n_vocab(), &prompt));
        let tokens = prompt.into_iter().map(|token| LlamaToken::new(token as i32)).collect();
        self.sequences.insert(sequence, Sequence { tokens, filled: 0, slot: None, sampler });
    }

    fn step(&mut self, plan: &WirePlan) -> Result<WireOutcome, String> {
        let start = Instant::now();
        for sequence in &plan.release {
            if let Some(gone) = self.sequences.remove(sequence) {
                self.free(gone.slot)?;
            }
        }
        for sequence in &plan.recompute {
            let sequence = self.sequences.get_mut(sequence).ok_or("preemption of an unknown sequence")?;
            sequence.filled = 0;
            let slot = sequence.slot.take();
            self.free(slot)?;
        }
        self.batch.clear();
        let mut ends = Vec::new();
        for &(id, tokens) in &plan.run {
            if self.fill(id, tokens as usize)? {
                ends.push((id, self.batch.n_tokens() - 1));
            }
        }
        if self.batch.n_tokens() > 0 {
            self.context.decode(&mut self.batch).map_err(|error| error.to_string())?;
        }
        let mut outcome = WireOutcome::default();
        for (id, place) in ends {
            self.harvest(id, place, &mut outcome)?;
        }
        outcome.took_ns = start.elapsed().as_nanos() as u64;
        Ok(outcome)
    }

    /// Puts the next tokens of a sequence into the batch. True when they reach its end.
    fn fill(&mut self, id: u64, count: usize) -> Result<bool, String> {
        let sequence = self.sequences.get_mut(&id).ok_or("a slice of an unknown sequence")?;
        let slot = match sequence.slot {
            Some(slot) => slot,
            None => self.free_slots.pop().ok_or("more sequences than places")?,
        };
        sequence.slot = Some(slot);
        let end = sequence.filled + count;
        let tokens = sequence.tokens.get(sequence.filled..end).ok_or("a slice past the end of a sequence")?;
        let whole = end == sequence.tokens.len();
        if sequence.sampler.is_none() && count != sequence.tokens.len() {
            return Err("a piece of what has to be read whole".to_owned());
        }
        for (i, &token) in tokens.iter().enumerate() {
            let last = i + 1 == count;
            let place = (sequence.filled + i) as i32;
            let output = sequence.sampler.is_none() || (last && whole);
            self.batch.add(token, place, &[slot], output).map_err(|error| error.to_string())?;
        }
        sequence.filled = end;
        Ok(whole)
    }

    /// Takes what was computed for a sequence whose last token is at this place of the batch: its next token, drawn,
    /// or its vector.
    fn harvest(&mut self, id: u64, place: i32, outcome: &mut WireOutcome) -> Result<(), String> {
        let Some(sequence) = self.sequences.get_mut(&id) else { return Ok(()) };
        let Some(sampler) = &mut sequence.sampler else {
            let slot = sequence.slot.ok_or("a sequence without a place")?;
            let numbers = self.context.embeddings_seq_ith(slot).map_err(|error| error.to_string())?;
            outcome.vectors.push((id, vector(numbers, self.purpose)));
            return Ok(());
        };
        let token = sampler.draw(&self.context, place);
        sequence.tokens.push(token);
        outcome.produced.push((id, token.0 as u32));
        if self.model.vocab().is_eog(token) {
            outcome.finished.push(id);
        }
        Ok(())
    }

    fn free(&mut self, slot: Option<i32>) -> Result<(), String> {
        let Some(slot) = slot else { return Ok(()) };
        self.context.clear_kv_cache_seq(Some(slot as u32), None, None).map_err(|error| error.to_string())?;
        self.free_slots.push(slot);
        Ok(())
    }
}

/// Embeddings have length 1, so that their product is their cosine. A score is the model's own, as it comes: most
/// models give a logit, which llama-server does not change either.
fn vector(numbers: &[f32], purpose: Purpose) -> Vec<f32> {
    if purpose == Purpose::Rank {
        return numbers.iter().copied().take(1).collect();
    }
    let length = numbers.iter().map(|number| number * number).sum::<f32>().sqrt();
    let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
    numbers.iter().map(|number| number * scale).collect()
}
