//! The traffic, and what must be told of it.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use anyhow::{Context, ensure};

use rustix::net::{AddressFamily, SocketType, ipproto};

use crate::{
    machine,
    network::{Network, Pair},
    record::{Connection, End, Flow, Listener, RawSocket, Told},
    script::{self, Script, Speaker},
};

/// How long to wait for a datagram.
const PATIENCE: Duration = Duration::from_secs(20);

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
        for (script, port) in [
            (script::http1(), 8001),
            (script::http2(), 8002),
            (script::tcp(), 8003),
        ] {
            let at = SocketAddr::new(address, port);
            send_script(&script, client, server, at, &mut expected)
                .with_context(|| format!("port {port} of {} at {address}", server.pod))?;
        }
        let at = SocketAddr::new(address, 8004);
        send_datagrams(client, server, at, &mut expected)
            .with_context(|| format!("datagrams to {} at {address}", server.pod))?;
    }
    for (family, ipv6) in [(AddressFamily::INET, false), (AddressFamily::INET6, true)] {
        near.enter()?;
        let owner = owner(near, "app");
        machine::enter(&owner.cgroup)?;
        drop(rustix::net::socket(
            family,
            SocketType::RAW,
            Some(ipproto::UDP),
        )?);
        expected.raw_sockets.push(RawSocket {
            owner,
            ipv6,
            protocol: 17,
        });
    }
    expected.connections.sort();
    expected.listeners.sort();
    expected.flows.sort();
    expected.raw_sockets.sort();
    Ok(expected)
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

/// What QUIC begins with: a long header of version 1 with two connection ids.
const QUIC: &[u8] = b"\xc3\0\0\0\x01\x04abcd\x04efghpayload";

/// Sends datagrams both ways between one pod's app and the other's, and closes the sockets.
fn send_datagrams(
    client_pod: &Network,
    server_pod: &Network,
    at: SocketAddr,
    expected: &mut Told,
) -> anyhow::Result<()> {
    let (client_owner, server_owner) = (owner(client_pod, "app"), owner(server_pod, "proxy"));
    server_pod.enter()?;
    machine::enter(&server_owner.cgroup)?;
    let server = UdpSocket::bind(at)?;
    client_pod.enter()?;
    machine::enter(&client_owner.cgroup)?;
    let any: IpAddr = match at {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let client = UdpSocket::bind((any, 0))?;
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(PATIENCE))?;
    }
    let mut got = [0; 2000];
    for answer in [&[b'x'; 1000][..], b"", b"an answer"] {
        client.send_to(QUIC, at)?;
        let (length, from) = server.recv_from(&mut got)?;
        ensure!(
            &got[..length] == QUIC,
            "another question came than was sent"
        );
        server.send_to(answer, from)?;
        let length = client.recv(&mut got)?;
        ensure!(
            &got[..length] == answer,
            "another answer came than was sent"
        );
    }
    let told = Flow {
        destination: at,
        client: Some(client_owner),
        server: Some(server_owner),
        inside: is_local(at.ip()),
        quic: true,
        client_bytes: 3 * QUIC.len() as u64,
        server_bytes: 1009,
    };
    if told.inside {
        expected.flows.push(told);
    } else {
        expected.flows.push(Flow {
            server: None,
            ..told.clone()
        });
        expected.flows.push(Flow {
            client: None,
            ..told
        });
    }
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
