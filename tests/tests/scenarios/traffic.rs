//! How scenarios send, and what their judges ask for most.

use std::{
    net::{IpAddr, SocketAddr},
    panic::resume_unwind,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lab::{
    Session,
    network::Addresses,
    nginx,
    pod::{APP, PROXY, Pod},
    process::{Place, User},
};

use crate::evidence::Evidence;

/// How long a line may take to be written; Envoy flushes within 200 ms.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The address of this family.
    pub(crate) fn of(self, addresses: Addresses) -> IpAddr {
        match self {
            Self::V4 => addresses.v4.into(),
            Self::V6 => addresses.v6.into(),
        }
    }
}

/// How a request travels: the version of HTTP, and the family of the addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) http2: bool,
    pub(crate) family: Family,
}

impl Way {
    /// HTTP/1.1, over both families.
    pub(crate) const HTTP1: [Self; 2] =
        [Self::new(false, Family::V4), Self::new(false, Family::V6)];
    /// HTTP/2 by prior knowledge, over both families.
    pub(crate) const HTTP2: [Self; 2] = [Self::new(true, Family::V4), Self::new(true, Family::V6)];
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [
        Self::HTTP1[0],
        Self::HTTP1[1],
        Self::HTTP2[0],
        Self::HTTP2[1],
    ];

    const fn new(http2: bool, family: Family) -> Self {
        Self { http2, family }
    }

    /// A path that no other way has.
    pub(crate) fn path(self, base: &str) -> String {
        let version = if self.http2 { "h2" } else { "h1" };
        let family = match self.family {
            Family::V4 => "v4",
            Family::V6 => "v6",
        };
        format!("{base}/{version}-{family}")
    }

    /// The way of one of many requests, and its path.
    pub(crate) fn numbered(base: &str, number: usize) -> (Self, String) {
        let way = Self::ALL[number % Self::ALL.len()];
        (way, way.path(&format!("{base}/{number}")))
    }

    /// Does something that takes its time all ways at once.
    pub(crate) fn all_at_once(act: impl Fn(Self) -> Result<()> + Sync) -> Result<()> {
        let act = &act;
        thread::scope(|scope| {
            let acts = Self::ALL.map(|way| scope.spawn(move || act(way)));
            let mut acts = acts.map(|act| act.join()).into_iter();
            acts.try_for_each(|act| act.unwrap_or_else(|panic| resume_unwind(panic)))
        })
    }

    /// The paths of all ways.
    pub(crate) fn paths(base: &str) -> [String; 4] {
        Self::ALL.map(|way| way.path(base))
    }

    /// What makes curl ask a port of a host for a path this way.
    fn words(self, to: SocketAddr, path: &str) -> [String; 2] {
        let version = match self.http2 {
            true => "--http2-prior-knowledge",
            false => "--http1.1",
        };
        [version.to_owned(), format!("http://{to}{path}")]
    }

    /// Where nginx is asked this way.
    pub(crate) fn socket(self, addresses: Addresses) -> SocketAddr {
        let port = if self.http2 {
            nginx::HTTP2_PORT
        } else {
            nginx::HTTP_PORT
        };
        SocketAddr::new(self.family.of(addresses), port)
    }

    /// Lets the app of `client` ask a port of a host for a path this way, with further options for
    /// curl, and returns the status that it received; 0: none.
    pub(crate) fn ask(
        self,
        client: &Pod,
        to: SocketAddr,
        path: &str,
        options: &[&str],
    ) -> Result<u16> {
        let [version, url] = self.words(to, path);
        curl(client, &[&[&*version, &*url], options].concat())
    }

    /// Lets a process ask that may be none of an app; fails if it is not answered with success.
    pub(crate) fn ask_from(self, place: &Place<'_>, to: SocketAddr, path: &str) -> Result<()> {
        let [version, url] = self.words(to, path);
        let output = place.run(["curl", "-sSf", &version, &url])?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    }

    /// The same as `ask`, of the nginx of `server`.
    pub(crate) fn get(
        self,
        session: &Session,
        client: &str,
        server: &str,
        path: &str,
        options: &[&str],
    ) -> Result<u16> {
        let to = self.socket(session.lab.pod(server).addresses());
        self.ask(session.lab.pod(client), to, path, options)
    }
}

/// A URL on a pod's HTTP/1.1 port.
pub(crate) fn url(pod: &Pod, path: &str) -> String {
    format!("http://{}:8080{path}", pod.addresses().v4)
}

/// `address:port` of a pod.
pub(crate) fn endpoint(session: &Session, pod: &str, port: u16) -> String {
    format!("{}:{port}", session.lab.pod(pod).addresses().v4)
}

/// `address:port` of a pod, the address of a family.
pub(crate) fn endpoint_of(family: Family, pod: &Pod, port: u16) -> String {
    SocketAddr::new(family.of(pod.addresses()), port).to_string()
}

/// Lets the app of `client` ask `server` for a path, with further options for curl, and returns
/// the status that it received; 0: none.
pub(crate) fn get(
    session: &Session,
    client: &str,
    server: &str,
    path: &str,
    options: &[&str],
) -> Result<u16> {
    let url = url(session.lab.pod(server), path);
    curl(
        session.lab.pod(client),
        &[&[url.as_str()], options].concat(),
    )
}

/// Runs curl in a pod's app and returns the status that it received; 0: none.
pub(crate) fn curl(pod: &Pod, words: &[&str]) -> Result<u16> {
    let words = [
        &["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}"],
        words,
    ]
    .concat();
    let output = pod.run(APP, User::APP, words)?;
    let status = String::from_utf8_lossy(&output.stdout).into_owned();
    status.parse().with_context(|| format!("{output:?}"))
}

/// Waits for a line of a pod's Envoy.
pub(crate) fn wait_for_line(session: &Session, pod: &str, part: &str) -> Result<String> {
    let log = &session.lab.pod(pod).container(PROXY).log;
    log.wait_for(PATIENCE, |line| line.contains(part))
}

/// Both sides of the only exchange on a path are matched, and the app had it once.
pub(crate) fn matched_at_both(
    evidence: &Evidence,
    client: &str,
    server: &str,
    path: &str,
) -> Result<()> {
    let served = evidence.nginx(server, path)?.len();
    ensure!(served == 1, "the app had {path} {served} times");
    matched(evidence, client, "client", path)?;
    matched(evidence, server, "server", path)
}

/// One side of the only exchange on a path is matched.
pub(crate) fn matched(evidence: &Evidence, pod: &str, side: &str, path: &str) -> Result<()> {
    evidence
        .http(pod, side, path)
        .are("matched")?
        .are_as_many_as(1)?
        .of_units(1, 1)?;
    Ok(())
}
