//! Whole files: the defaults, the errors and their places, and hostile text.

mod errors;

use std::{path::Path, time::Duration};

use proptest::{prelude::any, prop_assert, proptest};
use serde_json::json;

use super::{
    CgroupMount, CollectConfig, Config, ConfigError, Direction, Expectation, IdentityForm,
    LogFormat, Mode,
};
use crate::record::QueryRedaction;
use crate::record::{Include, Kind, Verdict};

/// Every key of the agent at its default, and one sink.
const EVERY_DEFAULT: &str = r#"
node: { name: ${NODE_NAME:-} }          # default: the host name
mode: enforce
capture:
  cgroup: auto                          # or a path
  attach: [kubepods.slice, kubepods, kubelet.slice/kubelet-kubepods.slice]   # each that exists
  kubelet: [system.slice/kubelet.service, kubelet.slice/kubelet.service, system.slice/k3s.service]
  scope: meshed
  ring_bytes: 16MiB
  headers: [user-agent, x-request-id, traceparent, content-type, x-forwarded-for]
                                        # the agent's own cgroup is always left out: ${NOT_SET}
logs:
  root: /var/log
  proxy_containers: [istio-proxy]
  format: auto
  flush: 10s
mesh:
  listeners: [15001, 15006]
  admin: [15000]
  policy: []
redact: { query: values, paths: [], identity: { jwt_claims: [], form: hash } }
state: { dir: /var/lib/meshwitness }
ledger: { interval: 60s }
forward:
  - { type: ndjson, endpoint: "collector:6514", tls: { ca: FILE, cert: FILE, key: FILE, server_name: NAME },
      include: { kinds: all, verdicts: all }, queue: 64MiB, window: 32MiB }
telemetry: { listen: "127.0.0.1:9464" }
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("mw.yaml"), text, &|name| match name {
        "NODE_NAME" => Some("n1".into()),
        "SECRET" => Some("hunter2".into()),
        "STRUCTURE" => Some("x, admin: [1]}\nmode: observe".into()),
        "PORT" => Some("15101".into()),
        _ => None,
    })
}

#[test]
fn what_is_left_out_has_its_documented_default() {
    let mut config = parse(&EVERY_DEFAULT.replace("NODE_NAME", "UNSET")).unwrap();
    let sink = config.forward.remove(0);
    assert_eq!(config, Config::default());
    for text in ["", "# nothing\n", "---\n", "capture:\nlogs: ~\n", "{}"] {
        assert_eq!(parse(text).unwrap(), Config::default(), "{text:?}");
    }

    assert_eq!(sink.endpoint.to_string(), "collector:6514");
    assert_eq!(sink.server_name(), "NAME");
    let short =
        "forward: [{type: ndjson, endpoint: collector:6514, tls: {ca: a, cert: b, key: c}}]";
    let short = parse(short).unwrap().forward.remove(0);
    assert_eq!(short.server_name(), "collector");
    assert_eq!(
        (&short.include, short.queue_bytes, short.window_bytes),
        (&sink.include, 64 << 20, 32 << 20)
    );
    assert_eq!(sink.include, Include::default());
}

