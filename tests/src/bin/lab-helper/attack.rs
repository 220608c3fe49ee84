//! Clients that try to slip past a witness: connections that outlive it, floods.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    ops::Range,
    path::Path,
    process,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::net::{
    AddressFamily, SocketType, bind, connect, socket, sockopt::set_socket_reuseaddr,
};

use crate::client::Connection;

/// How many connections a flood opens at the same time.
const FLOODERS: usize = 8;

/// How many heads a flood writes on each connection before it leaves.
const HEADS: usize = 16;

/// The source ports of a flood, none of which the proxy beside it takes by itself. A port that the
/// proxy left a moment ago makes conntrack take a new connection for the proxy's and not redirect
/// it: that one would pass the sidecar by.
const PORTS: Range<u16> = 2000..32_000;

/// Sends `<path>/before` on a connection, keeps it until `file` exists, and sends `<path>/after`.
pub(crate) fn linger(address: &str, path: &str, file: &str) -> Result<()> {
    let mut connection = Connection::open(address)?;
    connection.get(address, &format!("{path}/before"))?;
    while !Path::new(file).exists() {
        thread::sleep(Duration::from_millis(5));
    }
    connection.get(address, &format!("{path}/after"))
}

/// Opens connections as fast as it can for so long, writes heads on each and leaves without
/// reading all of the answers. Prints how many heads it wrote.
pub(crate) fn flood(address: &str, path: &str, seconds: &str) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(seconds.parse()?);
    let address: SocketAddr = address.parse().context("expected address:port")?;
    let heads = AtomicU64::new(0);
    // Floods beside each other begin apart.
    let bursts = AtomicU64::new(u64::from(process::id()) * 10_000);
    thread::scope(|scope| {
        for _ in 0..FLOODERS {
            scope.spawn(|| {
                while Instant::now() < end {
                    let port = port(bursts.fetch_add(1, Ordering::Relaxed));
                    // A server that cannot take another connection is what a flood is for.
                    if let Ok(written) = burst(port, address, path) {
                        heads.fetch_add(written, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    writeln!(io::stdout(), "200 {}", heads.into_inner())?;
    Ok(())
}

fn port(burst: u64) -> u16 {
    let offset = burst % PORTS.len() as u64;
    PORTS.start + u16::try_from(offset).unwrap_or_default()
}

fn burst(port: u16, address: SocketAddr, path: &str) -> io::Result<u64> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
    connect(&socket, &address)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let filler = "x".repeat(500);
    for number in 0..HEADS {
        write!(
            stream,
            "GET {path}/{number} HTTP/1.1\r\nhost: {address}\r\nx-filler: {filler}\r\n\r\n"
        )?;
    }
    // One piece of the answers: the connection was served.
    let _ = stream.read(&mut [0; 512])?;
    Ok(HEADS as u64)
}
