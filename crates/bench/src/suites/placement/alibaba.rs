//! Alibaba's GPU cluster (`openb`): its nodes, and the pods that ran on them.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, ensure};
use planner::{
    Random,
    placement::{Device, Machine, Model, Numa, Problem, Replica, WHOLE_MILLI, Within},
};

/// Pods are drawn until they ask for so many tenths of the devices there are, as the paper of FGD does.
const ASKED_TENTHS: i64 = 13;
/// A pod without devices is worth as much as a tenth of one.
const WORTH_WITHOUT: i64 = 100;

/// Nodes and pods.
pub(super) struct Cluster {
    machines: Vec<Machine>,
    /// What pods ask for, each once.
    models: Vec<Model>,
    /// The model of each pod.
    pods: Vec<u32>,
}

impl Cluster {
    pub(super) fn read(nodes: &Path, pods: &Path) -> Result<Self> {
        let mut kinds: BTreeMap<String, u8> = BTreeMap::new();
        let machines: Result<Vec<Machine>> =
            rows(nodes, 5)?.iter().map(|row| machine(row, &mut kinds)).collect();
        let (mut models, mut list) = (Vec::new(), Vec::new());
        let mut known: BTreeMap<Vec<String>, u32> = BTreeMap::new();
        for row in rows(pods, 6)? {
            let next = models.len() as u32;
            let number = *known.entry(row[1..6].to_vec()).or_insert(next);
            if number == next {
                models.push(model(&row, &kinds)?);
            }
            list.push(number);
        }
        ensure!(list.iter().any(|pod| shares(&models[*pod as usize]) > 0), "no pod asks for a device");
        Ok(Self { machines: machines?, models, pods: list })
    }

    /// Draws pods with replacement.
    pub(super) fn problem(&self, random: &mut Random) -> Result<Problem> {
        let enough = all_shares(&self.machines) * ASKED_TENTHS / 10;
        let (mut replicas, mut asked) = (Vec::new(), 0);
        while asked < enough {
            let model = self.pods[random.below(self.pods.len() as u32) as usize];
            let shares = shares(&self.models[model as usize]);
            asked += shares;
            let value = if shares > 0 { shares } else { WORTH_WITHOUT };
            replicas.push(Replica { model, value, now: None, move_cost: 0 });
        }
        Ok(Problem::new(self.machines.clone(), self.models.clone(), replicas)?)
    }
}

/// Thousandths of devices that a replica of the model takes.
pub(super) fn shares(model: &Model) -> i64 {
    i64::from(model.devices) * model.share_milli
}

/// Thousandths of devices that there are.
pub(super) fn all_shares(machines: &[Machine]) -> i64 {
    machines.iter().map(|machine| machine.devices.len() as i64 * WHOLE_MILLI).sum()
}

fn machine(row: &[String], kinds: &mut BTreeMap<String, u8>) -> Result<Machine> {
    let next = kinds.len() as u8;
    let kind = *kinds.entry(row[4].clone()).or_insert(next);
    let device = Device { kind, memory: 0, numa: 0, island: 0 };
    let numa = vec![Numa { cores_milli: row[1].parse()?, memory: row[2].parse()? }];
    Ok(Machine { numa, devices: vec![device; row[3].parse()?], zone: 0 })
}

fn model(row: &[String], kinds: &BTreeMap<String, u8>) -> Result<Model> {
    let named = row[5].split('|').filter_map(|kind| kinds.get(kind)).fold(0, |set, kind| set | 1 << kind);
    Ok(Model {
        cores_milli: row[1].parse()?,
        memory: row[2].parse()?,
        devices: row[3].parse()?,
        share_milli: row[4].parse()?,
        device_memory: 0,
        kinds: if row[5].is_empty() { u64::MAX } else { named },
        within: Within::Machine,
        per_machine_max: u32::MAX,
        per_zone_max: u32::MAX,
        resident_on: Vec::new(),
        load_cost: 0,
        across_cost: 0,
    })
}

/// The cells of a table below its head, at least so many in a row.
fn rows(table: &Path, least: usize) -> Result<Vec<Vec<String>>> {
    let text = fs::read_to_string(table).with_context(|| format!("cannot read {}", table.display()))?;
    let rows = text.lines().skip(1).enumerate().map(|(index, line)| {
        let row: Vec<String> = line.split(',').map(str::to_owned).collect();
        ensure!(row.len() >= least, "line {} of {} has too few cells", index + 2, table.display());
        Ok(row)
    });
    rows.collect()
}
