//! Clients that do what curl does not: pipelining, half heads, bodies that imitate requests.
//!
//! Each response is printed as `<status> <bytes of the body>`.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::net::{
    AddressFamily, SocketType, bind, connect, socket, sockopt::set_socket_reuseport,
};
use serde_json::Value;

/// How long any answer may take: longer than the slowest location of the app.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends `count` requests in one write, then reads their responses. They ask for `<path>/<n>`.
pub(crate) fn pipeline(address: &str, path: &str, count: &str) -> Result<()> {
    let count: usize = count.parse()?;
    let heads: String = (0..count)
        .map(|number| format!("GET {path}/{number} HTTP/1.1\r\nhost: {address}\r\n\r\n"))
        .collect();
    let mut connection = Connection::open(address)?;
    connection.writer.write_all(heads.as_bytes())?;
    for _ in 0..count {
        connection.read_response("GET")?.print()?;
    }
    Ok(())
}

/// Sends bytes as they are (`\r`, `\n` and `\xNN` written out), waits, and closes.
pub(crate) fn bytes(address: &str, text: &str, wait_msec: &str) -> Result<()> {
    let mut connection = Connection::open(address)?;
    connection.writer.write_all(&unescape(text)?)?;
    thread::sleep(Duration::from_millis(wait_msec.parse()?));
    Ok(())
}

/// Sends requests one after the other on one connection. The script is a JSON array of
/// `{"method", "path", "headers": {…}, "body": "…", "chunks": ["…", …]}`; all but `path` may be
/// left out, and `chunks` makes the body a chunked one.
pub(crate) fn requests(address: &str, script: &str) -> Result<()> {
    let script: Value = serde_json::from_str(script).context("reading the script")?;
    let mut connection = Connection::open(address)?;
    for request in script.as_array().context("expected an array")? {
        let method = request["method"].as_str().unwrap_or("GET");
        connection
            .writer
            .write_all(&encode(address, method, request)?)?;
        connection.read_response(method)?.print()?;
    }
    Ok(())
}

