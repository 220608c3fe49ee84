//! Clients that a load balancer in front announces with the PROXY protocol: lines name them, and
//! not who connected.

use anyhow::{Context, Result, ensure};
use lab::{
    Session,
    envoy::{
        Sidecar,
        edit::{INBOUND, add_route, listener},
    },
    nginx,
    pod::{PROXY, Pod, PodSpec},
    process::User,
};
use serde_json::{Value, json};

use crate::{
    evidence::Found,
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{Family, PATIENCE, Way, matched},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "Clients that a load balancer announces",
    scenarios: &[
        Scenario {
            name: "announced_clients",
            happens: "the PROXY protocol (versions 1 and 2) names the client of a request from outside, of one that is carried and of one that the sidecar refuses",
            recorded: "server: `matched` 1/1 and `proxy_answered` 0/1",
            finds: &[],
            pods: || {
                vec![
                    PodSpec::new("balanced")
                        .denying("/refused")
                        .editing(|config, _| take_announcements(config, INBOUND)),
                ]
            },
            play: to_sidecar,
        },
        Scenario {
            name: "announced_clients_of_gateway",
            happens: "the same at a gateway, which carries one request on and answers the other",
            recorded: "the gateway's lines: `outside` 0/1, `gateway`; server: `matched` 1/1",
            finds: &[],
            pods: || {
                vec![
                    PodSpec::new("b"),
                    PodSpec::new("balancedgate")
                        .gateway(GATEWAY_PORT, "b", nginx::HTTP_PORT)
                        .editing(edit_gateway),
                ]
            },
            play: to_gateway,
        },
    ],
};

const GATEWAY_PORT: u16 = 8000;

/// Connections without an announcement are taken, too.
fn take_announcements(config: &mut Value, name: &str) {
    let filter = json!({
        "name": "envoy.filters.listener.proxy_protocol",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
            "allow_requests_without_proxy_protocol": true,
        },
    });
    // Before the filter that restores the destination, which the announcement has otherwise.
    match listener(config, name)["listener_filters"].as_array_mut() {
        Some(filters) => filters.insert(0, filter),
        None => listener(config, name)["listener_filters"] = json!([filter]),
    }
}

fn edit_gateway(config: &mut Value, _: &Sidecar<'_>) {
    let name = format!("0.0.0.0_{GATEWAY_PORT}");
    take_announcements(config, &name);
    add_route(config, &name, "/refused", |route| {
        if let Some(route) = route.as_object_mut() {
            route.remove("route");
        }
        route["direct_response"] = json!({ "status": 403 });
    });
}

/// A way, and the version of the announcement.
fn cases() -> impl Iterator<Item = (Way, u8)> {
    Way::ALL
        .into_iter()
        .flat_map(|way| [1, 2].map(|version| (way, version)))
}

fn path((way, version): (Way, u8), base: &str) -> String {
    way.path(&format!("{base}/version-{version}"))
}

/// Lets the host outside announce a client and ask for a path.
fn ask(session: &Session, server: &Pod, port: u16, case: (Way, u8), base: &str) -> Result<()> {
    let (way, version) = case;
    let path = path(case, base);
    let announcement = announcement(way, version);
    let request = match way.http2 {
        true => http2_request(&path)?,
        false => format!(r"GET {path} HTTP/1.1\r\nhost: announced\r\n\r\n"),
    };
    let to = format!(
        "{}",
        std::net::SocketAddr::new(way.family.of(server.addresses()), port)
    );
    let text = format!("{announcement}{request}");
    let helper = server.helper().to_str().context("a path")?;
    let words = [helper, "bytes", &to, &text, "500"];
    let output = session.lab.outside().place(User::APP).run(words)?;
    ensure!(output.status.success(), "{output:?}");
    let log = &server.container(PROXY).log;
    let line = log.wait_for(PATIENCE, |line| line.contains(&path))?;
    let announced = match way.family {
        Family::V4 => " 198.51.100.7:4711 ",
        Family::V6 => " [2001:db8::7]:4711 ",
    };
    ensure!(line.contains(announced), "{line}");
    Ok(())
}

/// What stands before the request, with escapes.
fn announcement(way: Way, version: u8) -> String {
    use Family::{V4, V6};
    match (version, way.family) {
        (1, V4) => r"PROXY TCP4 198.51.100.7 198.51.100.8 4711 80\r\n".to_owned(),
        (1, V6) => r"PROXY TCP6 2001:db8::7 2001:db8::8 4711 80\r\n".to_owned(),
        (_, V4) => format!(r"{SIGNATURE}\x21\x11\x00\x0c\xc6\x33\x64\x07\xc6\x33\x64\x08{PORTS}"),
        (_, V6) => {
            let address = |last: u8| format!(r"\x20\x01\x0d\xb8{}\x{last:02x}", r"\x00".repeat(11));
            format!(
                r"{SIGNATURE}\x21\x21\x00\x24{}{}{PORTS}",
                address(7),
                address(8)
            )
        }
    }
}

const SIGNATURE: &str = r"\x0d\x0a\x0d\x0a\x00\x0d\x0aQUIT\x0a";
/// 4711 and 80.
const PORTS: &str = r"\x12\x67\x00\x50";

/// The preface, and a request on stream 1 (RFC 9113 3.4, 6.2; RFC 7541 6.1, 6.2.2), with escapes.
fn http2_request(path: &str) -> Result<String> {
    let length = u8::try_from(path.len())?;
    let block = 1 + 1 + (2 + path.len()) + (2 + 1);
    let block = u8::try_from(block)?;
    Ok(format!(
        r"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x{block:02x}\x01\x05\x00\x00\x00\x01\x82\x86\x04\x{length:02x}{path}\x01\x01b"
    ))
}

fn to_sidecar(session: &mut Session) -> Result<Judge> {
    let server = session.lab.pod("balanced");
    for case in cases() {
        let port = case.0.socket(server.addresses()).port();
        for base in ["/refused", "/carried"] {
            ask(session, server, port, case, base)?;
        }
    }
    judge(|evidence| {
        for case in cases() {
            matched(evidence, "balanced", "server", &path(case, "/carried"))?;
            let refused = evidence.http("balanced", "server", &path(case, "/refused"));
            refused.are("proxy_answered")?.of_units(0, 1)?;
        }
        Ok(())
    })
}

fn to_gateway(session: &mut Session) -> Result<Judge> {
    let server = session.lab.pod("balancedgate");
    // It speaks HTTP/1.1 to an app that speaks no other.
    let cases = || cases().filter(|(way, _)| !way.http2);
    for case in cases() {
        for base in ["/refused", "/gate"] {
            ask(session, server, GATEWAY_PORT, case, base)?;
        }
    }
    judge(move |evidence| {
        for case in cases() {
            matched(evidence, "b", "server", &path(case, "/gate"))?;
            for base in ["/refused", "/gate"] {
                let path = path(case, base);
                let found: Found<'_> =
                    evidence.of("balancedgate", &path, |record| record.path() == path);
                found
                    .are("outside")?
                    .with_reason("gateway")?
                    .of_units(0, 1)?;
            }
        }
        Ok(())
    })
}
