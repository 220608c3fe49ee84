//! Connections of HTTP/2 that are met in the middle, when their header tables are full of entries
//! that were never seen.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use h2::client::SendRequest;
use http::{Method, Request};
use meshwitness::http::{Bounds, Exchange, HttpEvent, Tracker};
use tokio::{net::TcpStream, sync::Semaphore};

use crate::{
    nginx::Nginx,
    scene::{Scene, Watched},
};

/// Programs that are loaded one after the other, and connections in use that each of them meets.
const LOADED: usize = 10;
const CONNECTIONS: u64 = 5;
/// Requests on each connection before a meeting at the most, those sent while the programs are
/// loaded at the most, and those that are seen at least.
const BEFORE: u64 = 500;
const MEANWHILE: u64 = 50_000;
const SEEN: u64 = 1_500;
/// Requests in all, at least.
const REQUESTS: u64 = 100_000;
/// By then all entries of a table of 4 KiB are newer than the meeting: each request adds one.
const TURNOVER: usize = 200;
/// Streams at a time, of a connection.
const STREAMS: usize = 20;

#[test]
fn what_was_inserted_before_the_meeting_is_null_and_nothing_is_wrong() {
    let scene = Scene::new();
    scene.enter("server");
    let servers: Vec<Nginx> = (0..CONNECTIONS).map(|_| Nginx::start()).collect();
    scene.enter("client");
    let ports = servers.iter().map(|nginx| nginx.h2c_port);
    let loads: Vec<Load> = ports.map(Load::start).collect();
    let mut met = Vec::new();
    let mut moments = Moments(0x5eed);
    for _ in 0..LOADED {
        for load in &loads {
            load.send_up_to(load.sent() + 1 + moments.next(BEFORE));
        }
        for load in &loads {
            load.allow(load.sent() + MEANWHILE);
        }
        let mut watched = scene.capture(1 << 25);
        let seen_until = loads.iter().map(|load| load.sent() + SEEN);
        let seen_until: Vec<u64> = seen_until.collect();
        // No more, however late it is read: all of it has to fit into the cgroup's ration.
        for (load, until) in loads.iter().zip(&seen_until) {
            load.allow(*until);
        }
        let have_sent = || {
            let mut loads = loads.iter().zip(&seen_until);
            loads.all(|(load, until)| load.sent() >= *until)
        };
        met.push(exchanges(&mut watched, have_sent));
        watched.assert_clean();
    }
    for load in &loads {
        load.send_up_to(REQUESTS / CONNECTIONS);
    }

    let mut undecoded = 0;
    for (nginx, load) in servers.iter().zip(loads) {
        let truth = truth(nginx, load.finish());
        for exchanges in &met {
            let exchanges = exchanges
                .get(&nginx.h2c_port)
                .map_or(&[][..], Vec::as_slice);
            assert!(exchanges.len() > TURNOVER, "{} exchanges", exchanges.len());
            for (number, exchange) in exchanges.iter().enumerate() {
                compare(exchange, &truth[&exchange.stream.unwrap()]);
                undecoded += usize::from(exchange.undecoded);
                assert!(is_complete(exchange) || number < TURNOVER, "{exchange:?}");
            }
        }
    }
    assert!(undecoded > 0, "the meetings cost nothing: were they any?");
}

/// What nginx logged of a request.
struct Logged {
    method: String,
    path: String,
    status: u16,
    id: String,
    user_agent: String,
    tenant: String,
}

/// By stream: a client opens 1, 3, 5, and so on (RFC 9113 section 5.1.1).
fn truth(nginx: &Nginx, sent: u64) -> BTreeMap<u32, Logged> {
    let lines = nginx.lines(usize::try_from(sent).unwrap());
    let logged = lines.iter().map(|line| {
        let fields: Vec<&str> = line.split('|').collect();
        let [request, status, _, number, id, user_agent, tenant] = fields[..] else {
            panic!("expected seven fields, got {line}");
        };
        let (method, path) = request.split_once(' ').unwrap();
        let path = path.strip_suffix(" HTTP/2.0").unwrap();
        let number: u32 = number.parse().unwrap();
        let logged = Logged {
            method: method.to_owned(),
            path: path.to_owned(),
            status: status.parse().unwrap(),
            id: id.to_owned(),
            user_agent: user_agent.to_owned(),
            tenant: tenant.to_owned(),
        };
        (number * 2 - 1, logged)
    });
    logged.collect()
}

/// Each field is right, or null where something could not be decoded.
fn compare(exchange: &Exchange, sent: &Logged) {
    let head = exchange.request.head.as_ref().unwrap();
    let header = |name: &'static str| head.headers.values(name).next();
    let response = exchange.response.as_ref();
    let status = response.and_then(|response| response.status);
    for (told, sent) in [
        (head.method.as_deref(), &*sent.method),
        (head.path.as_deref(), &*sent.path),
        (head.authority.as_deref(), "join.test"),
        (header("x-request-id"), &*sent.id),
        (header("user-agent"), &*sent.user_agent),
        (header("x-tenant"), &*sent.tenant),
        (
            status.map(|status| status.to_string()).as_deref(),
            &*sent.status.to_string(),
        ),
    ] {
        match told {
            Some(told) => assert_eq!(told, sent, "{exchange:?}"),
            None => assert!(exchange.undecoded, "{sent} is missing: {exchange:?}"),
        }
    }
}

