//! Clean traffic beside all that is odd.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use lab::{
    Session,
    pod::{APP, PodSpec},
    process::{Process, User},
};

use crate::{evidence::Evidence, traffic::url};

/// Who sends, and who answers.
const PODS: [(&str, &str); 2] = [("loadclient", "client"), ("loadserver", "server")];
/// What they ask for.
const PATH: &str = "/load";
/// Requests of a round of five seconds: 1,000 a second on four connections.
const ROUND: i64 = 5_000;
/// Of 1,000 requests a second in the mean so many have to come through on a machine that plays
/// everything else besides.
const LEAST_A_SECOND: i64 = 900;

/// The pods of the load.
pub(crate) fn pods() -> [PodSpec; 2] {
    PODS.map(|(name, _)| PodSpec::new(name).knowing(PODS.map(|(name, _)| name)))
}

/// Whether a pod is one of them.
pub(crate) fn is_of_load(pod: &str) -> bool {
    PODS.iter().any(|(name, _)| *name == pod)
}

/// 1,000 requests a second, round after round.
pub(crate) struct Load {
    rounds: Process,
    last_round: PathBuf,
}

/// What was sent.
pub(crate) struct Sent {
    requests: i64,
    seconds: i64,
}

impl Load {
    pub(crate) fn start(session: &Session) -> Result<Self> {
        let last_round = session.lab.directory().join("last-round");
        let rounds = format!(
            "while [ ! -e {} ]; do date +%s; h2load --h1 -n {ROUND} -c 4 --rps 250 {} || exit 1; \
             done; date +%s",
            last_round.display(),
            url(session.lab.pod(PODS[1].0), PATH),
        );
        let client = session.lab.pod(PODS[0].0);
        let rounds = client.spawn(APP, User::APP, ["sh", "-c", &rounds])?;
        Ok(Self { rounds, last_round })
    }

    /// Ends it with the round that goes on.
    pub(crate) fn finish(self) -> Result<Sent> {
        fs::write(&self.last_round, "")?;
        let output = self.rounds.output()?;
        ensure!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        let rounds = text.matches(" 0 failed, 0 errored, 0 timeout").count();
        let times = text.lines().filter_map(|line| line.parse::<i64>().ok());
        let times: Vec<i64> = times.collect();
        ensure!(rounds > 0 && times.len() == rounds + 1, "{text}");
        let first = times.first().context("no round began")?;
        let last = times.last().context("no round ended")?;
        Ok(Sent {
            requests: ROUND * i64::try_from(rounds)?,
            seconds: last - first,
        })
    }
}

impl Sent {
    /// All of it is matched, and nothing of it was lost.
    pub(crate) fn check(&self, evidence: &Evidence) -> Result<()> {
        let Self { requests, seconds } = *self;
        ensure!(
            requests >= LEAST_A_SECOND * seconds,
            "only {requests} requests in {seconds} s"
        );
        for (pod, side) in PODS {
            let served = evidence.of_load.http(pod, side, PATH);
            let odd = served.iter().find(|record| record.verdict() != "matched");
            ensure!(odd.is_none(), "{:?}", odd.map(|record| record.brief()));
            let observed: i64 = served.iter().map(|it| it.units().observed).sum();
            let logged: i64 = served.iter().map(|it| it.units().logged).sum();
            ensure!(
                (observed, logged) == (requests, requests),
                "of {requests} requests {pod} has {observed}/{logged}"
            );
        }
        let others = evidence.of_load.find(|record| {
            let is_expected = record.kind() == "connection" && record.side() == "proxy"
                || ["matched", ""].contains(&record.verdict());
            record.kind() == "finding" || !is_expected
        });
        ensure!(
            others.is_empty(),
            "{} others, as {:?}",
            others.len(),
            others.first().map(|record| record.brief())
        );
        Ok(())
    }
}
