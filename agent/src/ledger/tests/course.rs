//! Which course a connection takes, by who holds its ends and when that is asked.

use std::time::Duration;

use super::{PILOT_AGENT_PID, PROXY_PID, address, end, process};
use crate::{
    http::{Connection, End},
    ledger::{
        ListenerFact,
        course::{Course, Moment, course},
        roles::{PodKind, Roles},
    },
    record::{Reason, Side, Verdict},
    timestamp::Timestamp,
    workload::{Owner, Pod, WorkloadFact},
};

const MOMENT: Duration = Duration::from_nanos(1);
const OPENED: Timestamp = Timestamp(1_000_000_000_000);
const MESHED: &str = "meshed";
const PLAIN: &str = "plain";

const APP: u64 = 1;
const PROXY: u64 = 2;
const INIT: u64 = 3;
const KUBELET: u64 = 4;
const OUTSIDE: u64 = 5;
const IN_PLAIN_POD: u64 = 6;
const UNKNOWN: u64 = 7;

/// A program in the proxy's container that is neither proxy nor pilot-agent.
const FOREIGN_PID: u32 = 999;

fn learn_pod(roles: &mut Roles, uid: &str, containers: &[(u64, &str)]) {
    for (cgroup, name) in containers {
        let container_id = format!("{uid}-{name}");
        roles.learn(WorkloadFact::Container {
            id: container_id.clone(),
            pod_uid: uid.into(),
            name: (*name).into(),
        });
        let pod_uid = uid.into();
        let owner = Owner::Container {
            pod_uid,
            container_id,
        };
        roles.learn(WorkloadFact::Cgroup { id: *cgroup, owner });
    }
    let containers = containers.iter().map(|(_, name)| (*name).into()).collect();
    roles.learn(WorkloadFact::Pod(Pod {
        uid: uid.into(),
        namespace: "shop".into(),
        name: "a".into(),
        containers,
    }));
}

/// A meshed pod whose proxy's listeners nobody saw yet, a plain one, and what is outside.
fn cast() -> Roles {
    let mut roles = Roles::new(vec!["istio-proxy".into()], vec![15001, 15006]);
    let meshed = [(APP, "app"), (PROXY, "istio-proxy"), (INIT, "istio-init")];
    learn_pod(&mut roles, MESHED, &meshed);
    learn_pod(&mut roles, PLAIN, &[(IN_PLAIN_POD, "app")]);
    let (id, owner) = (OUTSIDE, Owner::Other);
    roles.learn(WorkloadFact::Cgroup { id, owner });
    roles.start(OPENED);
    roles
}

fn with_kubelet(mut roles: Roles) -> Roles {
    let (id, owner) = (KUBELET, Owner::Kubelet);
    roles.learn(WorkloadFact::Cgroup { id, owner });
    roles
}

fn with_listeners(mut roles: Roles) -> Roles {
    for (port, pid) in [(15001, PROXY_PID), (15020, PILOT_AGENT_PID)] {
        roles.listen(&ListenerFact {
            cookie: u64::from(port),
            time: OPENED,
            cgroup: PROXY,
            process: process(pid),
            port,
        });
    }
    roles
}

fn some_end((cgroup, pid): (u64, u32), port: u16) -> End {
    end(cgroup, pid, address("10.0.0.1", port), "10.0.0.9:1")
}

fn connection(client: Option<(u64, u32)>, server: Option<(u64, u32)>, port: u16) -> Connection {
    Connection {
        id: 1,
        time: OPENED,
        client: client.map(|client| some_end(client, 40_000)),
        server: server.map(|server| some_end(server, port)),
        source: address("10.0.0.1", 40_000),
        destination: address("10.0.0.1", port),
        asked: None,
        established: true,
        preexisting: false,
        udp: None,
    }
}

fn after(age: Duration) -> Moment {
    Moment {
        now: OPENED + age,
        closed: false,
        last_chance: false,
    }
}

fn alone(verdict: Verdict, reasons: &[Reason]) -> Option<(Verdict, Vec<Reason>)> {
    Some((verdict, reasons.to_vec()))
}

fn outside(reason: Reason) -> Option<(Verdict, Vec<Reason>)> {
    alone(Verdict::Outside, &[reason])
}

/// The verdict on a connection that is judged by itself; none while its course is open.
fn judged(course: Option<Course>) -> Option<(Verdict, Vec<Reason>)> {
    match course? {
        Course::Alone {
            verdict, reasons, ..
        } => Some((verdict, reasons)),
        other => panic!("expected one that is judged by itself, got {other:?}"),
    }
}

