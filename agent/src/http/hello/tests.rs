//! Hellos of rustls, which reads and writes them by itself, and what is none.

use std::sync::Arc;

use proptest::{collection::vec, prelude::any, proptest, sample::select};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
    pki_types::{PrivateKeyDer, ServerName},
    version::{TLS12, TLS13},
};

use super::{
    Beginning, ClientHello, Hello, MOST_BYTES, Parsed, ServerHello, Start, parse, records,
};

/// What both ends send first.
struct Talk {
    client: Vec<u8>,
    server: Vec<u8>,
}

fn talk(name: &str, version: &'static SupportedProtocolVersion, offers: &[&str]) -> Talk {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certified = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let protocols = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect();
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS12, &TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    server.alpn_protocols = protocols(&["http/1.1", "h2"]);
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    client.alpn_protocols = protocols(offers);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    let mut told = Talk {
        client: Vec::new(),
        server: Vec::new(),
    };
    client.write_tls(&mut told.client).unwrap();
    server.read_tls(&mut told.client.as_slice()).unwrap();
    server.process_new_packets().unwrap();
    server.write_tls(&mut told.server).unwrap();
    told
}

fn client(bytes: &[u8]) -> ClientHello {
    match parse(bytes) {
        Parsed::Hello(Hello::Client(hello)) => hello,
        other => panic!("expected a ClientHello, got {other:?}"),
    }
}

fn server(bytes: &[u8]) -> ServerHello {
    match parse(bytes) {
        Parsed::Hello(Hello::Server(hello)) => hello,
        other => panic!("expected a ServerHello, got {other:?}"),
    }
}

/// The same message in records of so many bytes each.
fn in_records_of(bytes: &[u8], most: usize) -> Vec<u8> {
    let records::Joined::Message(message) = records::join(bytes) else {
        panic!("expected a whole message");
    };
    message
        .chunks(most)
        .flat_map(|fragment| {
            let length = u16::try_from(fragment.len()).unwrap().to_be_bytes();
            [&[22, 3, 1], &length[..], fragment].concat()
        })
        .collect()
}

#[test]
fn hellos_of_tls_1_3() {
    let talk = talk("shop.a.example", &TLS13, &["h2", "http/1.1"]);
    let hello = client(&talk.client);
    assert_eq!(hello.server_name.as_deref(), Some("shop.a.example"));
    assert_eq!(hello.protocols, ["h2", "http/1.1"]);
    let hello = server(&talk.server);
    assert_eq!(hello.version.as_deref(), Some("1.3"));
    assert_eq!(hello.cipher, "TLS_AES_256_GCM_SHA384");
    assert_eq!(hello.protocol, None, "it is encrypted");
}

