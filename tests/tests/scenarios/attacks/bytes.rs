//! Lines of connections that carry bytes, removed and changed.

use anyhow::{Result, ensure};
use lab::{
    Session,
    cri::Fault,
    pod::{PROXY, PodSpec},
};

use super::tamper::met;
use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::endpoint,
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "Lines of connections that carry bytes",
    scenarios: &[Scenario {
        name: "tampered_tcp_lines",
        happens: "of the lines of six connections one is removed at each side, and the bytes in one are changed",
        recorded: "at each side one `unlogged` 1/0 and one `mismatched` 1/1; the others `matched`",
        finds: &[
            ("sender", "MW-004"),
            ("sender", "MW-007"),
            ("echoer", "MW-004"),
            ("echoer", "MW-007"),
        ],
        pods: || vec![PodSpec::new("sender"), PodSpec::new("echoer").naming(PORT)],
        play: tampered,
    }],
};

/// Where the echo listens.
const PORT: u16 = 7003;

fn tampered(session: &mut Session) -> Result<Judge> {
    let lab = &session.lab;
    let (client, server) = (lab.pod("sender"), lab.pod("echoer"));
    let _echo = server.serve("echo", PORT)?;
    let address = endpoint(session, "echoer", PORT);
    let transfer = || client.client(&["transfer", &address, "1", "1000"]);
    let is_meant = |line: &str| line.contains(" 1000 1000 ");
    for (number, pod) in [client, server, client, server].into_iter().enumerate() {
        let fault = match number {
            0 | 1 => Fault::Drop,
            _ => Fault::Edit(Box::new(with_fewer_bytes)),
        };
        let fault = pod.container(PROXY).log.inject(0, is_meant, fault);
        transfer()?;
        let line = met(&fault)?;
        ensure!(with_fewer_bytes(&line) != line, "{line} stays as it is");
    }
    transfer()?;
    transfer()?;
    judge(|evidence| {
        for (pod, side) in [("sender", "client"), ("echoer", "server")] {
            let all = evidence.of(pod, "connections", |record| record.side() == side);
            all.of_units(6, 5)?.are_as_many_as(6)?;
            let removed = all.of_verdict("unlogged");
            removed.are("unlogged")?.of_units(1, 0)?;
            let changed = all.of_verdict("mismatched");
            changed.are("mismatched")?.of_units(1, 1)?;
            let fields = changed.records[0].differing_fields();
            ensure!(fields.len() == 1, "{}", changed.records[0].line());
            all.of_verdict("matched").of_units(4, 4)?;
        }
        Ok(())
    })
}

fn with_fewer_bytes(line: &str) -> String {
    line.replacen(" 1000 1000 ", " 999 1000 ", 1)
}
