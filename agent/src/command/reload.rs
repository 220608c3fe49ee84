//! What of a changed configuration is in force at once, and what only after a restart.

use crate::config::{Capture, Config, Logs, Mesh};

/// A configuration that was read anew while the agent runs.
pub(super) struct Reload {
    /// What is in force: the new values where they can change, the old ones elsewhere.
    pub(super) config: Config,
    /// Keys that changed.
    pub(super) changed: Vec<String>,
    /// Keys that changed in the file, and whose old value is in force until the next start: the
    /// programs are attached, the capabilities given up, the logs and the address open.
    pub(super) at_next_start: Vec<String>,
}

impl Reload {
    pub(super) fn new(running: &Config, read: Config) -> Self {
        // Without `..`: a key that nobody thought of would change in silence.
        let Config {
            node,
            mode,
            capture:
                Capture {
                    cgroup,
                    attach,
                    kubelet,
                    ring_bytes,
                    headers,
                },
            logs:
                Logs {
                    root,
                    proxy_containers,
                    format,
                    flush,
                },
            mesh:
                Mesh {
                    listeners,
                    admin,
                    policy,
                },
            redact,
            state,
            ledger,
            forward,
            telemetry,
        } = read;
        let mut config = running.clone();
        let Config {
            capture,
            logs,
            mesh,
            ..
        } = &mut config;
        let mut changed = Changes::default();
        changed.take("capture.headers", &mut capture.headers, headers);
        changed.take("logs.flush", &mut logs.flush, flush);
        changed.take("mesh.policy", &mut mesh.policy, policy);
        let mut fixed = Changes::default();
        fixed.compare("capture.cgroup", &capture.cgroup, &cgroup);
        fixed.compare("capture.attach", &capture.attach, &attach);
        fixed.compare("capture.kubelet", &capture.kubelet, &kubelet);
        fixed.compare("capture.ring_bytes", &capture.ring_bytes, &ring_bytes);
        fixed.compare("logs.root", &logs.root, &root);
        let containers = &logs.proxy_containers;
        fixed.compare("logs.proxy_containers", containers, &proxy_containers);
        fixed.compare("logs.format", &logs.format, &format);
        fixed.compare("mesh.listeners", &mesh.listeners, &listeners);
        fixed.compare("mesh.admin", &mesh.admin, &admin);
        fixed.compare("node", &config.node, &node);
        fixed.compare("mode", &config.mode, &mode);
        fixed.compare("state", &config.state, &state);
        fixed.compare("telemetry", &config.telemetry, &telemetry);
        changed.take("redact", &mut config.redact, redact);
        changed.take("ledger", &mut config.ledger, ledger);
        changed.take("forward", &mut config.forward, forward);
        Self {
            config,
            changed: changed.0,
            at_next_start: fixed.0,
        }
    }
}

/// Keys whose values differ.
#[derive(Default)]
struct Changes(Vec<String>);

impl Changes {
    fn take<T: PartialEq>(&mut self, key: &str, now: &mut T, new: T) {
        self.compare(key, now, &new);
        *now = new;
    }

    fn compare<T: PartialEq>(&mut self, key: &str, old: &T, new: &T) {
        if old != new {
            self.0.push(key.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Reload;
    use crate::config::Config;

    fn config(text: &str) -> Config {
        Config::parse(Path::new("agent.yaml"), text, &|_| None).unwrap()
    }

    #[test]
    fn tells_what_changes_at_once_and_what_does_not() {
        let running = config("logs: { flush: 1s }");
        let same = Reload::new(&running, running.clone());
        assert!(same.changed.is_empty() && same.at_next_start.is_empty());

        let read = config(
            "mode: observe\nlogs: { flush: 2s, root: /elsewhere }\nredact: { query: drop }\n\
             capture: { headers: [accept], ring_bytes: 32MiB }\nmesh: { listeners: [1, 2] }\n\
             telemetry: { listen: \"127.0.0.1:1\" }\nstate: { dir: /other }\n",
        );
        let reload = Reload::new(&running, read.clone());
        assert_eq!(reload.changed, ["capture.headers", "logs.flush", "redact"]);
        assert_eq!(
            reload.at_next_start,
            [
                "capture.ring_bytes",
                "logs.root",
                "mesh.listeners",
                "mode",
                "state",
                "telemetry"
            ]
        );
        assert_eq!(reload.config.logs.flush, read.logs.flush);
        assert_eq!(reload.config.logs.root, running.logs.root);
        // What is not in force yet is told again the next time.
        let again = Reload::new(&reload.config, read);
        assert!(again.changed.is_empty());
        assert_eq!(again.at_next_start, reload.at_next_start);
    }
}