#[test]
fn hellos_of_tls_1_2() {
    let talk = talk("a.example", &TLS12, &["http/1.1"]);
    assert_eq!(client(&talk.client).protocols, ["http/1.1"]);
    let hello = server(&talk.server);
    assert_eq!(hello.version.as_deref(), Some("1.2"));
    assert_eq!(hello.cipher, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384");
    assert_eq!(hello.protocol.as_deref(), Some("http/1.1"));
}

#[test]
fn an_address_is_no_server_name() {
    let hello = client(&talk("10.0.0.1", &TLS13, &[]).client);
    assert_eq!(hello, ClientHello::default());
}

#[test]
fn a_hello_is_whole_at_its_last_byte() {
    let talk = talk("a.example", &TLS12, &["http/1.1"]);
    for bytes in [&talk.client, &talk.server] {
        let whole = parse(bytes);
        let mut partial = 0;
        for end in 0..=bytes.len() {
            match parse(&bytes[..end]) {
                Parsed::Partial => partial += 1,
                parsed => assert_eq!(parsed, whole, "cut at {end}"),
            }
        }
        let records::Joined::Message(message) = records::join(bytes) else {
            panic!("not whole");
        };
        assert_eq!(partial, 5 + message.len());
    }
}

#[test]
fn a_hello_may_be_split_over_records() {
    let talk = talk("a.example", &TLS13, &["h2"]);
    for most in [1, 3, 4, 100] {
        let split = in_records_of(&talk.client, most);
        assert_eq!(parse(&split), parse(&talk.client), "records of {most}");
        assert_eq!(parse(&split[..split.len() - 1]), Parsed::Partial);
    }
}

#[test]
fn what_is_no_hello() {
    let talk = talk("a.example", &TLS12, &[]);
    let changed = |at: usize, to: u8| {
        let mut bytes = talk.client.clone();
        bytes[at] = to;
        parse(&bytes)
    };
    assert_eq!(parse(b""), Parsed::Partial);
    assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Parsed::Plain);
    // An alert, and application data.
    assert_eq!(changed(0, 21), Parsed::Plain);
    assert_eq!(changed(0, 23), Parsed::Plain);
    assert_eq!(changed(1, 2), Parsed::Unreadable);
    assert_eq!(parse(&[22, 3, 1, 0, 0, 1]), Parsed::Unreadable);
    assert_eq!(parse(&[22, 3, 1, 0x40, 1, 1]), Parsed::Unreadable);
    // HelloRequest, and a message that is longer than any hello.
    assert_eq!(changed(5, 0), Parsed::Unreadable);
    assert_eq!(changed(6, 1), Parsed::Unreadable);
    // A session id of 33 bytes.
    assert_eq!(changed(43, 33), Parsed::Unreadable);
    // Another record before the hello is whole.
    let mut split = in_records_of(&talk.client, 50);
    split[55] = 23;
    assert_eq!(parse(&split), Parsed::Unreadable);
}

#[test]
fn a_hello_beyond_the_bound_is_not_waited_for() {
    let long = [22, 3, 1, 0x20, 0, 1, 0, 0x1f, 0xfc];
    assert_eq!(parse(&long), Parsed::Unreadable);
    // One that the bound cuts because of its many records.
    let message = [&[1, 0, 0x0f, 0xf0][..], &[0; 0x0ff0]].concat();
    let records: Vec<u8> = message
        .iter()
        .flat_map(|byte| [22, 3, 1, 0, 1, *byte])
        .collect();
    assert_eq!(parse(&records[..MOST_BYTES - 1]), Parsed::Partial);
    assert_eq!(parse(&records[..MOST_BYTES]), Parsed::Unreadable);
}

#[test]
fn names_that_may_not_be_shown_are_left_out() {
    let talk = talk("a.example", &TLS13, &["h2"]);
    let replaced = |from: &[u8], to: &[u8]| {
        let at = talk.client.windows(from.len()).position(|it| it == from);
        let at = at.expect("it is in there");
        let mut bytes = talk.client.clone();
        bytes[at..at + from.len()].copy_from_slice(to);
        client(&bytes)
    };
    assert_eq!(replaced(b"a.example", b"a.\nxample").server_name, None);
    let mesh = replaced(b"a.example", b"a_.b._.cc");
    assert_eq!(mesh.server_name.as_deref(), Some("a_.b._.cc"));
    assert_eq!(replaced(b"\x02h2", b"\x02\x0a\x0a").protocols, [""; 0]);
}

#[test]
fn a_beginning_is_put_together_from_pieces_in_any_order() {
    let talk = talk("a.example", &TLS13, &["h2"]);
    let bytes = &talk.client;
    let start = |pieces: &[(usize, usize)]| {
        let mut beginning = Beginning::default();
        let mut starts = pieces
            .iter()
            .filter_map(|(from, to)| beginning.add(*from as u64, &bytes[*from..*to]));
        let start = starts.next();
        assert_eq!(starts.next(), None, "told twice");
        assert!(start.is_none() || beginning.held() == 0);
        start
    };
    let Parsed::Hello(hello) = parse(bytes) else {
        panic!("no hello");
    };
    let (hello, end) = (Some(Start::Hello(hello)), bytes.len());
    assert_eq!(start(&[(0, end)]), hello);
    assert_eq!(start(&[(0, 10), (10, end), (0, end)]), hello);
    assert_eq!(start(&[(20, end), (10, 20), (0, 10)]), hello);
    assert_eq!(start(&[(10, end), (5, 30), (0, 12)]), hello);
    assert_eq!(start(&[(0, 10), (11, end)]), None);
    assert_eq!(start(&[(1, end)]), None);
}

