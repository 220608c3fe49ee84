//! What Envoy marks with a response flag, on the way in and on the way out, over both versions of
//! HTTP and both families of addresses.
//!
//! Elsewhere: `DC`, `DR` and `UR` (`aborts`), `NR` and `RL` (`replies`), `URX` (`retries`), `DT`
//! (`tcp`). What cannot be provoked here: `OM` (pressure of the overload manager, which a machine of
//! tests must not have), `LR` (Envoy resets none of its own streams unprovoked; what it closes
//! upstream is told as `UC`), `DF` and `DNS` (no cluster of a sidecar in REDIRECT mode resolves names
//! by itself), `NFCF` (filters that come from a control plane), `RFCF` and the others of filters
//! that Istio does not install.

mod provocation;

use anyhow::{Context, Result, ensure};
use lab::{
    Session,
    envoy::edit::{INBOUND, OUTBOUND},
    pod::PodSpec,
};
use provocation::{check_headers, lose_patience, provoke};

use crate::{
    evidence::Evidence,
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{Way, matched, matched_at_both, wait_for_line},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "What Envoy flags",
    scenarios: &[
        Scenario {
            name: "flag_uo",
            happens: "a circuit breaker is open: 503 `UO`",
            recorded: ANSWERED,
            finds: &[],
            pods,
            play: |session| answered(session, "/uo", 503, "UO"),
        },
        Scenario {
            name: "flag_uh",
            happens: "the cluster has no host: 503 `UH`",
            recorded: ANSWERED,
            finds: &[],
            pods,
            play: |session| answered(session, "/uh", 503, "UH"),
        },
        Scenario {
            name: "flag_nc",
            happens: "the route names no cluster that there is: 503 `NC`",
            recorded: ANSWERED,
            finds: &[],
            pods,
            play: |session| answered(session, "/nc", 503, "NC"),
        },
        Scenario {
            name: "flag_uf",
            happens: "the cluster's host refuses connections: 503 `UF`",
            recorded: ANSWERED,
            finds: &[],
            pods,
            play: |session| answered(session, "/uf", 503, "UF"),
        },
        Scenario {
            name: "flag_fi",
            happens: "the fault filter answers with 418: `FI`",
            recorded: ANSWERED,
            finds: &[],
            pods,
            play: |session| answered(session, "/fi", 418, "FI"),
        },
        Scenario {
            name: "flag_di",
            happens: "the fault filter delays a request: `DI`",
            recorded: CARRIED,
            finds: &[],
            pods,
            play: |session| carried(session, "/di", 200, "DI"),
        },
        Scenario {
            name: "flag_uaex",
            happens: "a service of authorization refuses: 403 `UAEX`",
            recorded: ANSWERED,
            finds: &[],
            pods,
            play: |session| answered(session, "/uaex", 403, "UAEX"),
        },
        Scenario {
            name: "flag_rlse",
            happens: "the service of rate limits is not there: 500 `RLSE`",
            recorded: ANSWERED,
            finds: &[],
            pods,
            play: |session| answered(session, "/rlse", 500, "RLSE"),
        },
        Scenario {
            name: "flag_lh",
            happens: "the filter for health checks says that too few hosts are healthy: 503 `LH`",
            recorded: ANSWERED,
            finds: &[],
            pods,
            play: |session| answered(session, "/lh", 503, "LH"),
        },
        Scenario {
            name: "flag_do",
            happens: "the cluster drops nearly all load: 503 `DO`",
            recorded: ANSWERED,
            finds: &[],
            pods,
            play: |session| answered(session, "/do", 503, "DO"),
        },
        Scenario {
            name: "flag_udo",
            happens: "the cluster drops all load: 503 `UDO`",
            recorded: ANSWERED,
            finds: &[],
            pods,
            play: |session| answered(session, "/udo", 503, "UDO"),
        },
        Scenario {
            name: "flag_ih",
            happens: "a header that Envoy reads strictly has a bad value: 400 `IH`",
            recorded: "client: `matched` 1/1",
            finds: &[],
            pods: || {
                vec![
                    PodSpec::new("b"),
                    PodSpec::new("stern").editing(|config, _| check_headers(config, OUTBOUND)),
                ]
            },
            play: |session| {
                // Envoy reads it of those that it takes for its own mesh alone.
                let header = [
                    "-H",
                    "x-envoy-max-retries: none",
                    "-H",
                    "x-forwarded-for: 10.1.2.3",
                ];
                let legs = [Leg::out("stern", "b")];
                play(session, &legs, "/ih", &header, 400, "IH", false)
            },
        },
        Scenario {
            name: "flag_ut",
            happens: "the route gives up after half a second: 504 `UT`",
            recorded: CARRIED,
            finds: &[],
            pods,
            play: |session| carried(session, "/slow/2/ut", 504, "UT"),
        },
        Scenario {
            name: "flag_ut_amid_body",
            happens: "the route gives up amid the body of the answer: 200 `UT`",
            recorded: CARRIED,
            finds: &[],
            pods,
            play: |session| carried(session, "/drip/200/ut", 200, "UT"),
        },
        Scenario {
            name: "flag_si",
            happens: "a stream is idle for half a second: 504 `SI`",
            recorded: CARRIED,
            finds: &[],
            pods,
            play: |session| carried(session, "/slow/2/si", 504, "SI"),
        },
        Scenario {
            name: "flag_umsdr",
            happens: "a stream reaches the longest duration that its cluster allows: 504 `UMSDR`",
            recorded: CARRIED,
            finds: &[],
            pods,
            play: |session| carried(session, "/slow/2/umsdr", 504, "UMSDR"),
        },
        Scenario {
            name: "flag_umsdr_amid_body",
            happens: "a stream reaches it amid the body of the answer: 200 `UMSDR`",
            recorded: CARRIED,
            finds: &[],
            pods,
            play: |session| carried(session, "/drip/200/umsdr", 200, "UMSDR"),
        },
        Scenario {
            name: "longest_duration",
            happens: "a stream reaches the longest duration that its route allows: 504 without a flag",
            recorded: CARRIED,
            finds: &[],
            pods,
            play: |session| carried(session, "/slow/2/msd", 504, "-"),
        },
        Scenario {
            name: "longest_duration_amid_body",
            happens: "a stream reaches it amid the body of the answer: 200 without a flag",
            recorded: CARRIED,
            finds: &[],
            pods,
            play: |session| carried(session, "/drip/200/msd", 200, "-"),
        },
        Scenario {
            name: "flag_uc",
            happens: "the app closes its connection without an answer: `UC` (HTTP/2: it resets the stream against the protocol: `UPE`)",
            recorded: "both sides: `matched` 1/1",
            finds: &[],
            pods,
            play: |session| closed(session, "/close/flag"),
        },
        Scenario {
            name: "flag_upe",
            happens: "what the app answers is no HTTP: 502 `UPE`",
            recorded: "both sides: `matched` 1/1",
            finds: &[],
            pods,
            play: |session| at_server(session, "garble", GARBLED_PORT, "/upe", &["UPE"]),
        },
        Scenario {
            name: "app_says_nothing",
            happens: "the app says nothing; the sidecar gives up: `UT`, over HTTP/2 its connection too: `UC`",
            recorded: "both sides: `matched` 1/1",
            finds: &[],
            pods,
            play: |session| at_server(session, "mute", MUTE_PORT, "/mute", &["UC", "UT"]),
        },
    ],
};