/// Opens `count` connections, in turn to each of `addresses`, with one request on each. They ask
/// for `<path>/<n>`.
pub(crate) fn short(addresses: &str, path: &str, count: &str) -> Result<()> {
    let addresses: Vec<&str> = addresses.split(',').collect();
    for (number, address) in (0..count.parse::<usize>()?).zip(addresses.iter().cycle()) {
        let mut connection = Connection::open(address)?;
        let head = format!("GET {path}/{number} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        connection.writer.write_all(head.as_bytes())?;
        connection.read_response("GET")?.print()?;
    }
    Ok(())
}

/// Opens a connection to each of `addresses` from one local port (SO_REUSEPORT), all at once, and
/// asks on each for `<path>/<n>`.
pub(crate) fn reuseport(addresses: &str, path: &str) -> Result<()> {
    let mut local = None;
    let mut connections = Vec::new();
    for address in addresses.split(',') {
        let address: SocketAddr = address.parse().context("expected address:port")?;
        let (family, any) = match address {
            SocketAddr::V4(_) => (AddressFamily::INET, Ipv4Addr::UNSPECIFIED.into()),
            SocketAddr::V6(_) => (AddressFamily::INET6, Ipv6Addr::UNSPECIFIED.into()),
        };
        let socket = socket(family, SocketType::STREAM, None)?;
        set_socket_reuseport(&socket, true)?;
        let local = local.get_or_insert(SocketAddr::new(any, 0));
        bind(&socket, local)?;
        connect(&socket, &address)?;
        let stream = TcpStream::from(socket);
        *local = stream.local_addr()?;
        connections.push((address, Connection::over(stream)?));
    }
    for (number, (address, connection)) in connections.iter_mut().enumerate() {
        let head = format!("GET {path}/{number} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        connection.writer.write_all(head.as_bytes())?;
        connection.read_response("GET")?.print()?;
    }
    Ok(())
}

/// Opens `count` connections one after the other, sends `bytes` bytes on each and reads them back
/// from an echo.
pub(crate) fn transfer(address: &str, count: &str, bytes: &str) -> Result<()> {
    let bytes = bytes.parse::<u64>()?;
    for _ in 0..count.parse::<usize>()? {
        let mut connection = Connection::open(address)?;
        let mut writer = connection.writer.try_clone()?;
        let sent = vec![0xfe; usize::try_from(bytes)?];
        let sender = thread::spawn(move || writer.write_all(&sent));
        // Envoy drops a connection whose FIN is there before it has looked at the first bytes.
        connection.skip(bytes)?;
        sender.join().map_err(|_| anyhow!("the sender failed"))??;
        connection.writer.shutdown(Shutdown::Write)?;
        io::copy(&mut connection.reader, &mut io::sink())?;
    }
    Ok(())
}

/// Opens `count` connections one after the other, sends a request on each and half-closes at once.
/// Prints how each ended: `<status> <bytes of the body>`, status 0 if there was no response.
pub(crate) fn half_close(address: &str, path: &str, count: &str) -> Result<()> {
    for number in 0..count.parse::<usize>()? {
        let mut connection = Connection::open(address)?;
        let head = format!("GET {path}/{number} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        connection.writer.write_all(head.as_bytes())?;
        connection.writer.shutdown(Shutdown::Write)?;
        let none = Response { status: 0, body: 0 };
        connection.read_response("GET").unwrap_or(none).print()?;
    }
    Ok(())
}

/// Upgrades to WebSocket and has `count` text messages echoed.
pub(crate) fn websocket(address: &str, path: &str, count: &str) -> Result<()> {
    let mut connection = Connection::open(address)?;
    write!(
        connection.writer,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: bWVzaHdpdG5lc3MtbGFiIQ==\r\n\r\n"
    )?;
    let response = connection.read_response("GET")?;
    ensure!(
        response.status == 101,
        "expected 101, got {}",
        response.status
    );
    response.print()?;
    for number in 0..count.parse::<usize>()? {
        // What looks like a request must not be taken for one after the upgrade.
        let frame = frame(
            0x81,
            format!("GET /frame/{number} HTTP/1.1\r\n\r\n").as_bytes(),
        )?;
        connection.writer.write_all(&frame)?;
        let mut echo = vec![0; frame.len()];
        connection.reader.read_exact(&mut echo)?;
        ensure!(echo == frame, "frame {number} came back changed");
    }
    connection.writer.write_all(&frame(0x88, &[])?)?;
    connection.writer.shutdown(Shutdown::Write)?;
    io::copy(&mut connection.reader, &mut io::sink())?;
    Ok(())
}

/// A connection to a server, of which whole responses are read.
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

struct Response {
    status: u16,
    body: u64,
}

impl Response {
    fn print(&self) -> io::Result<()> {
        writeln!(io::stdout(), "{} {}", self.status, self.body)
    }
}

impl Connection {
    /// Connects.
    pub(crate) fn open(address: &str) -> Result<Self> {
        let address: SocketAddr = address.parse().context("expected address:port")?;
        let writer =
            TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
        Self::over(writer)
    }

    fn over(writer: TcpStream) -> Result<Self> {
        writer.set_read_timeout(Some(PATIENCE))?;
        writer.set_nodelay(true)?;
        Ok(Self {
            reader: BufReader::new(writer.try_clone()?),
            writer,
        })
    }

    /// Asks for a path and prints the response.
    pub(crate) fn get(&mut self, host: &str, path: &str) -> Result<()> {
        write!(self.writer, "GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n")?;
        Ok(self.read_response("GET")?.print()?)
    }

    fn read_response(&mut self, method: &str) -> Result<Response> {
        let line = self.line()?;
        let status = line.split(' ').nth(1).context("expected a status line")?;
        let status: u16 = status.parse().with_context(|| format!("in {line:?}"))?;
        let (mut length, mut chunked) = (None, false);
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = Some(value.trim().parse::<u64>()?),
                "transfer-encoding" => chunked = value.trim() == "chunked",
                _ => {}
            }
        }
        // RFC 9112, section 6.3.
        let body = match length {
            _ if method == "HEAD" || matches!(status, 100..=199 | 204 | 304) => 0,
            _ if chunked => self.skip_chunks()?,
            Some(length) => self.skip(length)?,
            None => io::copy(&mut self.reader, &mut io::sink())?,
        };
        Ok(Response { status, body })
    }

    fn skip_chunks(&mut self) -> Result<u64> {
        let mut total = 0;
        loop {
            let line = self.line()?;
            let size = u64::from_str_radix(&line, 16).with_context(|| format!("in {line:?}"))?;
            self.skip(size + 2)?;
            if size == 0 {
                return Ok(total);
            }
            total += size;
        }
    }

    fn skip(&mut self, length: u64) -> Result<u64> {
        let got = io::copy(&mut self.reader.by_ref().take(length), &mut io::sink())?;
        ensure!(got == length, "expected {length} bytes, got {got}");
        Ok(got)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            bail!("the connection ended where a line was expected");
        }
        Ok(line.trim_end().to_owned())
    }
}

fn encode(address: &str, method: &str, request: &Value) -> Result<Vec<u8>> {
    let path = request["path"].as_str().context("expected a path")?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\n");
    for (name, value) in request["headers"].as_object().into_iter().flatten() {
        let value = value.as_str().context("expected a header's value")?;
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut body = Vec::new();
    if let Some(chunks) = request["chunks"].as_array() {
        head.push_str("transfer-encoding: chunked\r\n");
        for chunk in chunks {
            let chunk = chunk.as_str().context("expected text")?;
            write!(body, "{:x}\r\n{chunk}\r\n", chunk.len())?;
        }
        body.extend_from_slice(b"0\r\n\r\n");
    } else if let Some(text) = request["body"].as_str() {
        head.push_str(&format!("content-length: {}\r\n", text.len()));
        body.extend_from_slice(text.as_bytes());
    }
    head.push_str("\r\n");
    Ok([head.into_bytes(), body].concat())
}

/// A masked frame of less than 126 bytes (RFC 6455, section 5.2).
fn frame(first: u8, payload: &[u8]) -> Result<Vec<u8>> {
    let length = u8::try_from(payload.len())
        .ok()
        .filter(|length| *length < 126);
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first, 0x80 | length.context("the frame is too long")?];
    frame.extend_from_slice(&mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    Ok(frame)
}

pub(crate) fn unescape(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next() {
            Some(b'r') => bytes.push(b'\r'),
            Some(b'n') => bytes.push(b'\n'),
            Some(b'x') => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                bytes.push(u8::from_str_radix(str::from_utf8(&digits)?, 16)?);
            }
            other => bail!("unknown escape {other:?}"),
        }
    }
    Ok(bytes)
}