#[test]
fn pieces_that_contradict_are_not_believed() {
    let talk = talk("a.example", &TLS13, &["h2"]);
    let bytes = &talk.client;
    let mut other = bytes.clone();
    other[8] ^= 1;
    let mut beginning = Beginning::default();
    assert_eq!(beginning.add(0, &bytes[..10]), None);
    assert_eq!(beginning.add(0, &other), None);
    assert_eq!(beginning.add(0, bytes), None, "too late");
    let mut beginning = Beginning::default();
    assert_eq!(beginning.add(5, &other[5..]), None);
    assert_eq!(beginning.add(0, &bytes[..10]), None);
    assert_eq!(beginning.plain(), None);
}

#[test]
fn what_is_no_tls_is_told_once() {
    let mut beginning = Beginning::default();
    assert_eq!(beginning.add(0, b"GET"), Some(Start::Plain));
    assert_eq!(beginning.add(0, b"GET"), None);
    let mut beginning = Beginning::default();
    assert_eq!(beginning.plain(), Some(Start::Plain));
    assert_eq!(beginning.plain(), None);
    let mut beginning = Beginning::default();
    assert_eq!(beginning.add(0, &[22]), None);
    assert_eq!(beginning.plain(), None, "it began like TLS");
}

#[test]
fn what_is_kept_is_bounded() {
    let mut beginning = Beginning::default();
    let piece = [0; 2 * MOST_BYTES];
    for offset in (1..10_000).chain([u64::MAX]) {
        assert_eq!(beginning.add(offset, &piece), None);
    }
    assert!(beginning.held() <= 16 * MOST_BYTES);
}

/// A hello as rustls writes it, and such that are like it.
fn hello(pick: usize) -> Vec<u8> {
    use std::sync::OnceLock;
    static HELLOS: OnceLock<[Vec<u8>; 4]> = OnceLock::new();
    let hellos = HELLOS.get_or_init(|| {
        let (new, old) = (
            talk("a.example", &TLS13, &["h2"]),
            talk("a.example", &TLS12, &["http/1.1"]),
        );
        [new.client, new.server, old.client, old.server]
    });
    hellos[pick].clone()
}

proptest! {
    #[test]
    fn whatever_comes_is_read_or_not(
        pick in 0_usize..4,
        changes in vec((any::<usize>(), any::<u8>()), 0..4),
        cut in any::<usize>(),
    ) {
        let mut bytes = hello(pick);
        for (at, to) in changes {
            let at = at % bytes.len();
            bytes[at] = to;
        }
        bytes.truncate(cut % (bytes.len() + 1));
        let whole = parse(&bytes);
        // What is known of a beginning stays, whatever follows.
        for end in 0..bytes.len() {
            let part = parse(&bytes[..end]);
            assert!(part == Parsed::Partial || part == whole, "cut at {end}: {part:?}, {whole:?}");
        }
    }

    #[test]
    fn garbage_is_read_or_not(
        kind in select(&[22_u8, 0, 71][..]),
        bytes in vec(any::<u8>(), 0..200),
    ) {
        let bytes = [&[kind, 3][..], &bytes].concat();
        let parsed = parse(&bytes);
        assert_eq!(parsed == Parsed::Plain, kind != 22);
    }

    #[test]
    fn pieces_say_what_the_whole_says(
        pick in 0_usize..4,
        pieces in vec((any::<usize>(), any::<usize>()), 0..12),
    ) {
        let bytes = hello(pick);
        let mut beginning = Beginning::default();
        let mut start = None;
        for (from, to) in pieces {
            let (from, to) = (from % bytes.len(), to % bytes.len());
            let range = from.min(to)..=from.max(to);
            let piece = bytes[range].to_vec();
            start = start.or(beginning.add(from.min(to) as u64, &piece));
        }
        start = start.or(beginning.add(0, &bytes));
        let Parsed::Hello(hello) = parse(&bytes) else {
            panic!("no hello");
        };
        assert_eq!(start, Some(Start::Hello(hello)));
    }
}
