//! What a trial of the capture found.

use std::error::Error;

use super::Item;
use crate::capture::{FeatureStanding, ForeignEffect, LoadError, Probe};

/// The features of the kernel, and whether it takes the programs.
pub(super) fn programs(probe: &Probe) -> Vec<Item> {
    const NAME: &str = "programs";
    let mut items = features(probe);
    items.push(match &probe.programs {
        Ok(()) => Item::ok(NAME, "the kernel takes them"),
        Err(error) => failure(NAME.to_owned(), error, probe),
    });
    items
}

fn features(probe: &Probe) -> Vec<Item> {
    const OF_CAPABILITIES: &str = "grant the capabilities first; see their lines";
    if !probe.missing_capabilities.is_empty() {
        let missing = probe.missing_capabilities.join(", ");
        let message = format!("not asked: the kernel hides them from a process without {missing}");
        return vec![Item::failure("features", message, OF_CAPABILITIES)];
    }
    let judge = |feature: &crate::capture::Feature| {
        let name = format!("feature {}", feature.name);
        match &feature.standing {
            FeatureStanding::Present => Item::ok(name, feature.purpose),
            FeatureStanding::Absent(what) => Item::failure(
                name,
                format!("the kernel has no {what}, which {}", feature.purpose),
                "run a kernel of 5.10 or later with CONFIG_CGROUP_BPF and CONFIG_BPF_SYSCALL",
            ),
            // The programs are the proof.
            FeatureStanding::Unknown(why) => Item::warning(
                name,
                format!("the kernel would not say: {why}"),
                "rely on the line `programs`",
            ),
        }
    };
    probe.features.iter().map(judge).collect()
}

/// Programs of others, and whether ours could be attached at each cgroup.
pub(super) fn attachments(probe: &Probe) -> Vec<Item> {
    let mut items = foreign(probe);
    for (cgroup, result) in &probe.attachments {
        let name = format!("attach {}", cgroup.display());
        items.push(match result {
            Ok(()) => Item::ok(name, "possible"),
            Err(error) => failure(name, error, probe),
        });
    }
    items
}

fn foreign(probe: &Probe) -> Vec<Item> {
    const NAME: &str = "foreign programs";
    let found = match &probe.foreign {
        Ok(found) => found,
        Err(error) => {
            return vec![Item::warning(
                NAME,
                format!("the kernel would not say: {error}"),
                "grant CAP_NET_ADMIN, and mount the host's /sys/fs/cgroup",
            )];
        }
    };
    if found.is_empty() {
        return vec![Item::ok(NAME, "none that does not share its cgroup")];
    }
    let judge = |programs: &crate::capture::ForeignPrograms| {
        let message = programs.to_string();
        match programs.effect {
            ForeignEffect::Blocks => Item::failure(
                NAME,
                message,
                "see whose it is with `bpftool prog show id`, and have its owner attach it with \
                 BPF_F_ALLOW_MULTI or by a link, or take it away",
            ),
            ForeignEffect::Silenced => Item::warning(
                NAME,
                message,
                "see whose it is with `bpftool prog show id`, and have its owner attach it with \
                 BPF_F_ALLOW_MULTI or by a link if it is to go on below",
            ),
        }
    };
    found.iter().map(judge).collect()
}

fn failure(name: String, error: &LoadError, probe: &Probe) -> Item {
    let mend = match error {
        LoadError::NoObject | LoadError::Incomplete { .. } => {
            "install a build that `cargo xtask build` has made"
        }
        LoadError::RingBytes { .. } => "correct `capture.ring_bytes`",
        _ if !probe.missing_capabilities.is_empty() => {
            "grant the capabilities that are missing; see their lines"
        }
        LoadError::Verifier { .. } => {
            "run a newer kernel on this node, or report this line with the kernel's version"
        }
        LoadError::Cgroup { .. } => {
            "correct `capture.cgroup` and `capture.attach`, and run as root"
        }
        LoadError::Attach { .. } => {
            "see `foreign programs`; name other cgroups in `capture.attach` if it is theirs"
        }
        LoadError::Cpus(_)
        | LoadError::Object { .. }
        | LoadError::Program { .. }
        | LoadError::Map { .. }
        | LoadError::Mapping { .. } => {
            "look for what forbids it: the kernel's log, a seccomp profile or security module of \
             the container, `ulimit -l`"
        }
    };
    Item::failure(name, with_causes(error), mend)
}

/// An error with what lies below it.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        // Some errors quote their cause already.
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(part.trim_end());
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{
        super::State, FeatureStanding, ForeignEffect, LoadError, Probe, attachments, programs,
    };
    use crate::capture::{Feature, ForeignPrograms};

    fn probe() -> Probe {
        Probe {
            missing_capabilities: Vec::new(),
            features: Vec::new(),
            programs: Ok(()),
            foreign: Ok(Vec::new()),
            attachments: vec![("/cg/kubepods".into(), Ok(()))],
        }
    }

    #[test]
    fn what_goes_well_is_a_line_each() {
        let probe = probe();
        let items: Vec<_> = [programs(&probe), attachments(&probe)].concat();
        let names: Vec<_> = items.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(
            names,
            ["programs", "foreign programs", "attach /cg/kubepods"]
        );
        assert!(items.iter().all(|item| item.state == State::Ok));
    }

    #[test]
    fn features_are_judged_one_by_one() {
        let feature = |standing| Feature {
            name: "ring buffer",
            purpose: "hands records to the agent",
            standing,
        };
        let features = vec![
            feature(FeatureStanding::Present),
            feature(FeatureStanding::Absent("maps of the type RingBuf".into())),
            feature(FeatureStanding::Unknown("no answer".into())),
        ];
        let items = programs(&Probe {
            features,
            ..probe()
        });
        let states: Vec<_> = items.iter().map(|item| item.state).collect();
        let (ok, warning, failure) = (State::Ok, State::Warning, State::Failure);
        assert_eq!(states, [ok, failure, warning, ok]);
        assert_eq!(items[1].name, "feature ring buffer");
        assert!(items[1].message.contains("no maps of the type RingBuf"));
    }

    #[test]
    fn missing_capabilities_are_named() {
        let items = programs(&Probe {
            missing_capabilities: vec!["CAP_BPF", "CAP_PERFMON"],
            programs: Err(LoadError::Cpus(io::Error::from_raw_os_error(libc::EPERM))),
            ..probe()
        });
        assert!(items[0].message.ends_with("CAP_BPF, CAP_PERFMON"));
        assert!(items[1].message.contains("Operation not permitted"));
        for item in items {
            assert_eq!(item.state, State::Failure);
            assert!(item.mend.unwrap().contains("see their lines"));
        }
    }

    #[test]
    fn programs_of_others_are_named() {
        let foreign = |effect| ForeignPrograms {
            cgroup: "/cg/kube\npods".into(),
            hook: "cgroup_inet_egress",
            ids: vec![12, 13],
            names: vec![Some("firewall".into()), None],
            flags: "none",
            effect,
        };
        let items = attachments(&Probe {
            foreign: Ok(vec![
                foreign(ForeignEffect::Blocks),
                foreign(ForeignEffect::Silenced),
            ]),
            ..probe()
        });
        let states: Vec<_> = items.iter().map(|item| item.state).collect();
        assert_eq!(states, [State::Failure, State::Warning, State::Ok]);
        let expected = "programs 12 (firewall), 13 of others at cgroup_inet_egress of \
                        /cg/kube\\npods, attached with flags: none, let";
        assert!(items[0].message.starts_with(expected), "{items:?}");
    }
}
