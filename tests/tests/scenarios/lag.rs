//! An agent that lags, and a log that stays silent.

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
    title: "A reader that lags, and a log that stays silent",
    scenarios: &[
        Scenario {
            name: "logging_off_at_both",
            happens: "both sidecars log nothing, and the connection to the app stays open",
            recorded: "both sides: `unverifiable` 1/0, `no_log`, and one high finding a pod",
            finds: &[("muteclient", "MW-001"), ("muteserver", "MW-001")],
            pods: || {
                vec![
                    PodSpec::new("muteclient").without_log(),
                    PodSpec::new("muteserver").without_log(),
                ]
            },
            play: logging_off,
        },
        Scenario {
            name: "reader_lags",
            happens: "the agent stands still for a minute while requests go on",
            recorded: "both sides: every request `matched` 1/1",
            finds: &[],
            pods: || vec![PodSpec::new("a"), PodSpec::new("b")],
            play: reader_lags,
        },
    ],
};

const STANDSTILL: Duration = Duration::from_secs(60);
/// A log that was silent from the beginning is waited for, for a minute.
const SILENCE: Duration = Duration::from_secs(180);

fn logging_off(session: &mut Session) -> Result<Judge> {
    let path = "/nobody-logs";
    ensure!(get(session, "muteclient", "muteserver", path, &[])? == 200);
    session
        .receiver
        .wait_for(SILENCE, "verdict on what nobody logs", |records| {
            !records.http("muteserver", "server", path).is_empty()
        })?;
    judge(move |evidence| {
        for (pod, side) in [("muteclient", "client"), ("muteserver", "server")] {
            ensure!(evidence.lines(pod, "[2")?.is_empty(), "{pod} has a line");
            let found = evidence.http(pod, side, path);
            found
                .are("unverifiable")?
                .with_reason("no_log")?
                .of_units(1, 0)?;
        }
        Ok(())
    })
}

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
