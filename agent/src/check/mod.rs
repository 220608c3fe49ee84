//! The preflight: what `run` would need, what of it is there, and how to mend the rest.
//!
//! Nothing here changes the node. What only other rooms can try (to load the programs, to shake
//! hands with a collector) they try themselves and hand in as [`Item`]s.

mod certificates;
mod places;
mod report;
mod system;

pub use report::{Item, Report, State};

use crate::{config::Config, timestamp::Timestamp};

/// What other rooms found out.
#[derive(Clone, Debug, Default)]
pub struct Probes {
    /// Of the capture: each kernel feature that it needs, and programs of others at the cgroups.
    pub kernel: Vec<Item>,
    /// Of the forwarding: each collector's handshake.
    pub collectors: Vec<Item>,
}

/// Looks at everything that `run` needs. `now` judges certificates.
#[must_use]
pub fn check(config: &Config, probes: Probes, now: Timestamp) -> Report {
    let mut items = vec![system::kernel()];
    items.extend(probes.kernel);
    items.extend(system::capabilities());
    items.extend(places::cgroups(&config.capture));
    items.extend(places::logs(&config.logs));
    items.push(places::state(&config.state));
    for sink in &config.forward {
        items.extend(certificates::of_sink(sink, now));
    }
    items.extend(probes.collectors);
    Report::new(items)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Config, Item, Probes, State, Timestamp, check};

    #[test]
    fn everything_is_looked_at_in_order() {
        let sink =
            "forward: [{type: ndjson, endpoint: 'c:1', tls: {ca: /no/a, cert: /no/b, key: /no/c}}]";
        let config = Config::parse(Path::new("mw.yaml"), sink, &|_| None).unwrap();
        let probes = Probes {
            kernel: vec![Item::ok("feature", "")],
            collectors: vec![Item::warning("c:1 handshake", "refused", "start it")],
        };
        let report = check(&config, probes, Timestamp::default());
        let names: Vec<_> = report.items().iter().map(|item| &item.name[..]).collect();
        assert_eq!(names[..3], ["kernel", "feature", "capability CAP_BPF"]);
        for name in ["cgroup2 mount", "log directory", "state directory"] {
            assert!(names.contains(&name), "{name} in {names:?}");
        }
        assert_eq!(
            names[names.len() - 4..],
            ["c:1 tls.ca", "c:1 tls.cert", "c:1 tls.key", "c:1 handshake"]
        );
        assert_eq!((report.state(), report.exit_code()), (State::Failure, 1));
    }
}
