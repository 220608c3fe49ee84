//! Bytes into exchanges: HTTP/1 followed by position, sans-IO.

mod event;

pub use event::{
    Closed, Connection, ConnectionId, End, Exchange, Gap, HttpEvent, Request, RequestHead, Response,
};