const ANSWERED: &str =
    "inbound: server `proxy_answered` 0/1, client `matched`; outbound: client `matched` 1/1";
const CARRIED: &str = "inbound and outbound: both sides `matched` 1/1";

/// Where the app is one that speaks no HTTP, and one that says nothing.
const GARBLED_PORT: u16 = 7005;
const MUTE_PORT: u16 = 7006;

fn pods() -> Vec<PodSpec> {
    vec![
        PodSpec::new("a"),
        PodSpec::new("b"),
        PodSpec::new("flagging").editing(|config, sidecar| {
            let peer = sidecar.peers.iter().find(|peer| peer.name == "b");
            let host = peer.map(|peer| peer.host.clone()).unwrap_or_default();
            provoke(config, OUTBOUND, &format!("outbound|8080||{host}"));
        }),
        PodSpec::new("flagged")
            .naming(GARBLED_PORT)
            .naming(MUTE_PORT)
            .editing(|config, _| {
                provoke(config, INBOUND, "inbound|8080||");
                lose_patience(config);
            }),
    ]
}

/// Which of two sidecars sets the flag.
#[derive(Clone, Copy)]
struct Leg {
    client: &'static str,
    server: &'static str,
    inbound: bool,
}

impl Leg {
    const fn out(client: &'static str, server: &'static str) -> Self {
        Self {
            client,
            server,
            inbound: false,
        }
    }

    const fn into(client: &'static str, server: &'static str) -> Self {
        Self {
            client,
            server,
            inbound: true,
        }
    }

