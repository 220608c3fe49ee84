//! A log that stays silent from the beginning: the agent waits for it, for a minute.

use anyhow::{Result, ensure};
use lab::{Session, pod::PodSpec};

use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::get,
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "A log that stays silent",
    scenarios: &[Scenario {
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
    }],
};

fn logging_off(session: &mut Session) -> Result<Judge> {
    let path = "/nobody-logs";
    ensure!(get(session, "muteclient", "muteserver", path, &[])? == 200);
    session.await_at_end("verdict on what nobody logs", move |records| {
        !records.http("muteserver", "server", path).is_empty()
    });
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
