use serde::{Deserialize, Serialize};

use super::root::Root;

/// Which machine it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Name in the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// As `Debian GNU/Linux 12 (bookworm)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// As `6.1.0-18-amd64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// As `x86_64` or `aarch64`.
    pub architecture: String,
}

impl Machine {
    pub(super) fn read(root: &Root) -> Self {
        let os_release = root.text("/etc/os-release").or_else(|_| root.text("/usr/lib/os-release"));
        Self {
            hostname: root.words("/proc/sys/kernel/hostname"),
            os: os_release.ok().and_then(|text| pretty_name(&text)),
            kernel: root.words("/proc/sys/kernel/osrelease"),
            // Kernels before 6.1 have no such file; then it is what we were built for.
            architecture: root
                .words("/proc/sys/kernel/arch")
                .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        }
    }
}

/// `PRETTY_NAME` of os-release(5).
fn pretty_name(os_release: &str) -> Option<String> {
    let name = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    let name = name.trim().trim_matches(['"', '\'']);
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_system() {
        let cases = [
            (
                "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
                Some("Debian GNU/Linux 12 (bookworm)"),
            ),
            ("PRETTY_NAME=Alpine\n", Some("Alpine")),
            ("PRETTY_NAME=\"\"\n", None),
            ("", None),
        ];
        for (text, name) in cases {
            assert_eq!(pretty_name(text).as_deref(), name, "{text:?}");
        }
    }
}
