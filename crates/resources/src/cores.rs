//! Who gets which cores. A core computes for one model at a time: two spinning threads on one core were measured
//! 24 times slower than one.

use engine::Turns;

use crate::{ModelSpec, ResourcesError, Source, inventory};

/// The cores that compute threads may have: of those in the affinity mask and the control group's set as many as
/// the group's quota bears, which is at least one.
pub fn available_cores() -> Vec<usize> {
    match inventory::affinity() {
        Some(affinity) => inventory::granted_here(&affinity).compute_cores(),
        None => (0..std::thread::available_parallelism().map_or(1, usize::from)).collect(),
    }
}

/// The cores of one model, and when it may compute on them.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) cores: Vec<usize>,
    pub(crate) turns: Turns,
}

/// Cores for each model, in order. Models that say how many threads they want get cores of their own; the others
/// share all that are left, and take turns on them.
pub(crate) fn grant(specs: &[ModelSpec], cores: &[usize]) -> Result<Vec<Grant>, ResourcesError> {
    let computes = |spec: &ModelSpec| matches!(spec.source, Source::File { .. });
    let sharers = specs.iter().filter(|spec| computes(spec) && spec.threads.is_none()).count();
    let mut left = cores;
    let mut owned = Vec::with_capacity(specs.len());
    for spec in specs {
        let count = if computes(spec) { spec.threads.unwrap_or(0) } else { 0 };
        // Those that share need one at least.
        if count > left.len() || (count == left.len() && count > 0 && sharers > 0) {
            return Err(ResourcesError::NotEnoughCores {
                model: spec.name.clone(),
                asked: count,
                left: left.len() - usize::from(sharers > 0).min(left.len()),
                cores: cores.len(),
            });
        }
        let (mine, rest) = left.split_at(count);
        owned.push(mine.to_vec());
        left = rest;
    }
    let turns = if sharers > 1 { Turns::shared() } else { Turns::alone() };
    let grant = |(spec, cores): (&ModelSpec, Vec<usize>)| match spec.threads {
        None if computes(spec) => Grant { cores: left.to_vec(), turns: turns.clone() },
        _ => Grant { cores, turns: Turns::alone() },
    };
    Ok(specs.iter().zip(owned).map(grant).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GpuLayers, Stay};
    use types::Tokens;

    fn spec(threads: Option<usize>) -> ModelSpec {
        ModelSpec {
            name: "m".parse().unwrap(),
            aliases: vec![],
            source: Source::File { path: "m.gguf".into(), sha256: None },
            context: Tokens(1),
            parallel: 1,
            threads,
            memory_max: None,
            gpu_layers: GpuLayers::Auto,
            stay: Stay::default(),
        }
    }

    #[test]
    fn cores_are_owned_or_shared() {
        let cases: &[(&[Option<usize>], &[usize], Option<&[&[usize]]>)] = &[
            (&[None], &[0, 1], Some(&[&[0, 1]])),
            (&[Some(2)], &[0, 1], Some(&[&[0, 1]])),
            (&[Some(1), None], &[0, 1], Some(&[&[0], &[1]])),
            (&[None, None], &[2, 3, 5], Some(&[&[2, 3, 5], &[2, 3, 5]])),
            (&[None, Some(1), None], &[2, 3, 5], Some(&[&[3, 5], &[2], &[3, 5]])),
            (&[Some(3)], &[0, 1], None),
            (&[None, None], &[0], Some(&[&[0], &[0]])),
            (&[None, Some(2)], &[0, 1], None),
        ];
        for (threads, cores, want) in cases {
            let specs: Vec<_> = threads.iter().map(|&threads| spec(threads)).collect();
            let granted = grant(&specs, cores).ok();
            let granted = granted.map(|all| all.into_iter().map(|grant| grant.cores).collect::<Vec<_>>());
            let want = want.map(|want| want.iter().map(|cores| cores.to_vec()).collect::<Vec<_>>());
            assert_eq!(granted, want, "{threads:?} on {cores:?}");
        }
    }
}
