//! A stand-in for Istio's pilot-agent: it watches Envoy, answers on its own ports, probes the app
//! from the address that the nat rules let pass, and writes to the same stdout as Envoy.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    os::fd::OwnedFd,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

/// Where it serves its metrics and the app's rewritten probes, and its readiness.
const PORTS: [u16; 2] = [15020, 15021];

/// The source of its probes.
const PROBE_SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);

pub(crate) fn run(options: &[&str]) -> Result<()> {
    let mut admin = None;
    let mut probe: Option<SocketAddrV4> = None;
    let mut interval = Duration::from_secs(1);
    let mut metrics: Option<SocketAddr> = None;
    for pair in options.chunks(2) {
        match pair {
            ["--admin", address] => admin = Some(address.parse::<SocketAddr>()?),
            ["--probe", address] => probe = Some(address.parse()?),
            ["--interval-msec", number] => interval = Duration::from_millis(number.parse()?),
            ["--metrics", port] => metrics = Some((Ipv4Addr::LOCALHOST, port.parse()?).into()),
            _ => bail!("unknown option {pair:?}"),
        }
    }
    say("info", "FLAG: --concurrency=\"2\"")?;
    for port in PORTS {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
            .with_context(|| format!("listening on {port}"))?;
        thread::spawn(move || serve(&listener, metrics, probe));
    }
    let admin = admin.context("expected --admin")?;
    while !get(TcpStream::connect(admin), "/ready").is_ok_and(|status| status == 200) {
        thread::sleep(Duration::from_millis(20));
    }
    say("info", "Envoy proxy is ready")?;
    loop {
        thread::sleep(interval);
        let Some(app) = probe else { continue };
        match get(connect_from_loopback(app), "/healthz") {
            Ok(status) => say("debug", &format!("app probe\tstatus={status}"))?,
            Err(error) => say("warn", &format!("app probe failed\t{error}"))?,
        }
    }
}

/// Answers every request with 200; for the merged metrics and for the kubelet's probes, which
/// Istio rewrites to come here, it asks the app first.
fn serve(listener: &TcpListener, metrics: Option<SocketAddr>, probe: Option<SocketAddrV4>) {
    for stream in listener.incoming().flatten() {
        thread::spawn(move || answer(stream, metrics, probe));
    }
}

fn answer(
    mut stream: TcpStream,
    metrics: Option<SocketAddr>,
    probe: Option<SocketAddrV4>,
) -> io::Result<()> {
    let head = read_head(&mut stream)?;
    if let Some(app) = probe.filter(|_| head.starts_with("GET /app-health/")) {
        get(connect_from_loopback(app), "/rewritten")?;
    }
    if let Some(app) = metrics.filter(|_| head.starts_with("GET /stats/prometheus ")) {
        get(TcpStream::connect(app), "/metrics")?;
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
}

fn get(stream: io::Result<TcpStream>, path: &str) -> io::Result<u16> {
    let mut stream = stream?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nuser-agent: kube-probe/1.32\r\n\
         connection: close\r\n\r\n"
    )?;
    let head = read_head(&mut stream)?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    status.ok_or_else(|| io::Error::other(format!("expected a status line, got {head:?}")))
}

/// Reads until the empty line, byte by byte: what follows is not ours.
fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0_u8; 1];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn connect_from_loopback(app: SocketAddrV4) -> io::Result<TcpStream> {
    let socket: OwnedFd = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddrV4::new(PROBE_SOURCE, 0))?;
    connect(&socket, &app)?;
    Ok(TcpStream::from(socket))
}

/// A line in the form of Istio's own log.
fn say(level: &str, message: &str) -> io::Result<()> {
    let mut line = format!("{:.6}\t{level}\t{message}\n", Timestamp::now()).into_bytes();
    // One write: Envoy writes to the same pipe.
    io::stdout().write_all(&std::mem::take(&mut line))?;
    io::stdout().flush()
}
