//! What nginx cannot answer by itself, served to it through a unix socket: no connection of this
//! shows in the pod's network.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::Result;

pub(crate) fn run(socket: &str) -> Result<()> {
    let listener = UnixListener::bind(socket)?;
    for stream in listener.incoming() {
        let stream = stream?;
        // A client that leaves early is no matter of this program.
        thread::spawn(move || serve(stream));
    }
    Ok(())
}

/// How often a path was asked for, this time included.
fn attempt(path: &str) -> u64 {
    static ATTEMPTS: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());
    let mut attempts = ATTEMPTS.lock().unwrap_or_else(PoisonError::into_inner);
    let count = attempts.entry(path.to_owned()).or_default();
    *count += 1;
    *count
}

struct Head {
    path: String,
    length: u64,
    chunked: bool,
    key: Option<String>,
}

fn serve(stream: UnixStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while let Some(head) = read_head(&mut reader)? {
        let number = |prefix: &str| {
            head.path
                .strip_prefix(prefix)
                .and_then(|rest| rest.split(['?', '/']).next()?.parse::<u64>().ok())
        };
        if head.path.starts_with("/ws") {
            return echo(&head, reader, writer);
        }
        let received = read_body(&head, &mut reader)?;
        if let Some(failures) = number("/flaky/") {
            let status = if attempt(&head.path) <= failures {
                "503 Service Unavailable"
            } else {
                "200 OK"
            };
            respond(&mut writer, status, "flaky\n")?;
        } else if head.path.starts_with("/half") {
            write!(
                writer,
                "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf"
            )?;
            return writer.shutdown(Shutdown::Both);
        } else if let Some(seconds) = number("/slow/") {
            thread::sleep(Duration::from_secs(seconds));
            respond(&mut writer, "200 OK", &format!("after {seconds} s\n"))?;
        } else if let Some(pieces) = number("/drip/") {
            drip(&mut writer, pieces)?;
        } else {
            respond(&mut writer, "201 Created", &format!("{received}\n"))?;
        }
    }
    Ok(())
}

fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut head = Head {
        path: line.split(' ').nth(1).unwrap_or_default().to_owned(),
        length: 0,
        chunked: false,
        key: None,
    };
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            return Ok(Some(head));
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => head.length = value.parse().unwrap_or(0),
            "transfer-encoding" => head.chunked = value.eq_ignore_ascii_case("chunked"),
            "sec-websocket-key" => head.key = Some(value.to_owned()),
            _ => {}
        }
    }
}

/// Reads the body to its end and returns its size.
fn read_body(head: &Head, reader: &mut impl BufRead) -> io::Result<u64> {
    if !head.chunked {
        return io::copy(&mut reader.by_ref().take(head.length), &mut io::sink());
    }
    let mut total = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
        // The chunk's own end of line, or the empty line that ends the body.
        io::copy(&mut reader.by_ref().take(size + 2), &mut io::sink())?;
        if size == 0 {
            return Ok(total);
        }
        total += size;
    }
}

fn respond(writer: &mut impl Write, status: &str, body: &str) -> io::Result<()> {
    write!(
        writer,
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends a chunked body, a piece each 10 ms.
fn drip(writer: &mut impl Write, pieces: u64) -> io::Result<()> {
    writer.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
    for piece in 0..pieces {
        let text = format!("piece {piece}\n");
        write!(writer, "{:x}\r\n{text}\r\n", text.len())?;
        writer.flush()?;
        thread::sleep(Duration::from_millis(10));
    }
    writer.write_all(b"0\r\n\r\n")
}

/// Accepts the upgrade and sends back what comes, as bytes: frames are the client's matter, whose
/// masked frames a client of this workspace reads as they are.
fn echo(head: &Head, mut reader: impl Read, mut writer: impl Write) -> io::Result<()> {
    let Some(key) = &head.key else {
        return respond(&mut writer, "400 Bad Request", "no key\n");
    };
    write!(
        writer,
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-accept: {key}\r\n\r\n"
    )?;
    io::copy(&mut reader, &mut writer)?;
    Ok(())
}
