//! The traffic, and what must be told of it.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
};

use anyhow::{Context, ensure};

use crate::{
    machine,
    network::{Network, Pair},
    record::{Connection, End, Exchange, Listener, Told},
};

/// Sends everything on every path, and returns what must be told of it.
pub(crate) fn send(pair: &Pair) -> anyhow::Result<Told> {
    let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    let (near, far) = (&pair.near, &pair.far);
    let routes = [
        (near, near, v4),
        (near, near, v6),
        (near, far, far.v4),
        (near, far, far.v6),
    ];
    let mut expected = Told::default();
    for (client, server, address) in routes {
        for (protocol, port) in [(http1 as fn() -> Script, 8001), (tcp, 8003)] {
            let at = SocketAddr::new(address, port);
            send_script(&protocol(), client, server, at, &mut expected)
                .with_context(|| format!("port {port} of {} at {address}", server.pod))?;
        }
    }
    expected.connections.sort();
    expected.listeners.sort();
    Ok(expected)
}

/// What the two ends say to each other, one after the other, and the exchanges in it.
#[derive(Default)]
struct Script {
    turns: Vec<(Speaker, Vec<u8>)>,
    exchanges: Vec<Exchange>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaker {
    Client,
    Server,
}

impl Script {
    fn say(&mut self, speaker: Speaker, parts: &[&[u8]]) {
        self.turns.push((speaker, parts.concat()));
    }

    fn bytes(&self, speaker: Speaker) -> u64 {
        let turns = self.turns.iter().filter(|(by, _)| *by == speaker);
        turns.map(|(_, bytes)| bytes.len() as u64).sum()
    }
}

/// HTTP/1.1 with each kind of body: none, of a known length, chunked, long, and that of HEAD.
fn http1() -> Script {
    const LONG: usize = 200_000;
    let mut script = Script::default();
    let mut exchange = |request: (&str, &str, usize), answer: (u16, &str, &[u8], usize)| {
        let (method, path, request_bytes) = request;
        let (status, fields, body, response_bytes) = answer;
        let length = match request_bytes {
            0 => String::new(),
            bytes => format!("content-length: {bytes}\r\n"),
        };
        let head = format!("{method} {path} HTTP/1.1\r\nhost: far.example\r\n{length}\r\n");
        let client_body = vec![b'q'; request_bytes];
        script.say(Speaker::Client, &[head.as_bytes(), &client_body]);
        let head = format!("HTTP/1.1 {status} Status\r\n{fields}\r\n");
        script.say(Speaker::Server, &[head.as_bytes(), body]);
        script.exchanges.push(Exchange {
            method: Some(method.into()),
            path: Some(path.into()),
            authority: Some("far.example".into()),
            request_bytes: request_bytes as u64,
            status: Some(status),
            response_bytes: response_bytes as u64,
            whole: true,
            gap: None,
        });
    };
    exchange(
        ("GET", "/short", 0),
        (200, "content-length: 5\r\n", b"hello", 5),
    );
    let chunks = b"a\r\n0123456789\r\n3\r\nabc\r\n0\r\n\r\n";
    let chunked = (201, "transfer-encoding: chunked\r\n", &chunks[..], 13);
    exchange(("POST", "/chunked", 3000), chunked);
    exchange(
        ("HEAD", "/head", 0),
        (200, "content-length: 7000\r\n", b"", 0),
    );
    let long = format!("content-length: {LONG}\r\n");
    exchange(
        ("GET", "/long?a=1", LONG),
        (200, &long, &vec![b'r'; LONG], LONG),
    );
    exchange(("DELETE", "/none", 0), (204, "", b"", 0));
    script
}

/// No HTTP at all: the server greets.
fn tcp() -> Script {
    let mut script = Script::default();
    script.say(Speaker::Server, &[b"220 ready\r\n"]);
    for length in [4, 1000, 100_000] {
        script.say(Speaker::Client, &[&vec![0xc1; length]]);
        script.say(Speaker::Server, &[&vec![0x5e; length / 2]]);
    }
    script
}

/// Opens a connection from one pod's app to the other's, sends, and closes it from the client's
/// end.
fn send_script(
    script: &Script,
    client_pod: &Network,
    server_pod: &Network,
    at: SocketAddr,
    expected: &mut Told,
) -> anyhow::Result<()> {
    let (client_owner, server_owner) = (owner(client_pod, "app"), owner(server_pod, "proxy"));
    server_pod.enter()?;
    machine::enter(&server_owner.cgroup)?;
    let listener = TcpListener::bind(at)?;
    client_pod.enter()?;
    machine::enter(&client_owner.cgroup)?;
    let mut client = TcpStream::connect(at)?;
    let (mut server, _) = listener.accept()?;
    for (speaker, bytes) in &script.turns {
        match speaker {
            Speaker::Client => pass(bytes, &mut client, &mut server)?,
            Speaker::Server => pass(bytes, &mut server, &mut client)?,
        }
    }
    client.shutdown(Shutdown::Write)?;
    ensure!(server.read(&mut [0])? == 0, "expected the client's end");
    drop(server);
    ensure!(client.read(&mut [0])? == 0, "expected the server's end");

    let told = Connection {
        destination: at,
        asked: Some(at),
        client: Some(client_owner),
        server: Some(server_owner.clone()),
        established: true,
        exchanges: script.exchanges.clone(),
        lost: 0,
        client_bytes: script.bytes(Speaker::Client),
        server_bytes: script.bytes(Speaker::Server),
        both_fin: true,
        client_closed_first: true,
    };
    if is_local(at.ip()) {
        expected.connections.push(told);
    } else {
        // Each pod has an end of its own, which says nothing of the other. What goes between pods is
        // not read.
        let apart = Connection {
            exchanges: Vec::new(),
            both_fin: false,
            ..told
        };
        expected.connections.push(Connection {
            server: None,
            ..apart.clone()
        });
        expected.connections.push(Connection {
            client: None,
            asked: None,
            client_closed_first: false,
            ..apart
        });
    }
    expected.listeners.push(Listener {
        local: at,
        owner: server_owner,
        closed: true,
    });
    Ok(())
}

fn is_local(address: IpAddr) -> bool {
    address.is_loopback()
}

fn owner(network: &Network, container: &str) -> End {
    End {
        cgroup: format!("{}/{container}", network.pod),
        process: Some(1),
    }
}

/// Sends bytes from one end to the other.
fn pass(bytes: &[u8], from: &mut TcpStream, to: &mut TcpStream) -> anyhow::Result<()> {
    thread::scope(|threads| {
        let writer = threads.spawn(|| from.write_all(bytes));
        let mut got = vec![0; bytes.len()];
        to.read_exact(&mut got)?;
        ensure!(got == bytes, "other bytes came than were sent");
        writer
            .join()
            .map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        Ok(())
    })
}
