use std::net::SocketAddr;

use agent_common::{
    endpoint::Endpoint,
    flow::{FlowRecord, FlowsClosedRecord, RawSocketRecord},
    process::Process,
    record::Header,
    segment::{SegmentHeader, SegmentRecord},
    socket::{Facts, SocketRecord},
};
use proptest::{arbitrary::any, collection::vec, proptest};

use super::{Malformed, segment, socket};
use crate::capture::{Observation, Opener, Peer, Phase, clock::Clock};

/// The bytes of a value without padding, as they lie in a ring.
fn bytes<T>(value: &T) -> Vec<u8> {
    // SAFETY: the records have no padding, as their size assertions say.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }.to_vec()
}

fn record() -> SocketRecord {
    let mut command = [0; 16];
    command[..5].copy_from_slice(b"nginx");
    SocketRecord {
        header: Header {
            kind: SocketRecord::KIND,
            account: 9,
            time: 5,
        },
        phase: SocketRecord::CLOSED,
        facts: Facts {
            cookie: 77,
            process: Process {
                thread_group: 12,
                user: 101,
                command,
            },
            asked: Endpoint::v4(u32::from_ne_bytes([10, 0, 0, 1]), 80),
            local: Endpoint::v6([u32::from_be(0x2001_0db8), 0, 0, u32::from_be(7)], 443),
            flags: Facts::OPENED_HERE | Facts::ESTABLISHED,
            peer: Facts::PEER_LOCAL,
            peer_cookie: 78,
            ..Facts::default()
        },
        ..SocketRecord::default()
    }
}

#[test]
fn a_socket_is_read_from_anywhere() {
    let clock = Clock::new();
    let mut shifted = vec![0];
    shifted.extend(bytes(&record()));
    let Ok((9, Observation::Socket(socket))) = socket(&shifted[1..], &clock) else {
        panic!("not a socket");
    };
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    assert_eq!(socket.asked, Some(address("10.0.0.1:80")));
    assert_eq!(socket.local, address("[2001:db8::7]:443"));
    assert_eq!(socket.remote, address("[::]:0"));
    assert_eq!((socket.phase, socket.opener), (Phase::Closed, Opener::Here));
    assert_eq!(&*socket.process.unwrap().command, "nginx");
    assert!(matches!(socket.peer, Peer::Local { cookie: 78, .. }));
    assert!(socket.established && !socket.preexisting && socket.sent.is_none());
}

#[test]
fn a_flow_is_read_with_the_beginning_of_its_payload() {
    let clock = Clock::new();
    let record = FlowRecord {
        header: Header {
            kind: FlowRecord::KIND,
            account: 9,
            time: 5,
        },
        cookie: 77,
        cgroup: 11,
        place: 300,
        flags: FlowRecord::SENT,
        source: Endpoint::v4(u32::from_ne_bytes([10, 0, 0, 1]), 3000),
        destination: Endpoint::v4(u32::from_ne_bytes([10, 0, 0, 2]), 53),
        length: 10,
        payload: [
            u64::from_ne_bytes(*b"hello, w"),
            u64::from_ne_bytes(*b"or\0\0\0\0\0\0"),
            0,
            0,
        ],
        ..FlowRecord::default()
    };
    let read = |record: FlowRecord| match socket(&bytes(&record), &clock) {
        Ok((9, Observation::Flow(flow))) => flow,
        other => panic!("{other:?}"),
    };
    let flow = read(record);
    assert_eq!((flow.cookie, flow.cgroup, flow.process), (77, 11, None));
    assert_eq!((flow.length, &flow.payload[..]), (10, &b"hello, wor"[..]));
    assert_eq!((flow.place.number, flow.place.account), (300, 9));
    assert_eq!(flow.destination.to_string(), "10.0.0.2:53");
    assert!(flow.sent && !flow.inside && flow.receiver.is_none() && flow.connected.is_none());
    let inside = read(FlowRecord {
        flags: FlowRecord::SENT | FlowRecord::INSIDE,
        peer_cgroup: 12,
        length: 1200,
        ..record
    });
    assert!(inside.inside);
    assert_eq!((inside.length, inside.payload.len()), (1200, 32));
    let receiver = inside.receiver.unwrap();
    assert_eq!((receiver.cookie, receiver.cgroup), (None, 12));
}

#[test]
fn the_close_of_a_flows_socket_and_raw_sockets_are_read() {
    let clock = Clock::new();
    let header = |kind| Header {
        kind,
        account: 9,
        time: 5,
    };
    let closed = FlowsClosedRecord {
        header: header(FlowsClosedRecord::KIND),
        cookie: 77,
    };
    let observation = socket(&bytes(&closed), &clock).unwrap().1;
    assert!(matches!(
        observation,
        Observation::FlowsClosed { cookie: 77, .. }
    ));
    for (family, is_v6) in [(2, false), (10, true)] {
        let raw = RawSocketRecord {
            header: header(RawSocketRecord::KIND),
            cgroup: 11,
            family,
            protocol: 58,
            ..RawSocketRecord::default()
        };
        match socket(&bytes(&raw), &clock).unwrap().1 {
            Observation::RawSocket(raw) => {
                assert_eq!((raw.cgroup, raw.ipv6, raw.protocol), (11, is_v6, 58));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_no_program_writes_is_refused() {
    let clock = Clock::new();
    let refused = |change: fn(&mut SocketRecord)| {
        let mut record = record();
        change(&mut record);
        socket(&bytes(&record), &clock).unwrap_err()
    };
    assert_eq!(refused(|record| record.header.kind = 6), Malformed::Kind(6));
    assert_eq!(refused(|record| record.phase = 9), Malformed::Phase(9));
    assert_eq!(refused(|record| record.facts.peer = 4), Malformed::Peer(4));
    let whole = bytes(&record());
    let cut = &whole[..whole.len() - 1];
    assert_eq!(
        socket(cut, &clock).unwrap_err(),
        Malformed::Short {
            length: whole.len() - 1,
            expected: whole.len()
        }
    );
    let header = SegmentHeader {
        length: 512,
        first_message: 512,
        ..SegmentHeader::default()
    };
    let record = SegmentRecord {
        header,
        bytes: [0; 512],
    };
    assert_eq!(
        segment(&bytes(&record), &clock).unwrap_err(),
        Malformed::FirstMessage {
            first: 512,
            length: 512
        }
    );
}

proptest! {
    #[test]
    fn whatever_comes_is_read_or_refused(mut record in vec(any::<u8>(), 0..400), kind in 0_u8..7) {
        let clock = Clock::new();
        if let Some(first) = record.first_mut() {
            *first = kind;
        }
        for byte in record.iter_mut().take(4).skip(1) {
            *byte = 0;
        }
        if socket(&record, &clock).is_ok() {
            assert!(record.len() >= 24);
        }
        if let Ok((_, Observation::Segment(segment))) = segment(&record, &clock) {
            assert!(segment.bytes.len() + 64 <= record.len());
            assert!(segment.first_message.is_none_or(|at| usize::from(at) < segment.bytes.len()));
        }
    }
}
