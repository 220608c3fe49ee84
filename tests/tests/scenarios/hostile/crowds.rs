//! Pods that cost more than their share.

use std::{
    collections::VecDeque,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lab::{
    Session,
    cgroup::Cgroup,
    identifier,
    pod::{APP, PodSpec},
    process::User,
    records::Record,
};

use super::{all_matched, send};
use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::get,
};

pub(crate) const FLOOD: Chapter = Chapter {
    title: "A pod that floods",
    scenarios: &[Scenario {
        name: "flood_of_one_pod",
        happens: "a pod opens connections and sends heads as fast as it can, through its sidecar, past it and within the pod, while another sends 1,000 requests",
        recorded: "the 1,000 `matched`; what passed its sidecar by `bypassed`; the rest of the flood costs itself exactness, and nobody is accused for it",
        finds: &[("flooder", "MW-105"), ("flooder", "MW-201")],
        pods: || {
            ["flooder", "flooded", "calm", "calmed"]
                .map(|name| PodSpec::new(name).excluding_outbound(9001))
                .to_vec()
        },
        play: flood,
    }],
};

pub(crate) const CHURN: Chapter = Chapter {
    title: "Pods that come and go",
    scenarios: &[Scenario {
        name: "ten_thousand_pods",
        happens: "10,000 pods come and go, with their cgroups and log directories, while another sends requests",
        recorded: "the requests all `matched`; the agent's memory stays within bounds",
        finds: &[],
        pods: || ["steady", "steadied"].map(PodSpec::new).to_vec(),
        play: ten_thousand_pods,
    }],
};

fn flood(session: &mut Session) -> Result<Judge> {
    const CALM: usize = 1000;
    // That its sidecar is in use is known before something goes past it.
    let path = "/before-the-flood";
    ensure!(get(session, "flooder", "flooded", path, &[])? == 200);
    session.receiver.wait_for(PATIENCE, path, |records| {
        !records.http("flooder", "client", path).is_empty()
    })?;
    let lab = &session.lab;
    let flooder = lab.pod("flooder");
    let targets = [
        format!("{}:8080", lab.pod("flooded").addresses().v4),
        format!("{}:9001", lab.outside().addresses().v4),
        "127.0.0.1:8080".to_owned(),
    ];
    let floods = targets
        .iter()
        .map(|target| flooder.spawn_client(&["flood", target, "/flood", "10"]))
        .collect::<Result<Vec<_>>>()?;
    let url = format!("http://{}:8080/calm", lab.pod("calmed").addresses().v4);
    // In 8 s: all the time of the flood.
    let words = [
        "h2load", "--h1", "-n", "1000", "-c", "4", "--rps", "32", &url,
    ];
    let output = lab.pod("calm").run(APP, User::APP, words)?;
    ensure!(output.status.success(), "{output:?}");
    for flood in floods {
        let written: u64 = flood.responses()?.iter().map(|told| told.body_bytes).sum();
        ensure!(written > 1000, "only {written} heads");
    }
    session
        .receiver
        .wait_for(PATIENCE, "calm requests", |records| {
            let count = |pod, side| records.http(pod, side, "/calm").len();
            count("calm", "client") == CALM && count("calmed", "server") == CALM
        })?;
    judge(|evidence| {
        all_matched(evidence, "calm", "calmed", "/calm", CALM)?;
        // The flood costs itself exactness, and nobody is accused for what the agent lost.
        for pod in ["flooder", "flooded"] {
            let unverifiable = |record: &Record| record.verdict() == "unverifiable";
            let found = evidence.of(pod, "unverifiable", unverifiable);
            if !found.records.is_empty() {
                found.are("unverifiable")?;
            }
            for verdict in ["unseen", "mismatched", "unlogged"] {
                let accused = evidence.of(pod, verdict, |record| record.verdict() == verdict);
                let count = accused.records.len();
                let first: Vec<_> = accused.records.iter().take(3).collect();
                ensure!(count == 0, "{pod}: {count} {verdict}, such as {first:#?}");
            }
        }
        // Whether that reaches the other end depends on the machine, and so does whether a sidecar
        // has the time to tell HTTP from bytes.
        evidence.may_be_found("flooder", &["MW-010"]);
        evidence.may_be_found("flooded", &["MW-010", "MW-201"]);
        evidence
            .of("flooder", "connections out", |record| {
                record.server().is_some_and(|(_, port)| port == 9001)
            })
            .are("bypassed")?;
        Ok(())
    })
}

/// How long the records of requests may take that a flood goes on beside.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many pods are there at a time.
const AT_ONCE: usize = 100;

/// The most memory the agent may have at the end, and the most it may have grown by.
const MOST_BYTES: u64 = 128 << 20;

fn ten_thousand_pods(session: &mut Session) -> Result<Judge> {
    const PODS: usize = 10_000;
    const ROUNDS: usize = 10;
    const COUNT: usize = 100;
    let mut there: VecDeque<Churned> = VecDeque::new();
    let mut after_first = None;
    for _ in 0..ROUNDS {
        for _ in 0..PODS / ROUNDS {
            let pod = Churned::make(session.lab.cgroup_mount(), &session.lab.logs())?;
            there.push_back(pod);
            if there.len() > AT_ONCE {
                there.pop_front();
            }
        }
        send(session, "steady", "steadied", "/steady", COUNT)?;
        after_first.get_or_insert(resident_bytes(session.agent.id())?);
    }
    drop(there);
    let before = after_first.context("no round")?;
    let after = resident_bytes(session.agent.id())?;
    ensure!(
        after < MOST_BYTES,
        "{after} bytes, {before} after the first round"
    );
    judge(|evidence| {
        all_matched(evidence, "steady", "steadied", "/steady", ROUNDS * COUNT)?;
        let stderr = &evidence.ended.stderr;
        ensure!(stderr.lines().count() < 50, "{stderr}");
        Ok(())
    })
}

/// What the kubelet and containerd make of a pod, without a process in it.
struct Churned {
    directory: PathBuf,
    links: Vec<PathBuf>,
    _containers: Vec<Cgroup>,
    _slice: Cgroup,
}

impl Churned {
    fn make(mount: &Path, logs: &Path) -> Result<Self> {
        let uid = identifier::pod_uid()?;
        let slice = PathBuf::from(format!(
            "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{}.slice",
            uid.replace('-', "_")
        ));
        let mut pod = Self {
            directory: logs.join("pods").join(format!("jobs_job_{uid}")),
            links: Vec::new(),
            _slice: Cgroup::create(mount, &slice)?,
            _containers: Vec::new(),
        };
        for name in ["app", "istio-proxy"] {
            let id = identifier::container_id()?;
            let scope = slice.join(format!("cri-containerd-{id}.scope"));
            pod._containers.push(Cgroup::create(mount, &scope)?);
            let directory = pod.directory.join(name);
            fs::create_dir_all(&directory)?;
            fs::write(directory.join("0.log"), "")?;
            let link = logs
                .join("containers")
                .join(format!("job_jobs_{name}-{id}.log"));
            symlink(directory.join("0.log"), &link)?;
            pod.links.push(link);
        }
        Ok(pod)
    }
}

impl Drop for Churned {
    fn drop(&mut self) {
        for link in &self.links {
            let _ = fs::remove_file(link);
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// `VmRSS` of a process.
fn resident_bytes(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kibibytes = line
        .and_then(|line| line.split_whitespace().nth(1))
        .context("no VmRSS")?;
    Ok(kibibytes.parse::<u64>()? * 1024)
}