#[test]
fn every_key_is_read() {
    let config = parse(
        r#"
node: { name: "${NODE_NAME}.example" }
mode: observe
capture: { cgroup: /sys/fs/cgroup/unified, attach: [/a/b/], kubelet: [], scope: meshed,
           ring_bytes: 1MiB, headers: [X-Tenant, x-tenant, Accept] }
logs:
  root: /host/log
  proxy_containers: [proxy, istio-proxy]
  format: "[%START_TIME%] %REQ(:METHOD)%\n"
  flush: 500ms
mesh:
  listeners: [${PORT}]
  policy:
    - { expect: direct, direction: outbound, port: 3306, cidr: 10.0.0.0/8, workload: shop/*,
        reason: "the database has no sidecar" }
    - { expect: unlogged, method: GET, path: /health*, status: 2xx }
redact: { query: drop, paths: [/reset/*], identity: { jwt_claims: [sub, iss], form: plain } }
state: { dir: /srv/state }
ledger: { interval: 5s }
forward:
  - type: ndjson
    endpoint: "[fd00::1]:6514"
    tls: { ca: ca.pem, cert: cert.pem, key: key.pem }
    include: { kinds: [finding], verdicts: [unlogged, bypassed] }
    queue: 1MiB
    spool: memory
telemetry: { listen: "[::]:0" }
evidence: none
"#,
    )
    .unwrap();
    assert_eq!(config.node.name_or_host().unwrap(), "n1.example");
    assert_eq!(config.mode, Mode::Observe);
    let capture = &config.capture;
    assert_eq!(
        capture.cgroup,
        CgroupMount::Path("/sys/fs/cgroup/unified".into())
    );
    assert_eq!(capture.attach, ["a/b"]);
    assert!(capture.kubelet.is_empty());
    assert_eq!(
        (capture.ring_bytes, &capture.headers[..]),
        (1 << 20, &["x-tenant".into(), "accept".into()][..])
    );
    assert_eq!(config.logs.root, Path::new("/host/log"));
    assert_eq!(config.logs.flush, Duration::from_millis(500));
    let format = "[%START_TIME%] %REQ(:METHOD)%\n";
    assert_eq!(config.logs.format, LogFormat::Text(format.into()));
    assert_eq!(config.mesh.listeners, [15101]);
    let [direct, unlogged] = &config.mesh.policy[..] else {
        panic!("{:?}", config.mesh.policy);
    };
    assert_eq!(direct.expect, Expectation::Direct);
    assert_eq!(
        (direct.direction, direct.port),
        (Some(Direction::Outbound), Some(3306))
    );
    assert!(direct.cidr.unwrap().contains([10, 1, 1, 1].into()));
    assert!(direct.workload.as_ref().unwrap().matches("shop", "a"));
    assert_eq!(
        direct.reason.as_deref(),
        Some("the database has no sidecar")
    );
    assert_eq!(unlogged.method.as_deref(), Some("GET"));
    assert!(unlogged.path.as_ref().unwrap().matches("/healthz"));
    assert!(unlogged.status.unwrap().matches(204));
    assert_eq!(config.redact.query, QueryRedaction::Drop);
    assert!(config.redact.paths[0].matches("/reset/token"));
    assert_eq!(config.redact.identity.form, IdentityForm::Plain);
    assert_eq!(config.redact.identity.jwt_claims, ["sub", "iss"]);
    assert_eq!(config.ledger.interval, Duration::from_secs(5));
    let include = &config.forward[0].include;
    assert_eq!(include.kinds, Some(vec![Kind::Finding]));
    assert_eq!(
        include.verdicts,
        Some(vec![Verdict::Unlogged, Verdict::Bypassed])
    );
    assert_eq!(config.telemetry.listen, "[::]:0".parse().unwrap());
}

#[test]
fn log_formats() {
    for (text, expected) in [
        ("auto", LogFormat::Auto),
        ("istio-text", LogFormat::IstioText),
        ("'istio-json'", LogFormat::IstioJson),
        ("'%START_TIME% x'", LogFormat::Text("%START_TIME% x".into())),
        (
            "{json: {path: '%REQ(:PATH)%', nested: {code: '%RESPONSE_CODE%'}, n: 1, f: 0.5, b: true, s: 1.x, z: ~}}",
            LogFormat::Json(
                json!({"path": "%REQ(:PATH)%", "nested": {"code": "%RESPONSE_CODE%"}, "n": 1, "f": 0.5, "b": true, "s": "1.x", "z": null})
                    .as_object()
                    .unwrap()
                    .clone(),
            ),
        ),
    ] {
        let config = parse(&format!("logs: {{format: {text}}}")).unwrap();
        assert_eq!(config.logs.format, expected);
    }
}

#[test]
fn a_value_from_the_environment_stays_one_value() {
    let config = parse("mesh: {policy: [{expect: direct, path: ${STRUCTURE:-x}}]}");
    // It holds a line end, which no path has; as structure it would have been accepted.
    assert!(
        config
            .unwrap_err()
            .to_string()
            .contains("mesh.policy[0].path")
    );
    let config = parse("state: {dir: $${SECRET}/${SECRET}}").unwrap();
    assert_eq!(config.state.dir, Path::new("${SECRET}/hunter2"));
}

#[test]
fn the_collector() {
    let parse = |text: &str| CollectConfig::parse(Path::new("c.yaml"), text, &|_| None);
    let config = parse(
        "{ listen: '0.0.0.0:6514', tls: { cert: a, key: b, client_ca: c }, allow: ['spiffe://x/n1'], dir: /d, rotate: 1MiB }",
    )
    .unwrap();
    assert_eq!(config.allow, ["spiffe://x/n1"]);
    assert_eq!(config.rotate_bytes, 1 << 20);
    let short = "listen: 0.0.0.0:6514\ntls: { cert: a, key: b, client_ca: c }\ndir: /d\n";
    assert_eq!(parse(short).unwrap().rotate_bytes, 128 << 20);
    let error = parse("listen: 0.0.0.0:6514\ndir: /d\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "c.yaml:1: the key `tls` is missing and has no default"
    );
}

#[test]
fn files_are_read_and_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mw.yaml");
    assert!(matches!(
        Config::load(&file),
        Err(ConfigError::Unreadable { .. })
    ));
    std::fs::write(&file, "mode: observe").unwrap();
    let config = Config::load(&file).unwrap();
    assert_eq!(config.mode, Mode::Observe);
    let error = config.require_sinks(&file).unwrap_err().to_string();
    assert!(
        error.contains("forward: expected at least one sink"),
        "{error}"
    );
    std::fs::write(&file, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(matches!(
        Config::load(&file),
        Err(ConfigError::Unreadable { .. })
    ));
}

proptest! {
    #[test]
    fn any_text_is_survived(text in any::<String>()) {
        let _ = parse(&text);
    }

    #[test]
    fn any_yaml_is_survived(text in "[-a-z:{}\\[\\], \n\"'|>&*!#?$%~0-9]{0,200}") {
        if let Err(error) = parse(&text) {
            let shown = error.to_string();
            prop_assert!(!shown.contains(char::is_control), "{:?}", shown);
        }
    }

    #[test]
    fn any_value_is_survived(key in 0..8_usize, value in any::<String>()) {
        let key = ["node.name", "capture.headers", "logs.root", "logs.format", "mesh.listeners",
            "telemetry.listen", "ledger.interval", "capture.ring_bytes"][key];
        let (section, key) = key.split_once('.').unwrap();
        let value = json!(value);
        for text in [format!("{section}: {{{key}: {value}}}"), format!("{section}: {{{key}: [{value}]}}")] {
            let _ = parse(&text);
        }
    }
}
