//! What no schedule can beat.
//!
//! **Path.** `e(t, p)`, the earliest that task `t` can be finished on processor `p`: its cost there plus, over all tasks before it,
//! the latest of the earliest that their data can come from any processor. Each task before may choose its processor by itself, so
//! this is below the truth and above the critical path without delays. Likewise from the end.
//!
//! **Work.** For any weights `λ` of processors, `C·Σλ ≥ Σ_t min_p λ_p·c(t, p)`: the Lagrangian of the linear relaxation of
//! unrelated machines, `R|pmtn|Cmax` without its order constraints. The weights are improved by the multiplicative rule of Arora,
//! Hazan and Kale ("The Multiplicative Weights Update Method", Theory of Computing 8, 2012): a processor with more work than the
//! mean becomes dearer. Any weights give a bound, so rounding does no harm.
//!
//! **Windows.** Tasks that cannot start before `a` and have at least `b` to follow them have to be worked off in between: the bound is
//! `a + work(these) + b`, for some `a` and `b` out of all, the least among them: then it is the work of all tasks.

use super::{TaskGraph, graph::Choice};

/// Rounds in which the weights are improved.
const ROUNDS: i64 = 40;
/// The greatest weight, so that times `TICKS_MAX` it stays within 64 bits; sums need more.
const WEIGHT: i64 = 1 << 12;
/// Values of `a`, and of `b`, that are tried at most.
const WINDOWS_MAX: usize = 16;
/// Most steps over edges and pairs of processors; above it the paths are those without delays.
const PATH_STEPS_MAX: usize = 1 << 26;

/// No schedule has a smaller makespan.
pub fn lower_bound(graph: &TaskGraph) -> i64 {
    if graph.tasks() == 0 {
        return 0;
    }
    let ends = ends(graph);
    let path = (0..graph.tasks()).map(|task| ends.head[task] + ends.through[task] + ends.tail[task]).max();
    let weights = weights(graph);
    path.unwrap_or_default().max(windows(graph, &ends, &weights))
}

/// By task: the earliest start, the least cost where it can be, and the least that follows its end.
struct Ends {
    head: Vec<i64>,
    through: Vec<i64>,
    tail: Vec<i64>,
}

fn ends(graph: &TaskGraph) -> Ends {
    let processors = graph.processors();
    let with_delays = graph.edges().len().saturating_mul(processors * processors) <= PATH_STEPS_MAX;
    let mut starts = vec![0_i64; graph.tasks() * processors];
    let mut tails = starts.clone();
    // The least over all processors: what is used without delays.
    let mut soonest = vec![0_i64; graph.tasks()];
    let mut shortest = soonest.clone();
    let at = |task: u32, processor: u32| task as usize * processors + processor as usize;
    for task in graph.topological().iter().copied() {
        for choice in graph.choices(task) {
            let ready = graph.before(task).iter().map(|before| {
                if !with_delays {
                    return soonest[before.task as usize];
                }
                let comes = |from: &Choice| {
                    let delay = graph.delay(before.data, from.processor, choice.processor);
                    starts[at(before.task, from.processor)] + from.cost + delay
                };
                graph.choices(before.task).iter().map(comes).min().unwrap_or_default()
            });
            starts[at(task, choice.processor)] = ready.max().unwrap_or_default();
        }
        let finishes =
            graph.choices(task).iter().map(|choice| starts[at(task, choice.processor)] + choice.cost);
        soonest[task as usize] = finishes.min().unwrap_or_default();
    }
    for task in graph.topological().iter().rev().copied() {
        for choice in graph.choices(task) {
            let needs = graph.after(task).iter().map(|after| {
                if !with_delays {
                    return shortest[after.task as usize];
                }
                let goes = |to: &Choice| {
                    let delay = graph.delay(after.data, choice.processor, to.processor);
                    delay + to.cost + tails[at(after.task, to.processor)]
                };
                graph.choices(after.task).iter().map(goes).min().unwrap_or_default()
            });
            tails[at(task, choice.processor)] = needs.max().unwrap_or_default();
        }
        let rests = graph.choices(task).iter().map(|choice| choice.cost + tails[at(task, choice.processor)]);
        shortest[task as usize] = rests.min().unwrap_or_default();
    }
    let mut ends = Ends { head: Vec::new(), through: Vec::new(), tail: Vec::new() };
    for task in 0..graph.tasks() as u32 {
        let choices = graph.choices(task);
        let least = |of: &dyn Fn(&Choice) -> i64| choices.iter().map(of).min().unwrap_or_default();
        let head = least(&|choice| starts[at(task, choice.processor)]);
        let tail = least(&|choice| tails[at(task, choice.processor)]);
        let whole = least(&|choice| {
            starts[at(task, choice.processor)] + choice.cost + tails[at(task, choice.processor)]
        });
        ends.head.push(head);
        ends.tail.push(tail);
        ends.through.push(whole - head - tail);
    }
    ends
}

