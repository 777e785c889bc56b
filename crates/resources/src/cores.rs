//! Who gets which cores. Worker threads never exceed the cores granted: two spinning threads on one core were
//! measured 24 times slower than one.

use crate::{ModelSpec, ResourcesError, Source};

/// The cores that this process may use, by its affinity mask.
pub fn available_cores() -> Vec<usize> {
    #[cfg(target_os = "linux")]
    if let Ok(set) = rustix::thread::sched_getaffinity(None) {
        return (0..rustix::thread::CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect();
    }
    (0..std::thread::available_parallelism().map_or(1, usize::from)).collect()
}

/// Cores for each model, in order. No core is given twice. Models that say how many threads they want get them;
/// the others share what is left evenly, at least one each.
pub(crate) fn grant(specs: &[ModelSpec], cores: &[usize]) -> Result<Vec<Vec<usize>>, ResourcesError> {
    let needs = |spec: &&ModelSpec| matches!(spec.source, Source::File { .. });
    let asked: usize = specs.iter().filter(needs).filter_map(|spec| spec.threads).sum();
    let mut open = specs.iter().filter(needs).filter(|spec| spec.threads.is_none()).count();
    let mut shared = cores.len().saturating_sub(asked);
    let mut left = cores;
    let mut granted = Vec::with_capacity(specs.len());
    for spec in specs {
        if !needs(&spec) {
            granted.push(Vec::new());
            continue;
        }
        let count = spec.threads.unwrap_or_else(|| {
            let share = (shared / open.max(1)).max(1);
            shared = shared.saturating_sub(share);
            open -= 1;
            share
        });
        if count > left.len() {
            return Err(ResourcesError::NotEnoughCores {
                model: spec.name.clone(),
                asked: count,
                left: left.len(),
                cores: cores.len(),
            });
        }
        let (mine, rest) = left.split_at(count);
        granted.push(mine.to_vec());
        left = rest;
    }
    Ok(granted)
}

#[cfg(test)]
mod tests {
    use super::*;
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
        }
    }

    #[test]
    fn cores_are_granted_once() {
        let cases: &[(&[Option<usize>], &[usize], Option<&[&[usize]]>)] = &[
            (&[None], &[0, 1], Some(&[&[0, 1]])),
            (&[Some(1), None], &[0, 1], Some(&[&[0], &[1]])),
            (&[None, None], &[2, 3, 5], Some(&[&[2], &[3, 5]])),
            (&[Some(3)], &[0, 1], None),
            (&[None, None], &[0], None),
            (&[None, Some(2)], &[0, 1], None),
        ];
        for (threads, cores, want) in cases {
            let specs: Vec<_> = threads.iter().map(|&threads| spec(threads)).collect();
            let granted = grant(&specs, cores).ok();
            let want = want.map(|want| want.iter().map(|cores| cores.to_vec()).collect::<Vec<_>>());
            assert_eq!(granted, want, "{threads:?} on {cores:?}");
        }
    }
}
