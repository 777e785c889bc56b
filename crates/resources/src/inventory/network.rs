use serde::{Deserialize, Serialize};

use super::root::Root;

/// Interfaces that are listed.
pub(super) const INTERFACES_MAX: usize = 1_024;

/// A network interface other than the loopback. Addresses are not shown: nothing is decided by them, and they
/// say more about a site than a report needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// As `eth0`.
    pub name: String,
    /// The kernel's word for it: `up`, `down`, `unknown` and others.
    pub state: String,
    /// Speed in Mbit/s, if the link says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed_mbits: Option<u64>,
    /// Whether hardware stands behind it; else it is a bridge, a tunnel or the like.
    pub hardware: bool,
}

impl Interface {
    pub(super) fn read_all(root: &Root) -> Vec<Self> {
        const FOLDER: &str = "/sys/class/net";
        let names = root.names(FOLDER).into_iter().filter(|name| name != "lo").take(INTERFACES_MAX);
        let interface = |name: String| Self {
            state: root.words(format!("{FOLDER}/{name}/operstate")).unwrap_or_else(|| "unknown".to_owned()),
            // A link that is down says -1, and a virtual one an error.
            speed_mbits: root.value(format!("{FOLDER}/{name}/speed")).filter(|&speed| speed > 0),
            hardware: root.exists(format!("{FOLDER}/{name}/device")),
            name,
        };
        // `bonding_masters` is a file between the interfaces.
        names.filter(|name| root.exists(format!("{FOLDER}/{name}/operstate"))).map(interface).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::root::tests::recorded, *};

    #[test]
    fn interfaces() {
        let (_folder, root) = recorded(&[
            ("/sys/class/net/lo/operstate", "unknown\n"),
            ("/sys/class/net/eth0/operstate", "up\n"),
            ("/sys/class/net/eth0/speed", "25000\n"),
            ("/sys/class/net/eth0/device/vendor", "0x15b3\n"),
            ("/sys/class/net/docker0/operstate", "down\n"),
            ("/sys/class/net/docker0/speed", "-1\n"),
            ("/sys/class/net/bonding_masters", ""),
        ]);
        let shown: Vec<_> = Interface::read_all(&root)
            .into_iter()
            .map(|interface| (interface.name, interface.state, interface.speed_mbits, interface.hardware))
            .collect();
        let expected = [("docker0", "down", None, false), ("eth0", "up", Some(25_000), true)];
        assert_eq!(
            shown,
            expected.map(|(name, state, speed, hardware)| (name.into(), state.into(), speed, hardware))
        );
    }
}
