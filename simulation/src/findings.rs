//! What was found, held against the verdicts: each that proves something is in one finding.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use meshwitness::record::{
    Body, ConnectionState, FindingState, Kind, Reason, Record, Traffic, Units, Verdict,
};

use crate::{sidecars::Plaintext, truth::Truth};

/// What units without a line are: missing lines, or silence.
const UNLOGGED: &str = "MW-003 or MW-004";

/// What connections past their sidecar are.
const BYPASSED: &str = "MW-101 to MW-108";

/// Plaintext between sidecars.
const PLAIN: &str = "MW-112";

/// Pod and finding.
type Key = (String, &'static str);

/// Whether the findings of a run are those that its other records prove. A run that is followed by
/// another ends before it can judge all.
pub(crate) fn check(records: &[Record], truth: &Truth, is_last: bool) -> Result<(), String> {
    let revised: BTreeSet<&str> = records
        .iter()
        .filter_map(traffic)
        .flat_map(|traffic| traffic.revises.iter().map(|id| &**id))
        .collect();
    let mut proven: BTreeMap<Key, u64> = BTreeMap::new();
    let mut taken_back: BTreeMap<String, u64> = BTreeMap::new();
    let mut pods: BTreeMap<&str, String> = BTreeMap::new();
    for record in records {
        let Some(pod) = traffic(record).map(pod) else {
            continue;
        };
        pods.insert(&record.id, pod.clone());
        let Some((id, count)) = proves(record) else {
            continue;
        };
        match revised.contains(&*record.id) {
            true => *taken_back.entry(pod).or_default() += count,
            false => *proven.entry((pod, id)).or_default() += count,
        }
    }
    let plain = plain_legs(records, truth, is_last);
    for (pod, (certain, _)) in &plain {
        *proven.entry((pod.clone(), PLAIN)).or_default() += certain;
    }
    let found = found(records, &pods)?;
    let keys: BTreeSet<&Key> = proven.keys().chain(found.keys()).collect();
    for key in keys {
        let count = |of: &BTreeMap<Key, u64>| of.get(key).copied().unwrap_or_default();
        // A line may come when the finding is closed already.
        let late = match key.1 {
            UNLOGGED => taken_back.get(&key.0).copied().unwrap_or_default(),
            PLAIN => plain.get(&key.0).map_or(0, |(_, doubtful)| *doubtful),
            _ => 0,
        };
        let (proven, found) = (count(&proven), count(&found));
        if found < proven || found > proven + late {
            return Err(format!("{key:?}: {proven} are proven, {found} were found"));
        }
    }
    Ok(())
}

/// What was found, by the records in which findings were closed.
fn found(records: &[Record], pods: &BTreeMap<&str, String>) -> Result<BTreeMap<Key, u64>, String> {
    let mut found: BTreeMap<Key, u64> = BTreeMap::new();
    let mut open = BTreeSet::new();
    for record in records {
        let Body::Finding(body) = &record.body else {
            continue;
        };
        let (finding, pod) = (&body.finding, body.workload.pod_uid.as_deref());
        let pod = pod.unwrap_or_default().to_owned();
        for id in &finding.records {
            if pods.get(id.as_str()) != Some(&pod) {
                return Err(format!(
                    "{} of {pod} names {id}, which is not its",
                    finding.id
                ));
            }
        }
        let key = (pod.clone(), finding.id);
        match finding.state {
            FindingState::Open => _ = open.insert(key),
            FindingState::Closed if open.remove(&key) => {
                *found.entry((pod, group(finding.id))).or_default() += finding.count;
            }
            state => return Err(format!("{key:?} is {state:?}, and it was not open")),
        }
    }
    match open.is_empty() {
        true => Ok(found),
        false => Err(format!("{open:?} were not closed")),
    }
}

fn group(id: &'static str) -> &'static str {
    match id {
        "MW-003" | "MW-004" => UNLOGGED,
        "MW-101" | "MW-102" | "MW-103" | "MW-104" | "MW-105" | "MW-107" | "MW-108" => BYPASSED,
        id => id,
    }
}

/// The finding that a record proves, and how much of it.
fn proves(record: &Record) -> Option<(&'static str, u64)> {
    let (traffic, units) = (traffic(record)?, record.units?);
    let reasons = record.reasons.as_deref().unwrap_or_default();
    let state = traffic.connection.as_ref().map(|body| body.state);
    if record.verdict == Some(Verdict::Bypassed) {
        let is_told = state == Some(ConnectionState::Open) && units == Units::default();
        let is_flow = traffic.attributes.transport == Some("udp");
        let id = match traffic.attributes.protocol {
            _ if !is_flow || reasons.contains(&Reason::FromProxyContainer) => BYPASSED,
            Some("quic") => "MW-110",
            _ => "MW-109",
        };
        return is_told.then_some((id, 1));
    }
    if units == Units::default() {
        return None;
    }
    let count = units.observed.max(units.logged);
    let id = match (record.verdict?, reasons) {
        (Verdict::Unlogged, _) => UNLOGGED,
        (Verdict::Unseen, reasons) if reasons.contains(&Reason::Repeated) => "MW-006",
        (Verdict::Unseen, _) => "MW-005",
        (Verdict::Mismatched, _) => "MW-007",
        (Verdict::Matched, reasons) if reasons.contains(&Reason::LoggedAsTcp) => "MW-010",
        (Verdict::Unverifiable, [Reason::NoLog, ..]) if units.observed > 0 => "MW-001",
        (Verdict::Unverifiable, [Reason::LineAmbiguous, ..]) => "MW-009",
        (
            Verdict::Unverifiable,
            [
                Reason::RingLost | Reason::StreamGap | Reason::StreamMismatch | Reason::Evicted,
                ..,
            ],
        ) => "MW-201",
        (Verdict::Unverifiable, [Reason::NoBytes | Reason::Mptcp, ..]) => "MW-202",
        (Verdict::Outside, [Reason::Policy, ..]) if record.kind == Kind::Connection => "MW-106",
        _ => return None,
    };
    Some((id, count))
}

/// Of each pod, the legs in which its sidecar sent plaintext to another: those that must be found,
/// and those that may be. These are such whose sending end is known for the sidecar by name alone,
/// too. The scene's sidecars send plaintext to nobody else.
fn plain_legs(records: &[Record], truth: &Truth, is_last: bool) -> BTreeMap<String, (u64, u64)> {
    let mut legs: BTreeMap<(String, SocketAddr), bool> = BTreeMap::new();
    for record in records {
        let Some(traffic) = traffic(record) else {
            continue;
        };
        let attributes = &traffic.attributes;
        if let (Some(tls), Some(own)) = (&attributes.tls, attributes.client)
            && tls.plain
        {
            let reasons = record.reasons.as_deref().unwrap_or_default();
            let is_certain = !reasons.contains(&Reason::RoleByName);
            legs.insert((pod(traffic), own), is_certain);
        }
    }
    let mut plain: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (leg, is_certain) in legs {
        let plaintext = truth.plaintext[&leg];
        let (certain, doubtful) = plain.entry(leg.0).or_default();
        match plaintext {
            Plaintext::Fine => {}
            Plaintext::Found if is_certain && is_last => *certain += 1,
            Plaintext::Found | Plaintext::Either => *doubtful += 1,
        }
    }
    plain
}

fn traffic(record: &Record) -> Option<&Traffic> {
    match &record.body {
        Body::Traffic(traffic) => Some(traffic),
        _ => None,
    }
}

fn pod(traffic: &Traffic) -> String {
    let uid = traffic.workload.pod_uid.as_deref();
    uid.unwrap_or_default().to_owned()
}
