//! The proposal as text. It is the part of a configuration that it proposes.

use std::fmt::Write;

use super::{Counted, Group, Key, Missed, Suggestions, Warning, network::networks};
use crate::config::{Direction, Expectation};

/// What a person has to replace.
const REASON: &str = "TODO: say why this is expected, or leave the rule out";

/// A configuration may have no more rules.
const MOST_RULES: usize = 1000;

/// Commands that a comment names.
const NAMED_COMMANDS: usize = 5;

pub(super) fn write(suggestions: &Suggestions) -> String {
    let mut out = String::new();
    let mut say = |line: &str| {
        out.push_str(line);
        out.push('\n');
    };
    say(
        "# Proposed by `meshwitness policy suggest`. A rule that is taken over unread allows whatever",
    );
    say(
        "# went on so far: ask the owner of each workload, write the answer as the reason, and leave",
    );
    say("# out what has none.");
    for ((warning, workload), counted) in &suggestions.warnings {
        say(&format!(
            "#\n# No rule: {}",
            warned(*warning, workload, counted)
        ));
    }
    let mut left_out = 0;
    let mut rules = 0;
    let mut body = String::new();
    for (key, group) in &suggestions.groups {
        for rule in of_group(key, group) {
            if rules < MOST_RULES {
                body.push_str(&rule);
                rules += 1;
            } else {
                left_out += 1;
            }
        }
    }
    if left_out > 0 {
        say(&format!(
            "#\n# {left_out} more rules are left out: a policy has at most {MOST_RULES}."
        ));
    }
    match rules {
        0 => say("mesh:\n  policy: []"),
        _ => say(&format!("mesh:\n  policy:\n{}", body.trim_end())),
    }
    out
}

fn warned(warning: Warning, workload: &str, counted: &Counted) -> String {
    let Counted { units, first, last } = counted;
    let what = match warning {
        Warning::ProxyContainer => {
            "a program in the sidecar's container that is not the mesh's made connections"
        }
        Warning::ProxyUser => "a program ran as the sidecar's user and so passed it by",
        Warning::ProxyKilled => "lines were lost when the sidecar was killed",
        Warning::NoPod => "of no pod that a rule could name",
        Warning::TooMany => "beyond what is looked at",
    };
    format!("{workload}: {what} ({units} times, {first} to {last})")
}

/// The rules of a group: one, or one for each network.
fn of_group(key: &Key, group: &Group) -> Vec<String> {
    let also = match key.missed {
        Missed::Direct { .. } => "",
        Missed::Request { .. } => return vec![rule(key, group, None, "")],
        Missed::Connection { .. } => "; expects no lines of requests there either",
    };
    match networks(&group.remotes) {
        Some(networks) => {
            let note = match networks.len() {
                1 => also.to_owned(),
                count => format!(", in {count} networks{also}"),
            };
            let rules = networks.iter();
            rules
                .map(|network| rule(key, group, Some(network), &note))
                .collect()
        }
        None => {
            let count = group.remotes.len();
            let note = format!(", with {count} addresses, so any: name a `cidr` if you can{also}");
            vec![rule(key, group, None, &note)]
        }
    }
}

fn rule(key: &Key, group: &Group, network: Option<&str>, note: &str) -> String {
    let Counted { units, first, last } = &group.counted;
    let mut out = String::new();
    let mut commands: Vec<&str> = group.commands.iter().map(String::as_str).collect();
    commands.truncate(NAMED_COMMANDS);
    let by = match commands.is_empty() {
        true => String::new(),
        false => format!(", by {}", commands.join(", ")),
    };
    let _ = writeln!(
        out,
        "    # {units} times since {first}, last {last}{by}{note}"
    );
    let expect = match key.missed.expectation() {
        Expectation::Direct => "direct",
        Expectation::Unlogged => "unlogged",
        Expectation::Outside => "outside",
    };
    let direction = match Direction::from(key.direction) {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    };
    let _ = writeln!(out, "    - expect: {expect}");
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(out, "      {name}: {value}");
    };
    field("workload", &quoted(&key.workload));
    field("direction", direction);
    match &key.missed {
        Missed::Direct { port } | Missed::Connection { port } => {
            field("port", &port.to_string());
        }
        Missed::Request {
            method,
            path,
            class,
        } => {
            if let Some(method) = method {
                field("method", &quoted(method));
            }
            if let Some(form) = path {
                field("path", &quoted(the_path(form, group)));
            }
            match (group.statuses.len(), group.statuses.first(), class) {
                (1, Some(status), _) => field("status", &quoted(&status.to_string())),
                (_, _, Some(class)) => field("status", &quoted(&format!("{class}xx"))),
                _ => {}
            }
        }
    }
    if let Some(network) = network {
        field("cidr", &quoted(network));
    }
    field("reason", &quoted(REASON));
    out
}

/// The one path of a group, if it is one and may stand in a rule; else their form.
fn the_path<'a>(form: &'a str, group: &'a Group) -> &'a str {
    match (group.paths.len(), group.paths.first()) {
        (1, Some(path)) if path.len() <= form.len().max(256) && is_shown(path) => path,
        _ => form,
    }
}

fn is_shown(path: &str) -> bool {
    path.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A text that means itself in a configuration, which replaces variables.
fn quoted(text: &str) -> String {
    let text = serde_json::Value::from(text.replace("${", "$${"));
    text.to_string()
}
