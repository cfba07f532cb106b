//! Memory: how much of it this process may use, by the machine or by its control group.

use std::{fs, path::Path};

/// The least that bounds the memory of this process, in bytes. `None`: nobody says.
pub fn memory_bytes_max() -> Option<u64> {
    bound(|path| fs::read_to_string(Path::new(path)).ok())
}

/// The same, from what these files say: control groups of both versions as a container sees them, and the machine.
fn bound(read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let of_group = |path| read(path)?.trim().parse().ok();
    let of_machine = || kibibytes(&read("/proc/meminfo")?, "MemTotal:")?.checked_mul(1024);
    [
        // "max" where there is none.
        of_group("/sys/fs/cgroup/memory.max"),
        // A number near the largest one where there is none.
        of_group("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        of_machine(),
    ]
    .into_iter()
    .flatten()
    .min()
}

fn kibibytes(meminfo: &str, name: &str) -> Option<u64> {
    let mut lines = meminfo.lines();
    let value = lines.find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_bound_counts_and_an_absent_one_says_nothing() {
        const MEMINFO: &str = "MemTotal:        2048 kB\nMemFree:          10 kB\n";
        let (v2, v1, machine) = (
            "/sys/fs/cgroup/memory.max",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/proc/meminfo",
        );
        for (name, files, want) in [
            ("nothing is told", &[][..], None),
            ("the machine", &[(machine, MEMINFO)], Some(2_097_152)),
            (
                "no bound of the group",
                &[(v2, "max\n"), (machine, MEMINFO)],
                Some(2_097_152),
            ),
            (
                "the group's bound",
                &[(v2, "1000\n"), (machine, MEMINFO)],
                Some(1_000),
            ),
            (
                "the older group's",
                &[(v1, "2000\n"), (machine, MEMINFO)],
                Some(2_000),
            ),
            (
                "more than the machine has",
                &[(v1, "9223372036854771712\n"), (machine, MEMINFO)],
                Some(2_097_152),
            ),
            (
                "nonsense",
                &[(v2, "lots"), (machine, "MemTotal: lots kB")],
                None,
            ),
        ] {
            let read = |path: &str| {
                let found = files.iter().find(|(file, _)| *file == path);
                found.map(|(_, text)| (*text).to_owned())
            };
            assert_eq!(bound(read), want, "{name}");
        }
    }
}
