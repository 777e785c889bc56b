use std::{fs, io};

/// Bytes of memory that a process really has: its proportional set size, in which pages that it shares with others
/// count by its share. Blocks for about a millisecond per gigabyte.
pub(crate) fn resident(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    proportional_set(&text).ok_or_else(|| io::Error::other("the kernel's figures have no `Pss`"))
}

fn proportional_set(smaps_rollup: &str) -> Option<u64> {
    let kib = smaps_rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    kib.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_figures_are_read() {
        let text =
            "55d0-7ffd ---p 00000000 00:00 0  [rollup]\nRss:  900 kB\nPss:    512 kB\nPss_Dirty: 3 kB\n";
        assert_eq!(proportional_set(text), Some(512 * 1024));
        for broken in
            ["", "Pss: many kB", "Pss: 5", "Pss: 99999999999999999999 kB", "Pss: 18446744073709551615 kB"]
        {
            assert_eq!(proportional_set(broken), None, "{broken}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory() {
        assert!(resident(std::process::id()).unwrap() > 1 << 20);
        assert!(resident(u32::MAX).is_err());
    }
}
