//! The scheduler under whole traces, in virtual time. Every case is drawn from a seed, so it can be repeated.

use std::time::Duration;

use scheduler::{Limits, Load, Scheduler};
use simulator::replay::{End, StepTime, Visit, replay};
use types::{Instant, Tokens};

const LIMITS: Limits = Limits {
    kv: Tokens(2048),
    sequence_max: Tokens(1024),
    step: Tokens(128),
    running_max: 8,
    waiting_max: 10_000,
};

/// Visits with prompts of up to 600 and answers of up to 400 tokens, about every 50 ms.
fn trace(seed: u64, count: usize) -> Vec<Visit> {
    let mut state = seed;
    let mut draw = move |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut at = Instant::default();
    (0..count)
        .map(|_| {
            at = at + Duration::from_millis(draw(100));
            Visit { at, prompt: Tokens(1 + draw(600) as u32), answer: Tokens(1 + draw(400) as u32) }
        })
        .collect()
}

fn run(limits: Limits, visits: &[Visit]) -> (Vec<Option<End>>, Load) {
    let mut scheduler = Scheduler::new(limits);
    let ends = replay(&mut scheduler, visits, StepTime::default());
    (ends, scheduler.load())
}

#[test]
fn everything_admitted_finishes_whole_and_leaves_nothing_behind() {
    for seed in 0..20 {
        let visits = trace(seed, 200);
        let (ends, load) = run(LIMITS, &visits);
        for (visit, end) in visits.iter().zip(ends) {
            let end = end.expect("nothing is refused here");
            assert_eq!(end.generated, visit.answer);
            assert!(end.first_token > visit.at && end.finished >= end.first_token);
        }
        assert_eq!((load.running, load.waiting, load.kv_used), (0, 0, Tokens(0)), "seed {seed}");
        assert!(load.preemptions > 0, "seed {seed} does not try preemption");
    }
}

#[test]
fn the_same_trace_gives_the_same_run() {
    let visits = trace(7, 300);
    assert_eq!(run(LIMITS, &visits).0, run(LIMITS, &visits).0);
}

#[test]
fn first_come_is_first_served() {
    // With memory for all there is no preemption, and first tokens come in the order of arrival unless a
    // shorter prompt is read beside a longer one: so all prompts are equally long.
    let limits = Limits { kv: Tokens(1_000_000), ..LIMITS };
    let mut visits = trace(3, 200);
    for visit in &mut visits {
        visit.prompt = Tokens(300);
    }
    let (ends, load) = run(limits, &visits);
    assert_eq!(load.preemptions, 0);
    let first_tokens: Vec<_> = ends.into_iter().map(|end| end.unwrap().first_token).collect();
    assert!(first_tokens.is_sorted());
}

#[test]
fn a_running_answer_is_not_held_up_by_a_long_prompt() {
    let at = Instant::default();
    let later = at + Duration::from_secs(1);
    let visits = [
        Visit { at, prompt: Tokens(10), answer: Tokens(400) },
        Visit { at: later, prompt: Tokens(1000), answer: Tokens(1) },
    ];
    let (ends, _) = run(LIMITS, &visits);
    // The prompt of 1,000 tokens is read in 8 steps, and every one of them carries a token of the answer.
    let alone = run(LIMITS, &visits[..1]).0[0].unwrap().finished;
    let held_up = ends[0].unwrap().finished.since(alone);
    let prompt_alone = StepTime::default().per_token * 1000;
    assert!(held_up <= prompt_alone, "{held_up:?}");
}

#[test]
fn a_full_queue_refuses_and_a_cancelled_sequence_frees_its_place() {
    use scheduler::{Admission, Arrival, RefusalReason};
    use types::{PriorityClass, SequenceId, TenantId};
    let mut scheduler = Scheduler::new(Limits { waiting_max: 2, running_max: 1, ..LIMITS });
    let now = Instant::default();
    let arrive = |scheduler: &mut Scheduler, id| {
        let (tenant, class) = (TenantId(0), PriorityClass::Normal);
        let sequence = SequenceId(id);
        scheduler
            .arrive(now, Arrival { sequence, tenant, class, prompt: [1, 2].into(), tokens_max: Tokens(5) })
    };
    for id in 0..3 {
        assert!(matches!(arrive(&mut scheduler, id), Admission::Accepted { .. }));
        scheduler.plan();
        scheduler.apply(&scheduler::StepOutcome::default());
    }
    let refused = arrive(&mut scheduler, 3);
    assert!(matches!(refused, Admission::Refused { why: RefusalReason::QueueFull, .. }), "{refused:?}");
    assert_eq!(
        scheduler.explain(SequenceId(2)),
        ["is number 2 of 2 waiting", "1 sequences run, which is the most"]
    );
    scheduler.cancel(SequenceId(0));
    assert_eq!(scheduler.plan().release, [SequenceId(0)]);
    assert!(matches!(arrive(&mut scheduler, 4), Admission::Accepted { .. }));
    scheduler.cancel(SequenceId(99));
}

