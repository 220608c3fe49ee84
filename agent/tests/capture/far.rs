//! A network namespace next door, whose sockets are not watched.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::scene::{new_network, run};

/// The neighbour's end of a link to the scene, whose own addresses end with 1.
pub(crate) struct Far {
    /// A socket there, for all its addresses.
    pub(crate) socket: UdpSocket,
}

impl Far {
    /// To be called before the scene is entered: sockets belong to the cgroup that made them.
    pub(crate) fn new() -> Self {
        let (ready, is_ready) = mpsc::channel();
        let (go, may_go) = mpsc::channel();
        let neighbour = thread::spawn(move || {
            new_network();
            let thread = rustix::thread::gettid().as_raw_nonzero();
            ready.send(thread.to_string()).unwrap();
            may_go.recv().unwrap();
            set_up("far", 2);
            UdpSocket::bind("[::]:9000").unwrap()
        });
        let namespace = is_ready.recv().unwrap();
        let link = "link add near type veth peer name far netns";
        let link = link.split(' ').chain([namespace.as_str()]);
        run("ip", &link.collect::<Vec<_>>());
        set_up("near", 1);
        go.send(()).unwrap();
        let socket = neighbour.join().unwrap();
        let patience = Some(Duration::from_secs(10));
        socket.set_read_timeout(patience).unwrap();
        Self { socket }
    }

    /// The neighbour's address of the same family.
    pub(crate) fn address(like: IpAddr) -> SocketAddr {
        let host = if like.is_ipv4() {
            "10.9.0.2"
        } else {
            "fd00:9::2"
        };
        SocketAddr::new(host.parse().unwrap(), 9000)
    }

    /// Takes a datagram and sends it back.
    pub(crate) fn answer(&self) {
        let mut bytes = [0; 65_536];
        let (length, from) = self.socket.recv_from(&mut bytes).unwrap();
        self.socket.send_to(&bytes[..length], from).unwrap();
    }
}

fn set_up(device: &str, host: u8) {
    let v4 = format!("10.9.0.{host}/24");
    let v6 = format!("fd00:9::{host}/64");
    run("ip", &["address", "add", &v4, "dev", device]);
    run("ip", &["address", "add", &v6, "dev", device, "nodad"]);
    run("ip", &["link", "set", device, "up"]);
}
