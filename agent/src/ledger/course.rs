//! Which course a connection takes through the mesh, judged by who holds its two ends.

use std::time::Duration;

use super::{
    flows::flow_course,
    roles::{Place, PodKind, Role, Roles},
};
use crate::{
    http::{Connection, End},
    record::{Reason, Side, Verdict},
    timestamp::Timestamp,
};

/// The longest that a connection waits until its ends are known.
const PATIENCE_WITH_UNKNOWN_ENDS: Duration = Duration::from_secs(60);

/// A program in the proxy's container may be a pilot-agent that has yet to bind its ports.
const PATIENCE_WITH_FOREIGN_PROGRAMS: Duration = Duration::from_secs(5);

/// The kubelet's own socket may be told a moment after the pod's.
const PATIENCE_WITH_KUBELET: Duration = Duration::from_secs(1);

/// What is expected of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// Between an app and its sidecar: its exchanges have lines.
    Mesh {
        /// Whose app.
        place: Place,
        side: Side,
        /// The proxy is known by its container's name alone.
        by_name: bool,
    },
    /// Judged by itself, no line is expected.
    Alone {
        /// Whose.
        place: Option<Place>,
        side: Side,
        verdict: Verdict,
        reasons: Vec<Reason>,
        /// Its exchanges are looked at.
        reads_http: bool,
    },
    /// The kubelet's own end: it only explains what its pods see.
    Kubelet,
}

/// Where a judgement stands in time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) now: Timestamp,
    /// The connection has ended.
    pub(super) closed: bool,
    /// Decide with what is known.
    pub(super) last_chance: bool,
}

/// The course of a connection; none while that is open.
pub(super) fn course(
    connection: &Connection,
    roles: &mut Roles,
    is_kubelet_tuple: bool,
    moment: Moment,
) -> Option<Course> {
    let age = moment.now.since(connection.time);
    let give_up = moment.last_chance || age >= PATIENCE_WITH_UNKNOWN_ENDS;
    let client = role(connection.client.as_ref(), roles, give_up)?;
    let server = role(connection.server.as_ref(), roles, give_up)?;
    let (side, own, other) = match (client, server) {
        (Some(client), server) => (Side::Client, client, server),
        (None, Some(server)) => (Side::Server, server, None),
        (None, None) => return Some(Course::Kubelet),
    };
    if own == Role::Kubelet {
        return Some(Course::Kubelet);
    }
    let Some(place) = own.place().cloned() else {
        return Some(alone(None, side, Verdict::Outside, Reason::NoSidecar));
    };
    let kind = match roles.kind(&place.pod_uid, moment.now) {
        Some(kind) => kind,
        None if give_up => PodKind::Plain,
        None => return None,
    };
    if kind == PodKind::Plain {
        return Some(alone(
            Some(place),
            side,
            Verdict::Outside,
            Reason::NoSidecar,
        ));
    }
    let waits = !moment.closed && !moment.last_chance;
    let young = |patience| waits && age < patience;
    if let Some(udp) = connection.udp {
        return match own {
            Role::Foreign(_) | Role::PilotAgent(_) if young(PATIENCE_WITH_FOREIGN_PROGRAMS) => None,
            _ => Some(flow_course(connection, udp, side, (own, other), place)),
        };
    }
    match other {
        Some(other) => Some(inside(connection, roles, own, other)),
        None => match &own {
            Role::Foreign(_) | Role::PilotAgent(_) if young(PATIENCE_WITH_FOREIGN_PROGRAMS) => None,
            Role::App(_)
                if side == Side::Server
                    && roles.has_kubelet()
                    && !is_kubelet_tuple
                    && age < PATIENCE_WITH_KUBELET
                    && !moment.last_chance =>
            {
                None
            }
            _ => Some(across(connection, side, own, place, is_kubelet_tuple)),
        },
    }
}

/// `Some(None)`: there is no such end.
#[expect(
    clippy::option_option,
    reason = "the outer layer says whether the answer is known"
)]
fn role(end: Option<&End>, roles: &Roles, give_up: bool) -> Option<Option<Role>> {
    let Some(end) = end else { return Some(None) };
    match roles.role(end) {
        Some(role) => Some(Some(role)),
        None if give_up => Some(Some(roles.role_without_name(end))),
        None => None,
    }
}