#[test]
fn between_app_and_proxy_there_are_lines() {
    let roles = &mut with_listeners(cast());
    let (app, proxy) = ((APP, 1), (PROXY, PROXY_PID));
    for (client, server, port, expected) in [
        (app, proxy, 15001, Side::Client),
        (proxy, app, 8080, Side::Server),
    ] {
        let leg = connection(Some(client), Some(server), port);
        match course(&leg, roles, false, after(Duration::ZERO)) {
            Some(Course::Mesh {
                place,
                side,
                by_name: false,
            }) => assert_eq!((&*place.pod_uid, side), (MESHED, expected)),
            other => panic!("{expected:?}: {other:?}"),
        }
    }
}

#[test]
fn a_proxy_is_known_by_name_until_something_proves_it() {
    let mut roles = cast();
    let by_name = |roles: &mut Roles| {
        let leg = connection(Some((PROXY, PROXY_PID)), Some((APP, 1)), 8080);
        match course(&leg, roles, false, after(Duration::ZERO)) {
            Some(Course::Mesh { by_name, .. }) => by_name,
            other => panic!("expected a leg, got {other:?}"),
        }
    };
    assert!(by_name(&mut roles));
    let network = connection(Some((PROXY, PROXY_PID)), None, 443);
    let network = course(&network, &mut roles, false, after(Duration::ZERO));
    let reasons = [Reason::ProxyLeg, Reason::RoleByName];
    assert_eq!(judged(network), alone(Verdict::Outside, &reasons));
    // The app's own connection, which ended at one of the proxy's listeners, proves it.
    let leg = connection(Some((APP, 1)), Some((PROXY, PROXY_PID)), 15001);
    course(&leg, &mut roles, false, after(Duration::ZERO));
    assert!(!by_name(&mut roles));
}

#[test]
fn what_stays_within_a_pod_is_judged_by_both_ends() {
    let (app, init) = ((APP, 1), (INIT, 1));
    let proxy = (PROXY, PROXY_PID);
    let pilot_agent = (PROXY, PILOT_AGENT_PID);
    let foreign = (PROXY, FOREIGN_PID);
    let bypass = (Verdict::Bypassed, Reason::FromProxyContainer);
    let outside = |reason| (Verdict::Outside, reason);
    let (client, server, neither) = (Side::Client, Side::Server, Side::Proxy);
    // Whose and at which port, the verdict, the side, whether its exchanges are looked at.
    let table = [
        (app, app, 8080, outside(Reason::PodInternal), client, true),
        (
            app,
            proxy,
            15000,
            outside(Reason::PodInternal),
            client,
            true,
        ),
        (init, app, 8080, outside(Reason::MeshInit), client, true),
        (
            foreign,
            pilot_agent,
            15020,
            outside(Reason::PodInternal),
            client,
            false,
        ),
        (
            foreign,
            proxy,
            15000,
            outside(Reason::PodInternal),
            client,
            false,
        ),
        (foreign, proxy, 15001, bypass, client, false),
        (foreign, app, 8080, bypass, client, false),
        (
            pilot_agent,
            app,
            8080,
            outside(Reason::PilotAgent),
            server,
            true,
        ),
        (
            pilot_agent,
            proxy,
            15000,
            outside(Reason::PilotAgent),
            neither,
            false,
        ),
        (
            proxy,
            pilot_agent,
            15020,
            outside(Reason::PilotAgent),
            neither,
            false,
        ),
        (
            proxy,
            foreign,
            8080,
            outside(Reason::PilotAgent),
            neither,
            false,
        ),
        (
            proxy,
            proxy,
            15006,
            outside(Reason::ProxyLeg),
            neither,
            false,
        ),
    ];
    for (from, to, port, (verdict, reason), side, reads_http) in table {
        let leg = connection(Some(from), Some(to), port);
        let roles = &mut with_listeners(cast());
        let found = course(&leg, roles, false, after(Duration::ZERO));
        let Some(Course::Alone {
            place: Some(place),
            side: found_side,
            verdict: found_verdict,
            reasons,
            reads_http: reads,
        }) = found
        else {
            panic!("{from:?} {to:?} {port}: {found:?}")
        };
        let found = (found_verdict, reasons, found_side, reads);
        let expected = (verdict, vec![reason], side, reads_http);
        assert_eq!(found, expected, "{from:?} {to:?} {port}");
        assert_eq!(&*place.pod_uid, MESHED);
    }
}