/// The processors' weights, from 1 to [`WEIGHT`].
fn weights(graph: &TaskGraph) -> Vec<i64> {
    let processors = graph.processors();
    let mut weights = vec![WEIGHT; processors];
    let (mut best, mut best_bound) = (weights.clone(), 0);
    let mut load = vec![0_i64; processors];
    for round in 0..ROUNDS {
        load.fill(0);
        let mut total: i128 = 0;
        for task in 0..graph.tasks() as u32 {
            if let Some(choice) = graph.choices(task).iter().min_by_key(|choice| price(choice, &weights)) {
                load[choice.processor as usize] += choice.cost;
                total += i128::from(price(choice, &weights));
            }
        }
        let bound = total / weights.iter().map(|weight| i128::from(*weight)).sum::<i128>().max(1);
        if bound > best_bound {
            (best, best_bound) = (weights.clone(), bound);
        }
        // By how far a load is from the mean, as a part of the greatest load; steps become smaller.
        let most = load.iter().max().copied().unwrap_or_default().max(1);
        let mean = load.iter().sum::<i64>() / processors as i64;
        let slower = 4 + round / 4;
        for (weight, load) in weights.iter_mut().zip(&load) {
            *weight += *weight * ((load - mean) * WEIGHT / most) / (slower * WEIGHT);
        }
        let greatest = weights.iter().max().copied().unwrap_or(WEIGHT).max(1);
        for weight in &mut weights {
            *weight = (*weight * WEIGHT / greatest).max(1);
        }
    }
    best
}

fn price(choice: &Choice, weights: &[i64]) -> i64 {
    choice.cost * weights[choice.processor as usize]
}

fn windows(graph: &TaskGraph, ends: &Ends, weights: &[i64]) -> i64 {
    let weight: i128 = weights.iter().map(|weight| i128::from(*weight)).sum::<i128>().max(1);
    let cheapest = |task: u32| {
        let prices = graph.choices(task).iter().map(|choice| price(choice, weights));
        i128::from(prices.min().unwrap_or_default())
    };
    let prices: Vec<i128> = (0..graph.tasks() as u32).map(cheapest).collect();
    let mut by_tail: Vec<usize> = (0..graph.tasks()).collect();
    by_tail.sort_by_key(|task| std::cmp::Reverse(ends.tail[*task]));
    let tails = sample(&ends.tail);
    let mut best = 0;
    for head in sample(&ends.head) {
        let mut inside = by_tail.iter().filter(|task| ends.head[**task] >= head).peekable();
        let mut work = 0;
        for tail in tails.iter().rev() {
            while let Some(task) = inside.next_if(|task| ends.tail[**task] >= *tail) {
                work += prices[*task];
            }
            // No task inside: nothing has to happen between.
            if work > 0 {
                best = best.max(head + ((work + weight - 1) / weight) as i64 + tail);
            }
        }
    }
    best
}

/// Some of the values, rising, the least among them.
fn sample(values: &[i64]) -> Vec<i64> {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.dedup();
    let step = values.len().div_ceil(WINDOWS_MAX).max(1);
    values.into_iter().step_by(step).collect()
}