/// Both ends are in the pod.
fn inside(connection: &Connection, roles: &mut Roles, client: Role, server: Role) -> Course {
    let port = connection.destination.port();
    match (client, server) {
        (Role::App(place), Role::Proxy { .. }) if roles.is_mesh_listener(port) => {
            roles.prove_container(&place.pod_uid);
            Course::Mesh {
                place,
                side: Side::Client,
                by_name: false,
            }
        }
        (Role::Proxy { by_name, .. }, Role::App(place)) => {
            let by_name = by_name && !roles.is_proven(&place.pod_uid);
            Course::Mesh {
                place,
                side: Side::Server,
                by_name,
            }
        }
        // `pilot-agent wait` and `request` run beside pilot-agent and speak to it or to the proxy's
        // administration.
        (Role::Foreign(place), Role::PilotAgent(_) | Role::Proxy { .. })
            if !roles.is_mesh_listener(port) =>
        {
            alone(
                Some(place),
                Side::Client,
                Verdict::Outside,
                Reason::PodInternal,
            )
        }
        (Role::Foreign(place), _) => from_proxy_container(place),
        (Role::PilotAgent(_), Role::App(place)) => {
            read_alone(place, Side::Server, Reason::PilotAgent)
        }
        (Role::PilotAgent(place), _)
        | (Role::Proxy { place, .. }, Role::PilotAgent(_) | Role::Foreign(_)) => alone(
            Some(place),
            Side::Proxy,
            Verdict::Outside,
            Reason::PilotAgent,
        ),
        (Role::Proxy { place, .. }, _) => {
            alone(Some(place), Side::Proxy, Verdict::Outside, Reason::ProxyLeg)
        }
        (Role::MeshInit(place), _) => read_alone(place, Side::Client, Reason::MeshInit),
        (Role::App(place), _) => read_alone(place, Side::Client, Reason::PodInternal),
        (Role::Kubelet | Role::Nobody, _) => {
            alone(None, Side::Client, Verdict::Outside, Reason::NoSidecar)
        }
    }
}

/// The other end is not in the pod, or was never reached.
fn across(
    connection: &Connection,
    side: Side,
    own: Role,
    place: Place,
    is_kubelet_tuple: bool,
) -> Course {
    match own {
        Role::App(_) if !connection.established => {
            alone(Some(place), side, Verdict::Outside, Reason::NoRequest)
        }
        Role::App(_) if is_kubelet_tuple => {
            alone(Some(place), side, Verdict::Outside, Reason::Kubelet)
        }
        Role::App(_) => Course::Alone {
            place: Some(place),
            side,
            verdict: Verdict::Bypassed,
            reasons: Vec::new(),
            reads_http: false,
        },
        Role::Foreign(_) if !connection.established => {
            alone(Some(place), side, Verdict::Outside, Reason::NoRequest)
        }
        Role::Foreign(_) => from_proxy_container(place),
        Role::Proxy { by_name, .. } => {
            let mut reasons = vec![Reason::ProxyLeg];
            reasons.extend(by_name.then_some(Reason::RoleByName));
            let verdict = Verdict::Outside;
            Course::Alone {
                place: Some(place),
                side: Side::Proxy,
                verdict,
                reasons,
                reads_http: false,
            }
        }
        Role::PilotAgent(_) => alone(Some(place), side, Verdict::Outside, Reason::PilotAgent),
        Role::MeshInit(_) => alone(Some(place), side, Verdict::Outside, Reason::MeshInit),
        Role::Kubelet | Role::Nobody => alone(None, side, Verdict::Outside, Reason::NoSidecar),
    }
}

pub(super) fn from_proxy_container(place: Place) -> Course {
    alone(
        Some(place),
        Side::Client,
        Verdict::Bypassed,
        Reason::FromProxyContainer,
    )
}

pub(super) fn alone(place: Option<Place>, side: Side, verdict: Verdict, reason: Reason) -> Course {
    Course::Alone {
        place,
        side,
        verdict,
        reasons: vec![reason],
        reads_http: false,
    }
}

fn read_alone(place: Place, side: Side, reason: Reason) -> Course {
    Course::Alone {
        place: Some(place),
        side,
        verdict: Verdict::Outside,
        reasons: vec![reason],
        reads_http: true,
    }
}