    fn proxy(self) -> &'static str {
        if self.inbound {
            self.server
        } else {
            self.client
        }
    }

    /// A path that no other leg and way has.
    fn path(self, way: Way, base: &str) -> String {
        let direction = if self.inbound { "in" } else { "out" };
        way.path(&format!("{base}/{direction}"))
    }
}

const LEGS: [Leg; 2] = [Leg::out("flagging", "b"), Leg::into("a", "flagged")];

/// A sidecar answers by itself: the app never had the request.
fn answered(
    session: &Session,
    base: &'static str,
    status: u16,
    flag: &'static str,
) -> Result<Judge> {
    play(session, &LEGS, base, &[], status, flag, false)
}

/// The app had the request.
fn carried(
    session: &Session,
    base: &'static str,
    status: u16,
    flag: &'static str,
) -> Result<Judge> {
    play(session, &LEGS, base, &[], status, flag, true)
}

fn play(
    session: &Session,
    legs: &[Leg],
    base: &'static str,
    options: &[&str],
    status: u16,
    flag: &'static str,
    reaches_the_app: bool,
) -> Result<Judge> {
    let legs = legs.to_vec();
    for leg in &legs {
        Way::all_at_once(|way| {
            let path = leg.path(way, base);
            let received = way.get(session, leg.client, leg.server, &path, options)?;
            ensure!(
                received == status,
                "{path}: expected {status}, got {received}"
            );
            wait_for_line(session, leg.proxy(), &path)?;
            Ok(())
        })?;
    }
    judge(move |evidence| {
        for leg in legs {
            for way in Way::ALL {
                let path = leg.path(way, base);
                has_flag(evidence, leg.proxy(), &path, &[flag])?;
                if reaches_the_app {
                    matched_at_both(evidence, leg.client, leg.server, &path)?;
                } else {
                    refused(evidence, leg, &path)?;
                }
            }
        }
        Ok(())
    })
}

fn closed(session: &Session, base: &'static str) -> Result<Judge> {
    for way in Way::ALL {
        let path = way.path(base);
        let received = way.get(session, "a", "b", &path, &[])?;
        ensure!(received >= 500, "{path}: expected an error, got {received}");
        wait_for_line(session, "b", &path)?;
    }
    judge(move |evidence| {
        for way in Way::ALL {
            let path = way.path(base);
            let flag = if way.http2 { "UPE" } else { "UC" };
            has_flag(evidence, "b", &path, &[flag])?;
            matched_at_both(evidence, "a", "b", &path)?;
        }
        Ok(())
    })
}

fn has_flag(evidence: &Evidence, pod: &str, path: &str, flags: &[&str]) -> Result<()> {
    let lines = evidence.lines(pod, path)?;
    let [line] = lines[..] else {
        anyhow::bail!("expected one line of {path}, got {lines:?}");
    };
    // `[time] "METHOD PATH PROTOCOL" STATUS FLAGS …`
    let told = line.split(' ').nth(5).context("in a line")?;
    let has = told.split(',').any(|told| flags.contains(&told));
    ensure!(has, "expected one of {flags:?}: {line}");
    Ok(())
}

fn refused(evidence: &Evidence, leg: Leg, path: &str) -> Result<()> {
    let served = evidence.nginx(leg.server, path)?.len();
    ensure!(served == 0, "the app had {path} {served} times");
    matched(evidence, leg.client, "client", path)?;
    if leg.inbound {
        let found = evidence.http(leg.server, "server", path);
        found.are("proxy_answered")?.of_units(0, 1)?;
    }
    Ok(())
}

/// One of the helper's servers is the app.
fn at_server(
    session: &Session,
    what: &str,
    port: u16,
    base: &'static str,
    flags: &'static [&'static str],
) -> Result<Judge> {
    let server = session.lab.pod("flagged");
    let _serving = server.serve(what, port)?;
    for way in Way::ALL {
        let path = way.path(base);
        let to = (way.family.of(server.addresses()), port).into();
        let received = way.ask(session.lab.pod("a"), to, &path, &[])?;
        ensure!(received >= 500, "{path}: expected an error, got {received}");
        wait_for_line(session, "flagged", &path)?;
    }
    judge(move |evidence| {
        for way in Way::ALL {
            let path = way.path(base);
            has_flag(evidence, "flagged", &path, flags)?;
            matched(evidence, "a", "client", &path)?;
            matched(evidence, "flagged", "server", &path)?;
        }
        Ok(())
    })
}
