//! What Istio's validation container does: it takes the sidecar's port for a moment and sees whether
//! a connection to the pod's own address comes to it.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
};

use anyhow::{Context, Result, ensure};

/// Where the rules lead what comes to the pod.
const INBOUND_PORT: u16 = 15006;
/// Istio's `INIT_VALIDATION_ORIGINAL_PORT`: nobody listens there.
const ORIGINAL_PORT: u16 = 15002;
const WORD: &[u8] = b"probe";

/// Connects to the pod's own address and expects to meet itself.
pub(crate) fn validate(own: &str) -> Result<()> {
    let own: Ipv4Addr = own.parse().context("expected an address")?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, INBOUND_PORT))?;
    let mut client = TcpStream::connect((own, ORIGINAL_PORT))?;
    let (mut server, _) = listener.accept()?;
    client.write_all(WORD)?;
    let mut received = [0; WORD.len()];
    server.read_exact(&mut received)?;
    ensure!(received == WORD, "expected {WORD:?}, got {received:?}");
    Ok(())
}
