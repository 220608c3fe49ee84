//! Ways of sending that do not write: what is shipped is the same.

use std::{
    fs::File,
    io::{ErrorKind, Write},
    net::TcpStream,
    os::fd::{AsFd, AsRawFd},
};

use io_uring::{IoUring, cqueue, opcode, squeue, types::Fd};
use rustix::{
    fs::{MemfdFlags, memfd_create, sendfile},
    pipe::{SpliceFlags, pipe, splice},
};

use crate::streams::{Sent, exchange_by};

const BODY: usize = 1 << 20;

/// Uploads and downloads, heads and bodies, sent in this way by both ends.
fn assert_captured(send: impl Fn(&TcpStream, &Sent) + Sync) {
    let body = vec![b'b'; BODY];
    let (mut requests, mut responses) = (Sent::default(), Sent::default());
    for number in 0..4 {
        let length = format!("content-length: {BODY}\r\n\r\n");
        requests
            .message(
                &format!("POST /{number} HTTP/1.1\r\nhost: x\r\n{length}"),
                &body,
            )
            .message(&format!("GET /{number} HTTP/1.1\r\nhost: x\r\n\r\n"), b"");
        responses
            .message("HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n", b"ok")
            .message(&format!("HTTP/1.1 200 OK\r\n{length}"), &body);
    }
    let (client, server) = exchange_by(&requests, &responses, send);
    client.check(&requests);
    server.check(&responses);
    // The bodies were left out.
    assert!(client.shipped() < BODY / 4 && server.shipped() < BODY / 4);
}

#[test]
fn a_head_that_is_written_and_a_body_by_sendfile() {
    assert_captured(|mut stream, sent| {
        let file = File::from(memfd_create("sent", MemfdFlags::CLOEXEC).unwrap());
        (&file).write_all(&sent.bytes).unwrap();
        let ends = sent.messages.iter().skip(1).copied();
        let ends = ends.chain([sent.bytes.len() as u64]);
        for (begin, end) in sent.messages.iter().copied().zip(ends) {
            let message = &sent.bytes[begin as usize..end as usize];
            let head = message.windows(4).position(|four| four == b"\r\n\r\n");
            let head = head.unwrap() + 4;
            stream.write_all(&message[..head]).unwrap();
            let mut at = begin + head as u64;
            while at < end {
                let count = (end - at) as usize;
                assert!(sendfile(stream, &file, Some(&mut at), count).unwrap() > 0);
            }
        }
    });
}

#[test]
fn everything_by_splice_from_a_pipe() {
    assert_captured(|stream, sent| {
        let (end, begin) = pipe().unwrap();
        let mut begin = File::from(begin);
        // No more than a pipe holds.
        for part in sent.bytes.chunks(16 << 10) {
            begin.write_all(part).unwrap();
            let mut left = part.len();
            while left > 0 {
                let flags = SpliceFlags::MOVE;
                left -= splice(end.as_fd(), None, stream.as_fd(), None, left, flags).unwrap();
            }
        }
    });
}

#[test]
fn everything_by_io_uring() {
    assert_captured(|stream, sent| {
        send_by_ring(&sent.bytes, |bytes| {
            opcode::Send::new(Fd(stream.as_raw_fd()), bytes.as_ptr(), bytes.len() as u32).build()
        });
    });
}

#[test]
fn everything_by_io_uring_without_copying() {
    assert_captured(|stream, sent| {
        send_by_ring(&sent.bytes, |bytes| {
            opcode::SendZc::new(Fd(stream.as_raw_fd()), bytes.as_ptr(), bytes.len() as u32).build()
        });
    });
}

/// Sends by a ring's operation until all is sent and the kernel is done with the memory.
fn send_by_ring(mut bytes: &[u8], operation: impl Fn(&[u8]) -> squeue::Entry) {
    let mut ring = IoUring::new(4).unwrap_or_else(|error| {
        panic!(
            "io_uring cannot be used here ({error}); this test needs it: see \
             /proc/sys/kernel/io_uring_disabled"
        )
    });
    while !bytes.is_empty() {
        // SAFETY: `bytes` is longer alive than the ring.
        unsafe { ring.submission().push(&operation(bytes)) }.unwrap();
        let mut sent = 0;
        let mut is_done = false;
        while !is_done {
            ring.submit_and_wait(1).unwrap();
            for completion in ring.completion() {
                if !cqueue::notif(completion.flags()) {
                    assert!(completion.result() > 0, "{completion:?}");
                    sent = completion.result() as usize;
                }
                is_done = !cqueue::more(completion.flags());
            }
        }
        bytes = &bytes[sent..];
    }
}

#[test]
fn everything_by_send_without_copying() {
    assert_captured(|stream, sent| {
        let on: libc::c_int = 1;
        // SAFETY: the option takes an int.
        let set = unsafe {
            libc::setsockopt(
                stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ZEROCOPY,
                (&raw const on).cast(),
                size_of_val(&on) as libc::socklen_t,
            )
        };
        assert_eq!(set, 0);
        let mut bytes = &sent.bytes[..];
        while !bytes.is_empty() {
            // SAFETY: `bytes` is alive and unchanged until the connection is closed.
            let count = unsafe {
                libc::send(
                    stream.as_raw_fd(),
                    bytes.as_ptr().cast(),
                    bytes.len(),
                    libc::MSG_ZEROCOPY,
                )
            };
            match usize::try_from(count) {
                Ok(count) => bytes = &bytes[count..],
                Err(_) => {
                    let error = std::io::Error::last_os_error();
                    assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
                }
            }
        }
    });
}
