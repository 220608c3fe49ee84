//! Each error names the file, the line and the key, and what was expected.

use super::{EVERY_DEFAULT, parse};

fn error(text: &str) -> String {
    match parse(text) {
        Err(error) => error.to_string(),
        Ok(config) => panic!("accepted: {config:?}"),
    }
}

#[test]
fn places_and_messages() {
    for (text, expected) in [
        // structure
        (
            "mode: enforce\ncaptures: {}\n",
            "mw.yaml:2: captures: unknown key; expected one of `node`, `mode`, `capture`, `logs`, `mesh`, `redact`, `state`, `ledger`, `forward`, `telemetry`",
        ),
        (
            "logs:\n  root: /var/log\n  Flush: 1s\n",
            "mw.yaml:3: logs.Flush: unknown key; expected one of `root`, `proxy_containers`, `format`, `flush`",
        ),
        ("logs: 1", "mw.yaml:1: logs: expected a mapping, got `1`"),
        ("- a", "mw.yaml:1: expected a mapping, got a list"),
        (
            "capture:\n  attach: kubepods",
            "mw.yaml:2: capture.attach: expected a list, got `kubepods`",
        ),
        (
            "node: {name: [a]}",
            "mw.yaml:1: node.name: expected a string, got a list",
        ),
        (
            "mode: a\nmode: b",
            "mw.yaml:2: mode: the key stands here twice",
        ),
        (
            "logs:\n  a: 1\n  a: 2",
            "mw.yaml:3: logs.a: the key stands here twice",
        ),
        (
            "mode: &a enforce",
            "mw.yaml:1: anchors and tags are not used here; write the plain value",
        ),
        (
            "mode: enforce\n---\nmode: observe",
            "mw.yaml:2: expected one document, got a second one",
        ),
        (
            "? [a]\n: b",
            "mw.yaml:1: expected a key, got a list or a mapping",
        ),
        // words, sizes, times, addresses
        (
            "mode: audit",
            "mw.yaml:1: mode: expected one of `enforce`, `observe`, got `audit`",
        ),
        (
            "capture: {ring_bytes: 16MB}",
            "mw.yaml:1: capture.ring_bytes: expected a size such as `512KiB`, `16MiB` or `1GiB`, got `16MB`",
        ),
        (
            "capture:\n  ring_bytes: 12MiB",
            "mw.yaml:2: capture.ring_bytes: expected a power of two from 64KiB to 1GiB, such as `16MiB`, got `12MiB`",
        ),
        (
            "capture: {ring_bytes: 1}",
            "mw.yaml:1: capture.ring_bytes: expected a power of two from 64KiB to 1GiB, such as `64KiB`, got `1`",
        ),
        (
            "ledger: {interval: 60}",
            "mw.yaml:1: ledger.interval: expected a time such as `500ms`, `10s`, `5m` or `1h`, got `60`",
        ),
        (
            "ledger: {interval: 1ms}",
            "mw.yaml:1: ledger.interval: expected `1s` to `1h`, got `1ms`",
        ),
        (
            "logs: {flush: 2h}",
            "mw.yaml:1: logs.flush: expected at most `1h`, got `2h`",
        ),
        (
            "logs: {root: log}",
            "mw.yaml:1: logs.root: expected an absolute path such as `/var/log`, got `log`",
        ),
        (
            "logs: {format: istio}",
            "mw.yaml:1: logs.format: expected `auto`, `istio-text`, `istio-json`, an Envoy format string with at least one `%OPERATOR%`, or `{json: {…}}`, got `istio`",
        ),
        (
            "logs: {format: {yaml: {}}}",
            "mw.yaml:1: logs.format.yaml: unknown key; expected one of `json`",
        ),
        (
            "logs: {proxy_containers: []}",
            "mw.yaml:1: logs.proxy_containers: expected 1 to 16 names of containers",
        ),
        (
            "redact: {identity: {jwt_claims: [sub, sub]}}",
            "mw.yaml:1: redact.identity.jwt_claims: expected at most 16 names of claims, such as `sub`, each once",
        ),
        (
            "redact: {identity: {jwt_claims: ['']}}",
            "mw.yaml:1: redact.identity.jwt_claims: expected at most 16 names of claims, such as `sub`, each once",
        ),
        (
            "mesh: {listeners: [15001, 0]}",
            "mw.yaml:1: mesh.listeners[1]: expected a port from 1 to 65535, got `0`",
        ),
        (
            "mesh:\n  listeners:\n    - 15001\n    - ${PORT}5\n",
            "mw.yaml:4: mesh.listeners[1]: expected a port from 1 to 65535, got `${PORT}5`",
        ),
        (
            "telemetry: {listen: 'localhost:1'}",
            "mw.yaml:1: telemetry.listen: expected ADDRESS:PORT, such as `127.0.0.1:9464`, got `localhost:1`",
        ),
        (
            "capture: {cgroup: none}",
            "mw.yaml:1: capture.cgroup: expected `auto` or an absolute path such as `/sys/fs/cgroup`, got `none`",
        ),
        (
            "capture: {attach: [a/../b]}",
            "mw.yaml:1: capture.attach[0]: expected a path relative to the cgroup mount, such as `kubepods.slice`, got `a/../b`",
        ),
        (
            "capture: {headers: ['a b']}",
            "mw.yaml:1: capture.headers[0]: expected the name of a header, such as `user-agent`, got `a b`",
        ),
        // policy
        (
            "mesh:\n  policy:\n    - expect: bypass\n",
            "mw.yaml:3: mesh.policy[0].expect: expected one of `direct`, `unlogged`, `outside`, got `bypass`",
        ),
        (
            "mesh: {policy: [{port: 1}]}",
            "mw.yaml:1: mesh.policy[0]: the key `expect` is missing and has no default",
        ),
        (
            "mesh: {policy: [{expect: direct, cidr: 10.0.0.1/8}]}",
            "mw.yaml:1: mesh.policy[0].cidr: expected a range that begins at its network address: the bits behind the first 8 must be 0, got `10.0.0.1/8`",
        ),
        // variables
        (
            "mode: enforce\nnode: {name: '${MISSING}'}",
            "mw.yaml:2: node.name: the environment variable MISSING is not set: set it, or write `${MISSING:-default}`",
        ),
        (
            "mesh:\n  listeners: [1, ${MISSING}]",
            "mw.yaml:2: mesh.listeners[1]: the environment variable MISSING is not set: set it, or write `${MISSING:-default}`",
        ),
        (
            "${PORT}: a",
            "mw.yaml:1: a key cannot hold a `${…}` reference",
        ),
        (
            "state: {dir: '${'}",
            "mw.yaml:1: state.dir: expected `${NAME}` or `${NAME:-default}` (`$${` for a literal `${`), got `${`",
        ),
        // control characters are escaped
        (
            "mode: \"a\\e[2J\"",
            "mw.yaml:1: mode: expected one of `enforce`, `observe`, got `a\\u{1b}[2J`",
        ),
        (
            "\"a\\n\": 1",
            "mw.yaml:1: a\\n: unknown key; expected one of `node`, `mode`, `capture`, `logs`, `mesh`, `redact`, `state`, `ledger`, `forward`, `telemetry`",
        ),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn broken_yaml_is_placed() {
    let error = error("mode: enforce\nlogs: {root: /a\nmesh: [\n");
    assert!(error.starts_with("mw.yaml:"), "{error}");
    let deep = format!("a: {}{}", "[".repeat(40), "]".repeat(40));
    let error = parse(&deep).unwrap_err().to_string();
    assert!(error.contains("at most 32 levels of nesting"), "{error}");
}

#[test]
fn sinks() {
    let sink = |keys: &str| {
        error(&format!(
            "forward:\n  - endpoint: collector:6514\n    tls: {{ca: a, cert: b, key: c}}\n    {keys}"
        ))
    };
    for (keys, expected) in [
        (
            "type: otlp",
            "mw.yaml:4: forward[0].type: this type of sink is not in this version; expected `ndjson`, got `otlp`",
        ),
        (
            "type: ndjson\n    queue: 1KiB",
            "mw.yaml:5: forward[0].queue: expected `1MiB` to `4GiB`, got `1KiB`",
        ),
        (
            "type: ndjson\n    spool: disk",
            "mw.yaml:5: forward[0].spool: not in this version: leave the key out or write `memory`",
        ),
        (
            "type: ndjson\n    include: {kinds: some}",
            "mw.yaml:5: forward[0].include.kinds: expected `all` or a list, got `some`",
        ),
        (
            "type: ndjson\n    include: {kinds: [http, tcp]}",
            "mw.yaml:5: forward[0].include.kinds[1]: expected one of `http`, `connection`, `finding`, `ledger`, `lifecycle`, got `tcp`",
        ),
        (
            "queue: 1MiB",
            "mw.yaml:2: forward[0]: the key `type` is missing and has no default",
        ),
    ] {
        assert_eq!(sink(keys), expected);
    }
    let text = "forward: [{type: ndjson, endpoint: collector, tls: {ca: a, cert: b, key: c}}]";
    assert_eq!(
        error(text),
        "mw.yaml:1: forward[0].endpoint: expected HOST:PORT, such as `collector:6514` or `[fd00::1]:6514`, got `collector`"
    );
}

#[test]
fn later_parts_are_refused_and_never_ignored() {
    for (text, key) in [
        ("evidence: {dir: /x}", "evidence"),
        ("evidence: merkle", "evidence"),
        ("mesh: {interception: tproxy}", "mesh.interception"),
        ("logs: {driver: docker}", "logs.driver"),
        ("capture: {scope: all}", "capture.scope"),
    ] {
        let error = error(text);
        assert!(
            error.starts_with(&format!("mw.yaml:1: {key}: not in this version")),
            "{error}"
        );
    }
    for text in [
        "evidence: none",
        "mesh: {interception: redirect}",
        "logs: {driver: cri}",
    ] {
        assert!(parse(text).is_ok(), "{text}");
    }
}

#[test]
fn credentials_are_no_headers_to_keep() {
    for name in [
        "Authorization",
        "cookie",
        "Set-Cookie",
        "proxy-authorization",
    ] {
        let error = error(&format!("capture: {{headers: [{name}]}}"));
        assert!(error.contains("never kept"), "{error}");
    }
}

#[test]
fn values_from_the_environment_are_not_shown() {
    for text in [
        "mode: ${SECRET}",
        "ledger: {interval: '${SECRET}'}",
        "telemetry: {listen: ${SECRET}}",
        "logs: {format: ${SECRET}}",
        "logs: ${SECRET}",
        "forward: [{type: ${SECRET}}]",
    ] {
        let error = error(text);
        assert!(
            !error.contains("hunter2") && error.contains("${SECRET}"),
            "{error}"
        );
    }
}

#[test]
fn every_line_of_a_full_file_can_be_named() {
    let lines = EVERY_DEFAULT.lines().count();
    let mut named = 0;
    for line in 0..lines {
        let text: Vec<_> = EVERY_DEFAULT.lines().collect();
        let mut text: Vec<_> = text.into_iter().map(str::to_owned).collect();
        let Some((key, _)) = text[line].split_once(": ") else {
            continue;
        };
        let is_one_of_many = text[line].matches('{').count() != text[line].matches('}').count();
        if is_one_of_many || key.contains(['{', '-', '#']) {
            continue;
        }
        text[line] = format!("{key}x: 1");
        let shown = error(&text.join("\n"));
        assert!(
            shown.starts_with(&format!("mw.yaml:{}: ", line + 1)),
            "{shown}"
        );
        named += 1;
    }
    assert!(named > 15, "{named}");
}
