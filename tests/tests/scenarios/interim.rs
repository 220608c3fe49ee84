//! Lines that Envoy writes while a request or a connection goes on: when it begins, and at
//! intervals.

use anyhow::{Context, Result, ensure};
use lab::{
    Session,
    envoy::{
        Format, Sidecar,
        edit::{INBOUND, OUTBOUND, http_managers, tcp_proxies},
    },
    pod::PodSpec,
};
use serde_json::{Value, json};

use crate::{
    evidence::Found,
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{Family, Way, endpoint_of, wait_for_line},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "Lines that Envoy writes before the end",
    scenarios: &[
        Scenario {
            name: "interim_lines",
            happens: "both sidecars write a line when a request begins and each 0.2 s, and each line says so (ACCESS_LOG_TYPE)",
            recorded: RECORDED,
            finds: &[],
            pods: || pods("told", Some(typed())),
            play: |session| requests(session, "toldclient", "toldserver", &[]),
        },
        Scenario {
            name: "interim_lines_untold",
            happens: "the same in Istio's format, where nothing tells such a line from another",
            recorded: RECORDED,
            finds: &[],
            pods: || pods("untold", None),
            play: |session| requests(session, "untoldclient", "untoldserver", &[]),
        },
        Scenario {
            name: "interim_lines_forwarded",
            happens: "the same as the first with X-Forwarded-For: no line has the tuple",
            recorded: RECORDED,
            finds: &[],
            pods: || pods("told", Some(typed())),
            play: |session| requests(session, "toldclient", "toldserver", &FORWARDED),
        },
        Scenario {
            name: "interim_lines_forwarded_untold",
            happens: "the same in Istio's format",
            recorded: RECORDED,
            finds: &[],
            pods: || pods("untold", None),
            play: |session| requests(session, "untoldclient", "untoldserver", &FORWARDED),
        },
        Scenario {
            name: "interim_tcp_lines",
            happens: "both sidecars write a line when a connection begins and each 0.2 s, told by ACCESS_LOG_TYPE",
            recorded: RECORDED_TCP,
            finds: &[],
            pods: || pods("told", Some(typed())),
            play: |session| connections(session, "toldclient", "toldserver"),
        },
        Scenario {
            name: "interim_tcp_lines_untold",
            happens: "the same in Istio's format",
            recorded: RECORDED_TCP,
            finds: &[],
            pods: || pods("untold", None),
            play: |session| connections(session, "untoldclient", "untoldserver"),
        },
    ],
};

const RECORDED: &str =
    "both sides: `matched` 1/1, and `matched` (`repeated`) 0/1 for each line before the last";
const RECORDED_TCP: &str = "both sides: a connection `matched` 1/1, and `matched` (`repeated`) 0/1 for each line before the last";

const ECHO_PORT: u16 = 7007;

fn pods(name: &str, format: Option<Format>) -> Vec<PodSpec> {
    ["client", "server"]
        .map(|role| {
            let pod = PodSpec::new(&format!("{name}{role}"));
            let pod = pod.naming(ECHO_PORT).editing(tick);
            match &format {
                Some(format) => pod.logging(format.clone()),
                None => pod,
            }
        })
        .into()
}

/// Istio's JSON with the type of the line.
fn typed() -> Format {
    let mut format = Format::IstioJson.config()["json_format"].clone();
    format["access_log_type"] = json!("%ACCESS_LOG_TYPE%");
    Format::Json(format)
}

fn tick(config: &mut Value, _: &Sidecar<'_>) {
    for listener in [INBOUND, OUTBOUND] {
        for manager in http_managers(config, listener) {
            manager["access_log_options"] = json!({
                "flush_access_log_on_new_request": true,
                "access_log_flush_interval": "0.2s",
            });
        }
        for proxy in tcp_proxies(config, listener) {
            proxy["access_log_options"] = json!({
                "flush_access_log_on_connected": true,
                "access_log_flush_interval": "0.2s",
            });
        }
    }
}

/// A short one, one that waits, one that drips.
const PATHS: [&str; 3] = ["/tick", "/slow/1/wait", "/drip/60/drop"];

const FORWARDED: [&str; 2] = ["-H", "x-forwarded-for: 198.51.100.7"];

fn requests(
    session: &Session,
    client: &'static str,
    server: &'static str,
    options: &'static [&'static str],
) -> Result<Judge> {
    let path_of = |way: Way, base: &str| match options {
        [] => way.path(base),
        _ => way.path(&format!("{base}/forwarded")),
    };
    Way::all_at_once(|way| {
        for base in PATHS {
            let path = path_of(way, base);
            let received = way.get(session, client, server, &path, options)?;
            ensure!(received == 200, "{path}: expected 200, got {received}");
        }
        Ok(())
    })?;
    judge(move |evidence| {
        for (pod, side) in [(client, "client"), (server, "server")] {
            for way in Way::ALL {
                for base in PATHS {
                    let path = path_of(way, base);
                    let lines = evidence.lines(pod, &path)?;
                    ensure!(lines.len() > 1, "{pod} has the lines {lines:#?}");
                    let found = evidence.http(pod, side, &path);
                    last_is_matched(&found, lines.len())
                        .with_context(|| format!("of {lines:#?}"))?;
                }
            }
        }
        Ok(())
    })
}

fn last_is_matched(found: &Found<'_>, lines: usize) -> Result<()> {
    found.are("matched")?.of_units(1, i64::try_from(lines)?)?;
    for record in &found.records {
        match record.units().observed {
            0 => ensure!(record.has_reason("repeated"), "{}", record.line()),
            _ => ensure!(record.units().logged == 1, "{}", record.line()),
        }
    }
    Ok(())
}

fn connections(session: &Session, client: &'static str, server: &'static str) -> Result<Judge> {
    let _echo = session.lab.pod(server).serve("echo", ECHO_PORT)?;
    for family in Family::ALL {
        let to = endpoint_of(family, session.lab.pod(server), ECHO_PORT);
        // Sent back at once, so that both ends have bytes before the last line.
        let text = r"\x01\x02\x03\x04\x05\x06\x07\x08\n";
        let pod = session.lab.pod(client);
        pod.client(&["bytes", &to, text, "900"])?;
        wait_for_line(session, server, &to)?;
    }
    judge(move |evidence| {
        for pod in [client, server] {
            let port = format!(":{ECHO_PORT}");
            let lines = evidence.lines(pod, &port)?;
            ensure!(lines.len() > 4, "{pod} has the lines {lines:?}");
            let found = evidence.of(pod, "connections", |record| {
                record.kind() == "connection"
                    && record.server().is_some_and(|(_, port)| port == ECHO_PORT)
            });
            last_are_matched(&found, lines.len()).with_context(|| format!("of {lines:#?}"))?;
        }
        Ok(())
    })
}

/// Of two connections.
fn last_are_matched(found: &Found<'_>, lines: usize) -> Result<()> {
    found.are("matched")?.of_units(2, i64::try_from(lines)?)?;
    Ok(())
}
