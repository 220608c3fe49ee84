//! The preflight: what `run` would need, what of it is there, and how to mend the rest.
//!
//! Whether the programs load and whether collectors accept us is known only by trying; whoever
//! calls tries it, and hands in what came out.

mod certificates;
mod collectors;
mod kernel;
mod places;
mod report;
mod system;

pub use report::{Item, Report, State};

use crate::{capture, config::Config, forward, timestamp::Timestamp};

/// What was tried.
#[derive(Debug)]
pub struct Probes {
    /// The capture.
    pub kernel: capture::Probe,
    /// The collectors: of each its endpoint, and what became of the handshake.
    pub collectors: Vec<(String, forward::Probe)>,
}

/// Looks at everything that `run` needs. `now` judges certificates.
#[must_use]
pub fn check(config: &Config, probes: &Probes, now: Timestamp) -> Report {
    let mut items = vec![system::kernel()];
    items.extend(kernel::programs(&probes.kernel));
    items.extend(system::capabilities());
    items.extend(system::memory_lock(config.capture.ring_bytes));
    items.extend(places::cgroups(&config.capture));
    items.extend(kernel::attachments(&probes.kernel));
    items.extend(places::logs(&config.logs));
    items.push(places::state(&config.state));
    items.push(places::telemetry(&config.telemetry));
    for sink in &config.forward {
        items.extend(certificates::of_sink(sink, now));
    }
    let handshakes = probes.collectors.iter();
    items.extend(handshakes.map(|(endpoint, probe)| collectors::handshake(endpoint, probe)));
    Report::new(items)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Config, Probes, State, Timestamp, capture, check, forward};
    use crate::forward::Receiver;

    #[test]
    fn everything_is_looked_at_in_order() {
        let sink =
            "forward: [{type: ndjson, endpoint: 'c:1', tls: {ca: /no/a, cert: /no/b, key: /no/c}}]";
        let config = Config::parse(Path::new("mw.yaml"), sink, &|_| None).unwrap();
        let probes = Probes {
            kernel: capture::Probe {
                missing_capabilities: Vec::new(),
                features: Vec::new(),
                programs: Ok(()),
                foreign: Ok(Vec::new()),
                attachments: vec![("/cg".into(), Ok(()))],
            },
            collectors: vec![("c:1".into(), forward::Probe::Accepted(Receiver::Silent))],
        };
        let report = check(&config, &probes, Timestamp::default());
        let names: Vec<_> = report.items().iter().map(|item| &item.name[..]).collect();
        assert_eq!(names[..3], ["kernel", "programs", "capability CAP_BPF"]);
        for name in [
            "cgroup2 mount",
            "attach /cg",
            "log directory",
            "state directory",
            "telemetry address",
        ] {
            assert!(names.contains(&name), "{name} in {names:?}");
        }
        assert_eq!(
            names[names.len() - 4..],
            ["c:1 tls.ca", "c:1 tls.cert", "c:1 tls.key", "c:1 handshake"]
        );
        assert_eq!((report.state(), report.exit_code()), (State::Failure, 1));
    }
}
