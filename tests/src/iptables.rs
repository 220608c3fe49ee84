//! Istio's redirection, as its init container installs it.

use std::fmt::Write;

use anyhow::Result;

use crate::{network, process::Place};

/// What is not redirected.
#[derive(Clone, Debug, Default)]
pub struct Exclusions {
    /// Destination ports of connections into the pod.
    pub inbound: Vec<u16>,
    /// Destination ports of connections out of the pod.
    pub outbound: Vec<u16>,
    /// Destination ranges of connections out of the pod, in CIDR notation.
    pub outbound_ranges: Vec<String>,
}

/// Installs the rules in the namespace of `place`, for both address families.
///
/// # Errors
///
/// If `iptables-restore` refuses them; the message has what it said.
pub fn install(place: &Place<'_>, exclusions: &Exclusions) -> Result<()> {
    for (program, family) in [("iptables-restore", V4), ("ip6tables-restore", V6)] {
        let rules = rules(&family, exclusions);
        network::feed(&mut place.command([program])?, &rules)?;
    }
    Ok(())
}

/// The addresses that differ between the families.
struct Family {
    loopback: &'static str,
    inbound_source: &'static str,
}

const V4: Family = Family {
    loopback: "127.0.0.1/32",
    inbound_source: "127.0.0.6/32",
};

const V6: Family = Family {
    loopback: "::1/128",
    inbound_source: "::6/128",
};

/// The nat table; the order of the rules is Istio's.
fn rules(family: &Family, exclusions: &Exclusions) -> String {
    let Family {
        loopback,
        inbound_source,
    } = family;
    let mut text = String::from(
        "*nat\n\
         :ISTIO_INBOUND - [0:0]\n\
         :ISTIO_IN_REDIRECT - [0:0]\n\
         :ISTIO_OUTPUT - [0:0]\n\
         :ISTIO_REDIRECT - [0:0]\n\
         -A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001\n\
         -A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006\n\
         -A PREROUTING -p tcp -j ISTIO_INBOUND\n\
         -A OUTPUT -j ISTIO_OUTPUT\n\
         -A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN\n",
    );
    for port in [15090, 15021, 15020].iter().chain(&exclusions.inbound) {
        append(
            &mut text,
            &format!("-A ISTIO_INBOUND -p tcp --dport {port} -j RETURN"),
        );
    }
    append(&mut text, "-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT");
    for port in &exclusions.outbound {
        append(
            &mut text,
            &format!("-A ISTIO_OUTPUT -p tcp --dport {port} -j RETURN"),
        );
        append(
            &mut text,
            &format!("-A ISTIO_OUTPUT -p udp --dport {port} -j RETURN"),
        );
    }
    append(
        &mut text,
        &format!("-A ISTIO_OUTPUT -s {inbound_source} -o lo -j RETURN"),
    );
    for owner in ["--uid-owner 1337", "--gid-owner 1337"] {
        append(
            &mut text,
            &format!(
                "-A ISTIO_OUTPUT ! -d {loopback} -o lo -p tcp ! --dport 15008 \
                 -m owner {owner} -j ISTIO_IN_REDIRECT"
            ),
        );
        append(
            &mut text,
            &format!("-A ISTIO_OUTPUT -o lo -m owner ! {owner} -j RETURN"),
        );
        append(
            &mut text,
            &format!("-A ISTIO_OUTPUT -m owner {owner} -j RETURN"),
        );
    }
    append(
        &mut text,
        &format!("-A ISTIO_OUTPUT -d {loopback} -j RETURN"),
    );
    let ranges = exclusions.outbound_ranges.iter();
    for range in ranges.filter(|range| range.contains(':') == loopback.contains(':')) {
        append(&mut text, &format!("-A ISTIO_OUTPUT -d {range} -j RETURN"));
    }
    append(&mut text, "-A ISTIO_OUTPUT -j ISTIO_REDIRECT");
    append(&mut text, "COMMIT");
    text
}

fn append(text: &mut String, rule: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{rule}");
}
