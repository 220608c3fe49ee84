//! Servers that do not speak HTTP.

use std::{
    io::{self, Read, Write},
    net::{Ipv6Addr, Shutdown, TcpListener, TcpStream},
    thread,
};

use anyhow::Result;

/// Sends back what comes, and closes when the client does.
pub(crate) fn echo(port: &str) -> Result<()> {
    serve(port, send_back)
}

/// Answers what is no HTTP, and closes.
pub(crate) fn garble(port: &str) -> Result<()> {
    serve(port, |mut stream| {
        let _request_bytes = stream.read(&mut [0; 4096])?;
        stream.write_all(b"no protocol that anybody speaks\r\n\r\n")
    })
}

/// Reads and says nothing.
pub(crate) fn mute(port: &str) -> Result<()> {
    serve(port, |mut stream| {
        io::copy(&mut stream, &mut io::sink()).map(drop)
    })
}

fn serve(port: &str, with: fn(TcpStream) -> io::Result<()>) -> Result<()> {
    // A socket of IPv6 takes IPv4 too (ip(7), ipv6(7): IPV6_V6ONLY is off).
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port.parse()?))?;
    for stream in listener.incoming() {
        let stream = stream?;
        // A client that leaves early is no matter of this program.
        thread::spawn(move || with(stream));
    }
    Ok(())
}

fn send_back(mut stream: TcpStream) -> io::Result<()> {
    io::copy(&mut stream.try_clone()?, &mut stream)?;
    stream.shutdown(Shutdown::Write)
}