/// Sequences of `tokens_max` 0: `(id, prompt)`, all there from the start.
fn arrive_whole(scheduler: &mut Scheduler, id: u64, prompt: u32, tokens_max: u32) {
    use scheduler::{Admission, Arrival};
    use types::{PriorityClass, SequenceId, TenantId};
    let arrival = Arrival {
        sequence: SequenceId(id),
        tenant: TenantId(0),
        class: PriorityClass::Normal,
        prompt: vec![0; prompt as usize].into(),
        tokens_max: Tokens(tokens_max),
    };
    assert!(matches!(scheduler.arrive(Instant::default(), arrival), Admission::Accepted { .. }));
}

/// Steps until nothing waits. Of each step: the sequences that it reads, and their tokens.
fn steps(scheduler: &mut Scheduler) -> Vec<Vec<(u64, u32)>> {
    use scheduler::StepOutcome;
    let mut steps = Vec::new();
    while scheduler.load().waiting + scheduler.load().running > 0 {
        let plan = scheduler.plan();
        assert!(plan.tokens() <= LIMITS.step && plan.tokens() > Tokens(0), "{plan:?}");
        let mut outcome = StepOutcome::default();
        for slice in plan.run.iter().filter(|slice| scheduler.at_its_end(slice.sequence)) {
            // Ids below 100 generate nothing; the others generate for ever.
            match slice.sequence.0 {
                0..100 => outcome.finished.push(slice.sequence),
                _ => outcome.produced.push((slice.sequence, 0)),
            }
        }
        scheduler.apply(&outcome);
        steps.push(plan.run.iter().map(|slice| (slice.sequence.0, slice.tokens.0)).collect());
        assert!(steps.len() < 1000, "something starves");
    }
    steps
}

#[test]
fn prompts_of_which_nothing_is_generated_are_read_whole_and_in_order() {
    // Prompts in order of arrival, and the steps that read them; a step holds 128 tokens and 8 sequences.
    let cases: &[(&[u32], &[&[u64]])] = &[
        (&[128], &[&[0]]),
        (&[64, 64, 1], &[&[0, 1], &[2]]),
        (&[100, 100, 28, 28], &[&[0], &[1, 2], &[3]]),
        // The third would fit into the first step, but nothing overtakes the second.
        (&[100, 50, 10], &[&[0], &[1, 2]]),
        (&[1; 10], &[&[0, 1, 2, 3, 4, 5, 6, 7], &[8, 9]]),
    ];
    for (prompts, want) in cases {
        // All memory may be used: nothing needs room for a next token.
        let mut scheduler = Scheduler::new(Limits { kv: Tokens(128), sequence_max: Tokens(128), ..LIMITS });
        for (id, &prompt) in prompts.iter().enumerate() {
            arrive_whole(&mut scheduler, id as u64, prompt, 0);
        }
        let steps = steps(&mut scheduler);
        let ids: Vec<Vec<u64>> = steps.iter().map(|step| step.iter().map(|&(id, _)| id).collect()).collect();
        assert_eq!(ids, *want, "{prompts:?}");
        let whole = |&(id, tokens): &(u64, u32)| tokens == prompts[id as usize];
        assert!(steps.iter().flatten().all(whole), "{steps:?}");
        assert_eq!((scheduler.load().kv_used, scheduler.load().preemptions), (Tokens(0), 0));
    }
}

#[test]
fn a_prompt_that_is_read_whole_is_not_starved_by_answers_that_run() {
    use types::SequenceId;
    let mut scheduler = Scheduler::new(LIMITS);
    // Two answers take two tokens of every step, so one as long as a step waits; a third comes behind it.
    for id in [100, 101] {
        arrive_whole(&mut scheduler, id, 1, 500);
    }
    scheduler.plan();
    scheduler.apply(&scheduler::StepOutcome {
        produced: vec![(SequenceId(100), 0), (SequenceId(101), 0)],
        ..scheduler::StepOutcome::default()
    });
    arrive_whole(&mut scheduler, 0, 128, 0);
    arrive_whole(&mut scheduler, 102, 1, 500);
    let first = scheduler.plan();
    let read: Vec<_> = first.run.iter().map(|slice| slice.sequence.0).collect();
    assert_eq!(read, [100, 101], "neither in pieces, nor overtaken");
    assert_eq!(scheduler.explain(SequenceId(0)), ["is number 1 of 2 waiting"]);
    scheduler.apply(&scheduler::StepOutcome {
        finished: vec![SequenceId(100), SequenceId(101)],
        ..scheduler::StepOutcome::default()
    });
    let second = scheduler.plan();
    assert_eq!(second.run.len(), 1);
    assert_eq!((second.run[0].sequence, second.run[0].tokens), (SequenceId(0), Tokens(128)));
    assert_eq!(scheduler.explain(SequenceId(0)), ["runs; its prompt is read in one step"]);
}