/// All is known whose name stands in the static table. Other names may be known by an entry of
/// before the meeting for good: each new entry takes its name from the one before.
fn is_complete(exchange: &Exchange) -> bool {
    let head = exchange.request.head.as_ref();
    let response = exchange.response.as_ref();
    head.is_some_and(|head| {
        head.method.is_some()
            && head.path.is_some()
            && head.authority.is_some()
            && head.headers.values("user-agent").next().is_some()
    }) && response.is_some_and(|response| response.status.is_some())
}

/// The exchanges that end until it is enough, those still open then left out, by the port of the
/// server.
fn exchanges(watched: &mut Watched, is_enough: impl Fn() -> bool) -> BTreeMap<u16, Vec<Exchange>> {
    let mut tracker = Tracker::new(Bounds::default());
    let mut events = Vec::new();
    let mut is_last = false;
    while !is_last {
        is_last = is_enough();
        if is_last {
            watched.all();
        } else {
            watched.drain();
            thread::sleep(Duration::from_millis(1));
        }
        for observation in watched.seen.drain(..) {
            tracker.observe(observation, &mut events);
        }
    }
    let (mut ports, mut ended) = (BTreeMap::new(), BTreeMap::<u16, Vec<Exchange>>::new());
    for event in events {
        match event {
            HttpEvent::Opened(connection) => {
                ports.insert(connection.id, connection.destination.port());
            }
            HttpEvent::Ended(exchange) => {
                let port = ports[&exchange.connection];
                ended.entry(port).or_default().push(exchange);
            }
            HttpEvent::Lost { .. } => panic!("{event:?}"),
            _ => {}
        }
    }
    ended
}

/// Moments that look random and are always the same.
struct Moments(u64);

impl Moments {
    /// Below `bound`.
    fn next(&mut self, bound: u64) -> u64 {
        // Knuth's constants for a linear congruential generator.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A client that sends one request after the other on one connection, up to [`STREAMS`] at a time.
struct Load {
    progress: Arc<Progress>,
    client: thread::JoinHandle<()>,
}

#[derive(Default)]
struct Progress {
    sent: AtomicU64,
    /// It sends no more than so many in all.
    allowed: AtomicU64,
    is_enough: AtomicBool,
}

impl Load {
    fn start(port: u16) -> Self {
        let progress = Arc::new(Progress::default());
        let shared = Arc::clone(&progress);
        let client = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(send(port, &shared));
        });
        Self { progress, client }
    }

    fn sent(&self) -> u64 {
        self.progress.sent.load(Ordering::Relaxed)
    }

    fn allow(&self, count: u64) {
        self.progress.allowed.store(count, Ordering::Relaxed);
    }

    fn send_up_to(&self, count: u64) {
        self.allow(count);
        while self.sent() < count {
            assert!(!self.client.is_finished(), "the client ended");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends it when all is answered: how many requests there were.
    fn finish(self) -> u64 {
        self.progress.is_enough.store(true, Ordering::Relaxed);
        self.client.join().unwrap();
        self.progress.sent.load(Ordering::Relaxed)
    }
}

async fn send(port: u16, progress: &Progress) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let places = Arc::new(Semaphore::new(STREAMS));
    while !progress.is_enough.load(Ordering::Relaxed) {
        if progress.sent.load(Ordering::Relaxed) >= progress.allowed.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        let place = Arc::clone(&places).acquire_owned().await.unwrap();
        client = client.ready().await.unwrap();
        let number = progress.sent.fetch_add(1, Ordering::Relaxed);
        let response = ask(&mut client, number);
        tokio::spawn(async move {
            let mut body = response.await.unwrap().into_body();
            while let Some(bytes) = body.data().await {
                let _ = body.flow_control().release_capacity(bytes.unwrap().len());
            }
            drop(place);
        });
    }
    let all = u32::try_from(STREAMS).unwrap();
    drop(places.acquire_many(all).await.unwrap());
    drop(client);
    connection.await.unwrap().unwrap();
}

/// Names and values of which some come again soon, some late and some never.
fn ask(client: &mut SendRequest<bytes::Bytes>, number: u64) -> h2::client::ResponseFuture {
    let method =
        [Method::GET, Method::POST, Method::PUT][usize::try_from(number % 3).unwrap()].clone();
    let path = format!("/{}/{}", number % 7, number % 61);
    let request = Request::builder()
        .method(method)
        .uri(format!("http://join.test{path}"))
        .header("x-request-id", format!("request-{number}"))
        .header("user-agent", format!("agent/{}", number % 11))
        .header("x-tenant", format!("tenant-{}", number % 37))
        .body(())
        .unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    response
}
