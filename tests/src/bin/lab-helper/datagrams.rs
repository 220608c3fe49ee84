//! Traffic without connections: UDP, and raw sockets.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::net::{AddressFamily, SocketType, ipproto, socket};

use crate::client::unescape;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends a datagram (`\r`, `\n` and `\xNN` written out), filled up with zeroes to `bytes`, and
/// again for each answer but the last of `answers`; without any, it is sent and that is all.
pub(crate) fn send(address: &str, text: &str, bytes: &str, answers: &str) -> Result<()> {
    let address: SocketAddr = address.parse().context("expected address:port")?;
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let mut datagram = unescape(text)?;
    datagram.resize(datagram.len().max(bytes.parse()?), 0);
    let answers: usize = answers.parse()?;
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    for _ in 0..answers.max(1) {
        socket.send_to(&datagram, address)?;
        if answers > 0 {
            let mut answer = vec![0; 65_536];
            let length = socket.recv(&mut answer)?;
            ensure!(answer[..length] == datagram, "another answer came");
        }
    }
    Ok(())
}

/// Sends back what comes, until it is killed.
pub(crate) fn answer(port: &str) -> Result<()> {
    // A socket of IPv6 takes IPv4 too (ipv6(7): IPV6_V6ONLY is off).
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port.parse()?))?;
    let mut bytes = vec![0; 65_536];
    loop {
        let (length, from) = socket.recv_from(&mut bytes)?;
        socket.send_to(&bytes[..length], from)?;
    }
}

/// Makes a raw socket of each family, as ping does where it has no better.
pub(crate) fn raw_sockets() -> Result<()> {
    drop(socket(
        AddressFamily::INET,
        SocketType::RAW,
        Some(ipproto::ICMP),
    )?);
    drop(socket(
        AddressFamily::INET6,
        SocketType::RAW,
        Some(ipproto::ICMPV6),
    )?);
    Ok(())
}
