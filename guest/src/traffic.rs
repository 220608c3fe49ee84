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
    record::{Connection, End, Listener, Told},
    script::{self, Script, Speaker},
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
        for (script, port) in [
            (script::http1(), 8001),
            (script::http2(), 8002),
            (script::tcp(), 8003),
        ] {
            let at = SocketAddr::new(address, port);
            send_script(&script, client, server, at, &mut expected)
                .with_context(|| format!("port {port} of {} at {address}", server.pod))?;
        }
    }
    expected.connections.sort();
    expected.listeners.sort();
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
