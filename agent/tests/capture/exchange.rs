//! One exchange, from listening to closing.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
};

use meshwitness::capture::{Capture, Observation, Opener, Peer};

use crate::scene::{Scene, ends};

#[test]
fn an_exchange_is_seen_from_both_ends() {
    let scene = Scene::new();
    let mut watched = scene.capture(1 << 20);
    let server_cgroup = scene.enter("server");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client_cgroup = scene.enter("client");
    let mut client = TcpStream::connect(address).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let request = b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n";
    let response = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    client.write_all(request).unwrap();
    let mut bytes = [0; 4096];
    assert_eq!(server.read(&mut bytes).unwrap(), request.len());
    server.write_all(response).unwrap();
    assert_eq!(client.read(&mut bytes).unwrap(), response.len());
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.read(&mut bytes).unwrap(), 0);
    drop(server);
    assert_eq!(client.read(&mut bytes).unwrap(), 0);
    let source = client.local_addr().unwrap();
    drop(client);

    let (client, server) = ends(watched.closed(2));
    let pid = std::process::id();
    assert_eq!(client.opener, Opener::Here);
    assert_eq!(client.asked, Some(address));
    assert_eq!((client.local, client.remote), (source, address));
    assert_eq!(client.sent, Some((source, address)));
    assert_eq!(
        (client.cgroup, server.cgroup),
        (client_cgroup, server_cgroup)
    );
    assert_eq!(
        client.process.as_ref().map(|process| process.pid),
        Some(pid)
    );
    assert_eq!(
        server.process.as_ref().map(|process| process.pid),
        Some(pid)
    );
    assert_eq!(
        client.peer,
        Peer::Local {
            cookie: server.cookie,
            cgroup: server_cgroup
        }
    );
    assert_eq!(
        server.peer,
        Peer::Local {
            cookie: client.cookie,
            cgroup: client_cgroup
        }
    );
    assert_eq!(
        (client.bytes_sent, client.bytes_received),
        (request.len() as u64, response.len() as u64)
    );
    assert_eq!(
        (server.bytes_sent, server.bytes_received),
        (response.len() as u64, request.len() as u64)
    );
    assert!(client.established && server.established);
    assert!(client.fin_sent && server.fin_sent);
    assert!(!client.preexisting && !server.preexisting);
    let listening = watched.seen.iter().find_map(|seen| match seen {
        Observation::Listener(listener) if listener.local == address => Some(listener),
        _ => None,
    });
    let listening = listening.unwrap();
    assert_eq!(
        (listening.process.pid, listening.cgroup),
        (pid, server_cgroup)
    );
    assert!(listening.time <= client.opened && client.opened <= server.opened);
    assert!(server.opened <= client.time);
    watched.assert_clean();
}

/// It may be drained by a thread of its own.
const _: () = {
    const fn movable<T: Send>() {}
    movable::<Capture>();
};

#[test]
fn programs_stay_below_the_verifiers_limit() {
    let scene = Scene::new();
    let watched = scene.capture(1 << 20);
    for program in watched.capture.programs().unwrap() {
        // The limit is a million, and other compilers and kernels count differently.
        assert!(
            program.verified_instructions.unwrap() < 350_000,
            "{program:?}"
        );
    }
}
