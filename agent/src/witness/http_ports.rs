//! Ports that proxies take for HTTP, kept from one run to the next.
//!
//! Until a line of an exchange was matched at a port, the proxy may be carrying it as TCP, and
//! missing lines are not missed. After a restart of the agent that need not be learnt again.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    ledger::{HttpPort, Input},
    replacement::replace,
    workload::WorkloadFact,
};

/// The most that is kept: some for each of the pods that a node can have.
const KEPT: usize = 65_536;

/// What is known, and the file in which it is kept.
#[derive(Debug)]
pub struct HttpPorts {
    file: PathBuf,
    known: BTreeSet<HttpPort>,
    changed: bool,
}

impl HttpPorts {
    /// What an earlier run kept in the state directory `dir`.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn load(dir: &Path) -> io::Result<Self> {
        let mut ports = Self::empty(dir);
        match fs::read(&ports.file) {
            Ok(bytes) => ports.known = serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(ports)
    }

    /// Nothing is known.
    #[must_use]
    pub fn empty(dir: &Path) -> Self {
        Self {
            file: dir.join("http-ports"),
            known: BTreeSet::new(),
            changed: false,
        }
    }

    /// Puts what is known of the pods in `inputs` before the start, which stands last in them.
    /// Pods that are not there are forgotten.
    pub fn tell(&mut self, inputs: &mut Vec<Input>) {
        let pods: BTreeSet<String> = inputs
            .iter()
            .filter_map(|input| match input {
                Input::Workload(WorkloadFact::Pod(pod)) => Some(pod.uid.clone()),
                _ => None,
            })
            .collect();
        self.known.retain(|port| pods.contains(&port.pod_uid));
        self.changed = true;
        let start = inputs.pop();
        inputs.extend(self.known.iter().cloned().map(Input::SpeaksHttp));
        inputs.extend(start);
    }

    /// The ledger learnt these.
    pub fn learn(&mut self, ports: Vec<HttpPort>) {
        for port in ports {
            if self.known.len() < KEPT {
                self.changed |= self.known.insert(port);
            }
        }
    }

    /// A pod is gone.
    pub fn forget(&mut self, pod_uid: &str) {
        let before = self.known.len();
        self.known.retain(|port| port.pod_uid != pod_uid);
        self.changed |= self.known.len() != before;
    }

    /// Writes the file, if anything changed.
    ///
    /// # Errors
    /// If it cannot be written; it is tried again the next time.
    pub fn keep(&mut self) -> io::Result<()> {
        if self.changed {
            replace(&self.file, &serde_json::to_vec(&self.known)?)?;
            self.changed = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::HttpPorts;
    use crate::{
        ledger::{HttpPort, Input},
        record::Side,
        timestamp::Timestamp,
        workload::{Pod, WorkloadFact},
    };

    fn port(uid: &str) -> HttpPort {
        HttpPort {
            pod_uid: uid.to_owned(),
            side: Side::Server,
            port: 8080,
        }
    }

    fn start(pods: &[&str]) -> Vec<Input> {
        let pod = |uid: &&str| {
            Input::Workload(WorkloadFact::Pod(Pod {
                uid: (*uid).to_owned(),
                namespace: "shop".into(),
                name: "a".into(),
                containers: Vec::new(),
            }))
        };
        let started = Input::Started { time: Timestamp(1) };
        pods.iter().map(pod).chain([started]).collect()
    }

    #[test]
    fn what_was_learnt_is_told_before_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let mut ports = HttpPorts::load(dir.path()).unwrap();
        ports.learn(vec![port("gone"), port("stays"), port("left")]);
        ports.forget("left");
        ports.keep().unwrap();
        let mut again = HttpPorts::load(dir.path()).unwrap();
        let mut inputs = start(&["stays", "left"]);
        again.tell(&mut inputs);
        let mut expected = start(&["stays", "left"]);
        expected.insert(2, Input::SpeaksHttp(port("stays")));
        assert_eq!(inputs, expected);
        again.keep().unwrap();
        let last = HttpPorts::load(dir.path()).unwrap();
        assert!(last.known.iter().eq([&port("stays")]));
    }

    #[test]
    fn a_file_of_something_else_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("http-ports"), "[{").unwrap();
        HttpPorts::load(dir.path()).unwrap_err();
    }
}