#[test]
fn what_leaves_a_pod_is_judged_by_its_own_end() {
    let roles = || with_listeners(with_kubelet(cast()));
    let long_after = after(Duration::from_secs(60));
    let bypass = alone(Verdict::Bypassed, &[]);
    let from_proxy = alone(Verdict::Bypassed, &[Reason::FromProxyContainer]);
    let table = [
        ((APP, 1), bypass, outside(Reason::NoRequest)),
        ((PROXY, FOREIGN_PID), from_proxy, outside(Reason::NoRequest)),
        (
            (PROXY, PROXY_PID),
            outside(Reason::ProxyLeg),
            outside(Reason::ProxyLeg),
        ),
        (
            (PROXY, PILOT_AGENT_PID),
            outside(Reason::PilotAgent),
            outside(Reason::PilotAgent),
        ),
        (
            (INIT, 1),
            outside(Reason::MeshInit),
            outside(Reason::MeshInit),
        ),
        (
            (OUTSIDE, 1),
            outside(Reason::NoSidecar),
            outside(Reason::NoSidecar),
        ),
        (
            (IN_PLAIN_POD, 1),
            outside(Reason::NoSidecar),
            outside(Reason::NoSidecar),
        ),
    ];
    for (own, expected, unestablished) in table {
        let mut leaving = connection(Some(own), None, 80);
        let found = course(&leaving, &mut roles(), false, long_after);
        assert_eq!(judged(found), expected, "{own:?}");
        leaving.established = false;
        let found = course(&leaving, &mut roles(), false, long_after);
        assert_eq!(judged(found), unestablished, "{own:?}");
    }
    // The kubelet's own ends explain what pods see.
    for ends in [
        (Some((KUBELET, 1)), None),
        (None, Some((KUBELET, 1))),
        (None, None),
    ] {
        let own = connection(ends.0, ends.1, 80);
        let found = course(&own, &mut roles(), false, long_after);
        assert_eq!(found, Some(Course::Kubelet));
    }
    let probe = connection(None, Some((APP, 1)), 80);
    let found = course(&probe, &mut roles(), true, after(Duration::ZERO));
    assert_eq!(judged(found), outside(Reason::Kubelet));
}

/// That a course is open before `patience` is over, and not from then on; nor at the last chance.
fn opens_for(
    patience: Duration,
    roles: impl Fn() -> Roles,
    connection: &Connection,
    expected: &Option<(Verdict, Vec<Reason>)>,
) {
    let found = |moment| judged(course(connection, &mut roles(), false, moment));
    assert_eq!(found(after(Duration::ZERO)), None);
    assert_eq!(found(after(patience - MOMENT)), None);
    assert_eq!(&found(after(patience)), expected);
    let last_chance = Moment {
        last_chance: true,
        ..after(Duration::ZERO)
    };
    assert_eq!(&found(last_chance), expected);
}

#[test]
fn unknown_ends_are_waited_for_a_minute() {
    let unknown = connection(Some((UNKNOWN, 1)), None, 80);
    let patience = Duration::from_secs(60);
    opens_for(patience, cast, &unknown, &outside(Reason::NoSidecar));
}

#[test]
fn a_program_beside_the_proxy_may_be_a_pilot_agent_for_five_seconds() {
    let roles = || with_listeners(cast());
    let foreign = connection(Some((PROXY, FOREIGN_PID)), None, 80);
    let bypass = alone(Verdict::Bypassed, &[Reason::FromProxyContainer]);
    opens_for(Duration::from_secs(5), roles, &foreign, &bypass);
    let closed = Moment {
        closed: true,
        ..after(Duration::ZERO)
    };
    assert_eq!(
        judged(course(&foreign, &mut roles(), false, closed)),
        bypass
    );
}

#[test]
fn the_kubelets_socket_is_waited_for_a_second() {
    let probe = connection(None, Some((APP, 1)), 80);
    let roles = || with_kubelet(cast());
    let bypass = alone(Verdict::Bypassed, &[]);
    opens_for(Duration::from_secs(1), roles, &probe, &bypass);
    // Where there is none, and for what the app opens, nobody waits.
    let found = course(&probe, &mut cast(), false, after(Duration::ZERO));
    assert_eq!(judged(found), bypass);
    let own = connection(Some((APP, 1)), None, 80);
    let found = course(&own, &mut roles(), false, after(Duration::ZERO));
    assert_eq!(judged(found), bypass);
}

#[test]
fn a_new_pod_may_turn_out_to_be_meshed_for_a_minute() {
    let new = || {
        let mut roles = cast();
        learn_pod(&mut roles, "new", &[(UNKNOWN, "app")]);
        roles.kind("new", OPENED);
        roles
    };
    let leaving = connection(Some((UNKNOWN, 1)), None, 80);
    let patience = Duration::from_secs(60);
    opens_for(patience, new, &leaving, &outside(Reason::NoSidecar));
    let kind = |uid, age| new().kind(uid, OPENED + age);
    assert_eq!(kind("new", patience - MOMENT), None);
    assert_eq!(kind("new", patience), Some(PodKind::Plain));
    // What was there before the programs is judged at once.
    assert_eq!(kind(PLAIN, Duration::ZERO), Some(PodKind::Plain));
    assert_eq!(kind(MESHED, Duration::ZERO), Some(PodKind::Meshed));
    let mut roles = new();
    learn_pod(&mut roles, "gateway", &[(UNKNOWN, "istio-proxy")]);
    assert_eq!(roles.kind("gateway", OPENED), Some(PodKind::Gateway));
}
