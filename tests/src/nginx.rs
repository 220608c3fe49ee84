//! nginx: the application, and with its own log the ground truth that the project did not write.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

/// The port that speaks HTTP/1.1.
pub const HTTP_PORT: u16 = 8080;
/// The port that speaks HTTP/2 without TLS.
pub const HTTP2_PORT: u16 = 8081;
/// The size of `/large`, bytes.
pub const LARGE: usize = 10_000_000;

/// Writes what an nginx needs into `directory`: `nginx.conf` and the files it serves.
///
/// | location | answer |
/// |---|---|
/// | anything else | 200 and the path |
/// | `/missing…` | 404 |
/// | `/fail…` | 500 |
/// | `/early…` | 201 before the body is read |
/// | `/large` | [`LARGE`] bytes |
/// | `/chunked` | 200 of unknown length |
/// | `/close…` | none: the connection is closed |
/// | `/nothing…`, `/unchanged…` | 204, 304 |
/// | `/flaky/<failures>…` | 503 so often, then 200; by the helper, as are the next |
/// | `/half…` | 200 and a part of the body, then the connection is closed |
/// | `/slow/<seconds>`, `/upload…`, `/ws…`, `/drip/<pieces>` | as their names say |
///
/// # Errors
///
/// If a file cannot be written.
pub fn prepare(directory: &Path, ports: &[Port], helper_socket: &Path) -> Result<()> {
    fs::write(directory.join("large"), vec![b'm'; LARGE])?;
    fs::write(
        directory.join("chunked"),
        "the word is replaced\n".repeat(500),
    )?;
    let listen: String = ports.iter().map(Port::directives).collect();
    let root = directory.display();
    let socket = helper_socket.display();
    // One worker: the order of its log is the order in which it answered.
    let text = format!(
        r#"daemon off;
worker_processes 1;
pid {root}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  log_format truth '$msec $remote_addr:$remote_port $connection $connection_requests "$request" $status $body_bytes_sent $http_x_request_id $request_time';
  access_log {root}/access.log truth;
  client_body_temp_path {root}/body;
  proxy_temp_path {root}/proxy;
  fastcgi_temp_path {root}/fastcgi;
  uwsgi_temp_path {root}/uwsgi;
  scgi_temp_path {root}/scgi;
  client_max_body_size 0;
  large_client_header_buffers 8 64k;
  keepalive_requests 1000000000;
  http2_max_concurrent_streams 10000;
  keepalive_timeout 1h;
  sendfile on;
  server {{
{listen}    root {root};
    default_type text/plain;
    location / {{ return 200 "$uri\n"; }}
    location /missing {{ return 404; }}
    location /fail {{ return 500 "fail"; }}
    location /close {{ return 444; }}
    location /nothing {{ return 204; }}
    location /unchanged {{ return 304; }}
    location /early {{ return 201 "early"; }}
    location = /large {{ }}
    location = /chunked {{ sub_filter_types *; sub_filter word WORD; sub_filter_once off; }}
    location ~ ^/(slow|upload|ws|drip|flaky|half) {{
      proxy_pass http://unix:{socket};
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $http_connection;
      proxy_read_timeout 1h;
      proxy_buffering off;
    }}
  }}
}}
"#
    );
    fs::write(directory.join("nginx.conf"), text).context("writing nginx.conf")
}

/// A port that nginx listens on, for both address families.
#[derive(Clone, Copy, Debug)]
pub enum Port {
    /// HTTP/1.1.
    Http1(u16),
    /// HTTP/2 by prior knowledge.
    Http2(u16),
}

impl Port {
    fn directives(&self) -> String {
        let (port, protocol) = match self {
            Self::Http1(port) => (port, ""),
            Self::Http2(port) => (port, " http2"),
        };
        format!(
            "    listen {port}{protocol} backlog=4096;\n    listen [::]:{port}{protocol} backlog=4096;\n"
        )
    }
}

/// One exchange as nginx logged it.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// When it ended, seconds since the Unix epoch.
    pub time: f64,
    /// The client's address and port.
    pub client: String,
    /// The number of the connection.
    pub connection: u64,
    /// Which request of the connection it is, from 1.
    pub request: u64,
    /// The request line as it came.
    pub line: String,
    /// The status of the answer.
    pub status: u16,
    /// The body's bytes that were sent.
    pub body_bytes: u64,
    /// The request's x-request-id, or `-`.
    pub request_id: String,
    /// From the first byte of the request to the end of the answer, seconds.
    pub duration: f64,
}

impl Exchange {
    /// The method in the request line.
    #[must_use]
    pub fn method(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    /// The target in the request line, with its query.
    #[must_use]
    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// The target without its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target().split('?').next().unwrap_or_default()
    }
}

/// Reads nginx's log.
///
/// # Errors
///
/// If the file cannot be read or a line does not look as [`prepare`] made it.
pub fn read_log(path: &Path) -> Result<Vec<Exchange>> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    text.lines().map(parse).collect()
}

fn parse(line: &str) -> Result<Exchange> {
    let quoted: Vec<&str> = line.splitn(2, " \"").collect();
    let [head, rest] = quoted[..] else {
        bail!("expected a request in quotes, got {line}");
    };
    let Some((request_line, tail)) = rest.rsplit_once("\" ") else {
        bail!("expected the end of the request, got {line}");
    };
    let head: Vec<&str> = head.split(' ').collect();
    let tail: Vec<&str> = tail.split(' ').collect();
    let ([time, client, connection, request], [status, body_bytes, request_id, duration]) =
        (&head[..], &tail[..])
    else {
        bail!("expected four fields on each side of the request, got {line}");
    };
    Ok(Exchange {
        time: time.parse()?,
        client: (*client).to_owned(),
        connection: connection.parse()?,
        request: request.parse()?,
        line: request_line.to_owned(),
        status: status.parse()?,
        body_bytes: body_bytes.parse()?,
        request_id: (*request_id).to_owned(),
        duration: duration.parse()?,
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_a_line_with_quotes_in_the_request() {
        let exchange =
            parse(r#"1795334897.916 127.0.0.6:51940 1 2 "GET /a\x22 b HTTP/1.1" 200 10 id 0.003"#)
                .unwrap();
        assert_eq!(exchange.method(), "GET");
        assert_eq!((exchange.connection, exchange.request), (1, 2));
        assert_eq!((exchange.status, exchange.body_bytes), (200, 10));
    }
}
