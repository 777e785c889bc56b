//! Feed-forward networks of which a part runs for each token.

use serde::Serialize;

use super::{DIMENSION_MAX, EXPERTS_MAX, keys::Keys};
use crate::ModelFileError;

/// Mixture of experts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Experts {
    /// How many a layer has.
    pub count: u32,
    /// How many of them run for a token, in each layer.
    pub used: Vec<u32>,
    /// How many run for every token.
    pub shared: u32,
    /// The inner length of one, in each layer; 0 where the file does not say.
    pub feed_forward: Vec<u32>,
}

/// The rules that llama.cpp asserts (`llama_model_base::load_hparams`, b10200).
pub(super) fn experts(keys: &Keys<'_>, layers: u32) -> Result<Option<Experts>, ModelFileError> {
    const COUNT: &str = "expert_count";
    const USED: &str = "expert_used_count";
    const GROUPS: &str = "expert_group_count";
    const GROUPS_USED: &str = "expert_group_used_count";
    let mut count = keys.number(COUNT, EXPERTS_MAX)?.unwrap_or(0);
    let mut used = keys.per_layer(USED, layers, EXPERTS_MAX)?.unwrap_or_else(|| vec![0; layers as usize]);
    if count <= 1 && ["hunyuan_vl", "hunyuan-dense"].contains(&keys.architecture) {
        count = 0;
        used.fill(0);
    }
    let most = used.iter().copied().max().unwrap_or(0);
    let groups = keys.number(GROUPS, EXPERTS_MAX)?.unwrap_or(0);
    let groups_used = keys.number(GROUPS_USED, EXPERTS_MAX)?.unwrap_or(0);
    if most > count || (count > 0 && most == 0) {
        return Err(keys.refuse(USED, format!("is {most} of {count} experts")));
    }
    if groups > 0 && (groups >= count || (groups > 1 && !count.is_multiple_of(groups))) {
        return Err(keys
            .refuse(GROUPS, format!("is {groups}, and must be a divisor of {count} experts, and not all")));
    }
    if groups > 1 && !(1..groups).contains(&groups_used) {
        return Err(keys.refuse(
            GROUPS_USED,
            format!("is {groups_used}, and must be 1 to {} of {groups} groups", groups - 1),
        ));
    }
    if count == 0 {
        return Ok(None);
    }
    let feed_forward = keys.per_layer("expert_feed_forward_length", layers, DIMENSION_MAX)?;
    Ok(Some(Experts {
        count,
        used,
        shared: keys.number("expert_shared_count", EXPERTS_MAX)?.unwrap_or(0),
        feed_forward: feed_forward.unwrap_or_else(|| vec![0; layers as usize]),
    }))
}
