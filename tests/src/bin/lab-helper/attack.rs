//! Clients that try to slip past a witness: connections that outlive it, floods.

use std::{
    net::TcpStream,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use std::io::{self, Read, Write};

use anyhow::Result;

use crate::client::Connection;

/// How many connections a flood opens at the same time.
const FLOODERS: usize = 8;

/// How many heads a flood writes on each connection before it leaves.
const HEADS: usize = 16;

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
    let heads = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..FLOODERS {
            scope.spawn(|| {
                while Instant::now() < end {
                    // A server that cannot take another connection is what a flood is for.
                    if let Ok(written) = burst(address, path) {
                        heads.fetch_add(written, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    writeln!(io::stdout(), "200 {}", heads.into_inner())?;
    Ok(())
}

fn burst(address: &str, path: &str) -> io::Result<u64> {
    let mut stream = TcpStream::connect(address)?;
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
