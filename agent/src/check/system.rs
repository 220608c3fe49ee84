//! The kernel, and what this process may do.

use std::fs;

use rustix::process::{Resource, getrlimit};

use super::Item;

/// The oldest kernel on which the programs load: ring buffers, socket storage and capability
/// BPF are all in it, and it is the oldest long-term one with all of them.
const OLDEST_KERNEL: (u32, u32) = (5, 10);

/// The kernel's version. Its features are asked for one by one elsewhere.
pub(super) fn kernel() -> Item {
    match fs::read_to_string("/proc/sys/kernel/osrelease") {
        Ok(release) => judge_release(release.trim()),
        Err(error) => Item::warning(
            "kernel",
            format!("its version cannot be read: {error}"),
            "mount /proc",
        ),
    }
}

/// Major and minor number.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '-', '+']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn judge_release(release: &str) -> Item {
    let Some(version) = version(release) else {
        return Item::warning(
            "kernel",
            format!("{release} is no version that can be compared"),
            "rely on the features below",
        );
    };
    let (oldest_major, oldest_minor) = OLDEST_KERNEL;
    match version >= OLDEST_KERNEL {
        true => Item::ok("kernel", release),
        false => Item::failure(
            "kernel",
            format!("expected {oldest_major}.{oldest_minor} or later, got {release}"),
            "run a newer kernel on this node",
        ),
    }
}

/// The first kernel that charges BPF memory to the cgroup instead of the limit on locked memory.
const FREE_OF_MEMORY_LOCK: (u32, u32) = (5, 11);

/// Maps beside the ring of streams.
const OTHER_MAPS_BYTES: u64 = 32 << 20;

/// The limit on locked memory, where the kernel charges maps to it.
pub(super) fn memory_lock(ring_bytes: u64) -> Option<Item> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let limit = getrlimit(Resource::Memlock);
    let may_raise = effective_capabilities()? >> SYS_RESOURCE & 1 == 1;
    judge_memory_lock(
        &release,
        (limit.current, limit.maximum),
        may_raise,
        ring_bytes,
    )
}

/// `limits`: the soft and the hard one; none: no limit.
fn judge_memory_lock(
    release: &str,
    limits: (Option<u64>, Option<u64>),
    may_raise: bool,
    ring_bytes: u64,
) -> Option<Item> {
    const NAME: &str = "locked memory";
    if version(release.trim())? >= FREE_OF_MEMORY_LOCK {
        return None;
    }
    let needed = ring_bytes + OTHER_MAPS_BYTES;
    Some(match limits {
        (None, _) | (_, None) => Item::ok(NAME, "no limit"),
        _ if may_raise => Item::ok(NAME, "the agent raises the limit itself"),
        (Some(soft), _) if soft >= needed => Item::ok(NAME, format!("limited to {soft} bytes")),
        (Some(soft), _) => Item::failure(
            NAME,
            format!(
                "limited to {soft} bytes: this kernel charges BPF maps to it, which need {needed}"
            ),
            "set LimitMEMLOCK=infinity in the unit (`ulimit -l unlimited`), add SYS_RESOURCE to \
             the container's capabilities, or run a kernel of 5.11 or later",
        ),
    })
}

/// A capability: its bit (linux/capability.h), its name without `CAP_`, and what needs it.
const NEEDED: [(u32, &str, &str); 3] = [
    (39, "BPF", "to load the programs and their maps"),
    (38, "PERFMON", "for direct access to packet headers"),
    (12, "NET_ADMIN", "to attach the programs to cgroups"),
];

const SYS_ADMIN: u32 = 21;
const SYS_RESOURCE: u32 = 24;

/// What the calling thread may do, each capability a line.
pub(super) fn capabilities() -> Vec<Item> {
    match effective_capabilities() {
        Some(effective) => judge_capabilities(effective),
        None => vec![Item::warning(
            "capabilities",
            "those of this thread cannot be read",
            "mount /proc",
        )],
    }
}

fn effective_capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/thread-self/status").ok()?;
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

fn judge_capabilities(effective: u64) -> Vec<Item> {
    let has = |bit: u32| effective >> bit & 1 == 1;
    let judge = |(bit, name, purpose): (u32, &str, &str)| {
        let item = format!("capability CAP_{name}");
        // What CAP_BPF and CAP_PERFMON were split off from still implies them.
        let is_implied = name != "NET_ADMIN" && has(SYS_ADMIN);
        match (has(bit), is_implied) {
            (true, _) => Item::ok(item, purpose),
            (false, true) => Item::ok(item, format!("{purpose}; implied by CAP_SYS_ADMIN")),
            (false, false) => Item::failure(
                item,
                format!("missing; needed {purpose}"),
                format!(
                    "add {name} to securityContext.capabilities.add of the container, or \
                     AmbientCapabilities=CAP_{name} to the unit; root has it"
                ),
            ),
        }
    };
    NEEDED.into_iter().map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::State, capabilities, effective_capabilities, judge_capabilities, judge_memory_lock,
        judge_release, kernel,
    };

    #[test]
    fn locked_memory_matters_on_old_kernels() {
        const RING: u64 = 16 << 20;
        let judge = |release, limits, may_raise| {
            judge_memory_lock(release, limits, may_raise, RING).map(|item| item.state)
        };
        let low = (Some(64 << 10), Some(64 << 10));
        assert_eq!(judge("6.1.0", low, false), None);
        assert_eq!(judge("5.11.0-1", low, false), None);
        assert_eq!(judge("5.10.0-32-amd64\n", low, false), Some(State::Failure));
        assert_eq!(judge("5.10.0", low, true), Some(State::Ok));
        assert_eq!(
            judge("5.10.0", (Some(64 << 10), None), false),
            Some(State::Ok)
        );
        assert_eq!(
            judge("5.10.0", (Some(1 << 30), Some(1 << 30)), false),
            Some(State::Ok)
        );
    }

    #[test]
    fn releases() {
        for (release, state) in [
            ("5.10.0-32-cloud-amd64", State::Ok),
            ("6.18.44-x", State::Ok),
            ("7.0", State::Ok),
            ("5.9.16", State::Failure),
            ("4.18.0-553.el8", State::Failure),
            ("5.4-custom", State::Failure),
            ("next", State::Warning),
            ("", State::Warning),
        ] {
            assert_eq!(judge_release(release).state, state, "{release}");
        }
        assert_eq!(kernel().state, State::Ok);
    }

    #[test]
    fn each_missing_capability_is_named() {
        let states = |effective| {
            judge_capabilities(effective)
                .into_iter()
                .map(|item| item.state)
        };
        assert!(states(1 << 39 | 1 << 38 | 1 << 12).eq([State::Ok; 3]));
        assert!(states(1 << 21 | 1 << 12).eq([State::Ok; 3]));
        assert!(states(1 << 38 | 1 << 12).eq([State::Failure, State::Ok, State::Ok]));
        assert!(states(1 << 21).eq([State::Ok, State::Ok, State::Failure]));
        let missing = judge_capabilities(0);
        assert_eq!(missing[1].name, "capability CAP_PERFMON");
        assert!(missing[1].mend.as_ref().unwrap().contains("add PERFMON to"));
        assert!(effective_capabilities().is_some() && capabilities().len() == 3);
    }
}
