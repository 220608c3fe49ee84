//! An agent that lags.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::{
    Session,
    pod::{APP, PodSpec},
    process::User,
};
use rustix::process::Signal;

use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{get, url},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "A reader that lags",
    scenarios: &[Scenario {
        name: "reader_lags",
        happens: "the agent stands still for a minute while requests go on",
        recorded: "both sides: every request `matched` 1/1",
        finds: &[],
        pods: || vec![PodSpec::new("a"), PodSpec::new("b")],
        play: reader_lags,
    }],
};

const STANDSTILL: Duration = Duration::from_secs(60);

/// Lets the agent go on, also when the play fails.
struct Standstill<'a>(&'a Session);

impl Drop for Standstill<'_> {
    fn drop(&mut self) {
        self.0.agent.signal(Signal::CONT);
    }
}

fn reader_lags(session: &mut Session) -> Result<Judge> {
    let path = "/lagging";
    ensure!(get(session, "a", "b", "/before-lag", &[])? == 200);
    session.agent.signal(Signal::STOP);
    let standstill = Standstill(session);
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed() < STANDSTILL {
        let url = url(session.lab.pod("b"), path);
        let words = ["h2load", "--h1", "-n", "50", "-c", "2", "--rps", "25", &url];
        let output = session.lab.pod("a").run(APP, User::APP, words)?;
        ensure!(output.status.success(), "{output:?}");
        count += 50;
    }
    drop(standstill);
    judge(move |evidence| {
        ensure!(i64::try_from(evidence.nginx("b", path)?.len())? == count);
        for (pod, side) in [("a", "client"), ("b", "server")] {
            let found = evidence.http(pod, side, path);
            found.are("matched")?.of_units(count, count)?;
        }
        Ok(())
    })
}
