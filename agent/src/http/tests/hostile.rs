//! Observations that no kernel makes.

use std::ops::RangeInclusive;

use proptest::{
    collection::vec,
    prelude::{Strategy, any, prop_oneof},
    sample::select,
};

use super::script::{CLIENT, socket};
use crate::{
    capture::{
        Cookie, FirstBytes, Observation, Opener, Peer, Phase, Segment, Socket, StreamTotals,
    },
    timestamp::Timestamp,
};

pub(super) const COOKIES: RangeInclusive<Cookie> = 1..=8;

const SCRAPS: [&[u8]; 32] = [
    b"GET / HTTP/1.1\r\n",
    b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
    b"HEAD / HTTP/1.1\r\n\r\n",
    b"CONNECT h:1 HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"\r\n",
    b"hello",
    b"\x16\x03\x01",
    b"G",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PRI * HTTP/2",
    b"\0\0\x06\x04\0\0\0\0\0\0\x01\0\0\x10\0",
    b"\0\0\0\x04\x01\0\0\0\0",
    b"\0\0\x03\x01\x05\0\0\0\x01\x82\x84\x86",
    b"\0\0\x06\x01\x04\0\0\0\x03\x83\x84\x86\x40\x01a",
    b"\0\0\x02\x01\x29\0\0\0\x05\x01\0",
    b"\0\0\x01\x01\x04\0\0\0\x01\x88",
    b"\0\0\x02\x09\x04\0\0\0\x01\xbe\xbf",
    b"\0\0\x05\0\x01\0\0\0\x01hello",
    b"\0\0\x09\0\x08\0\0\0\x03",
    b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08",
    b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0",
];

pub(super) fn observations() -> impl Strategy<Value = Vec<Observation>> {
    vec(
        prop_oneof![
            8 => segment().prop_map(Observation::Segment),
            2 => first_bytes().prop_map(Observation::FirstBytes),
            4 => facts().prop_map(Observation::Socket),
            1 => time().prop_map(Observation::Progress),
            1 => (time(), any::<i64>()).prop_map(|(time, nanoseconds)| {
                Observation::ClockStep { time, nanoseconds }
            }),
        ],
        0..120,
    )
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        6 => (0_u64..200).prop_map(|second| Timestamp(second * 1_000_000_000)),
        1 => any::<u64>().prop_map(Timestamp),
    ]
}

fn first_bytes() -> impl Strategy<Value = FirstBytes> {
    segment().prop_map(|segment| FirstBytes {
        cookie: segment.cookie,
        cgroup: segment.cgroup,
        time: segment.time,
        received: segment.joined,
        offset: segment.offset,
        bytes: (!segment.after_gap).then_some(segment.bytes),
    })
}

fn segment() -> impl Strategy<Value = Segment> {
    let bytes = prop_oneof![
        6 => vec(select(&SCRAPS[..]), 0..4).prop_map(|scraps| scraps.concat()),
        1 => vec(any::<u8>(), 0..40),
    ];
    let small = || prop_oneof![9 => 0_u32..6, 1 => any::<u32>()];
    let offset = prop_oneof![9 => 0_u64..400, 1 => any::<u64>()];
    let elided =
        prop_oneof![8 => proptest::strategy::Just(0_u64), 4 => 0_u64..9, 1 => any::<u64>()];
    let start = proptest::option::of(prop_oneof![8 => 0_u16..3, 1 => any::<u16>()]);
    (
        (COOKIES, time(), small(), offset, bytes),
        (elided, small(), start),
        proptest::bool::weighted(0.1),
        proptest::bool::weighted(0.2),
        proptest::bool::weighted(0.3),
    )
        .prop_map(
            |(
                (cookie, time, index, offset, bytes),
                (elided, messages_before, first_message),
                after_gap,
                joined,
                http2,
            )| Segment {
                cookie,
                cgroup: cookie % 3,
                time,
                index,
                offset,
                bytes,
                elided,
                messages_before,
                first_message,
                after_gap,
                joined,
                http2,
            },
        )
}

fn facts() -> impl Strategy<Value = Socket> {
    let peer = prop_oneof![
        6 => COOKIES.prop_map(|cookie| Peer::Local { cookie, cgroup: cookie % 3 }),
        1 => proptest::strategy::Just(Peer::Unknown),
        1 => proptest::strategy::Just(Peer::Remote),
        1 => COOKIES.prop_map(|cookie| Peer::Listener { cookie, cgroup: cookie % 3 }),
    ];
    let phase = select(vec![
        Phase::Settled,
        Phase::Settled,
        Phase::Released,
        Phase::Closed,
    ]);
    let opener = select(vec![Opener::Here, Opener::Peer, Opener::Unknown]);
    let totals = prop_oneof![9 => (0_u32..9, 0_u32..9), 1 => any::<(u32, u32)>()];
    (
        (COOKIES, phase, opener, peer),
        (time(), time(), totals),
        any::<[bool; 4]>(),
    )
        .prop_map(
            |(
                (cookie, phase, opener, peer),
                (time, opened, (segments, messages)),
                [established, preexisting, fin_sent, sent],
            )| {
                let plain = socket(CLIENT);
                Socket {
                    cookie,
                    phase,
                    time,
                    opened,
                    cgroup: cookie % 3,
                    opener,
                    peer,
                    established,
                    preexisting,
                    fin_sent,
                    sent: plain.sent.filter(|_| sent),
                    stream: StreamTotals {
                        segments,
                        messages,
                        followed: true,
                    },
                    ..plain
                }
            },
        )
}
