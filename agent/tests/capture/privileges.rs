//! With no more privileges than needed, and with none.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use meshwitness::capture::{LoadError, Options, cgroup2_root, drop_privileges};
use rustix::{
    process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior},
    thread::{CapabilitySet, CapabilitySets, capabilities, no_new_privs, set_capabilities},
};

use crate::scene::{Scene, ends};

fn only(set: CapabilitySet) {
    let sets = CapabilitySets {
        effective: set,
        permitted: set,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).unwrap();
}

/// Capabilities belong to a thread, so each test takes one that ends with it. Its cleaning up
/// needs those that it gave away.
fn in_a_thread(test: impl FnOnce(&Scene) + Send) {
    let scene = Scene::new();
    let outcome = std::thread::scope(|threads| threads.spawn(|| test(&scene)).join());
    set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
    outcome.unwrap();
}

#[test]
fn three_capabilities_load_and_none_drain() {
    in_a_thread(|scene| {
        scene.enter("both");
        let needed = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::NET_ADMIN;
        only(needed);
        let mut watched = scene.capture(1 << 16);
        drop_privileges().unwrap();
        let left = capabilities(None).unwrap();
        assert_eq!(
            left.effective | left.permitted | left.inheritable,
            CapabilitySet::empty()
        );
        assert!(no_new_privs().unwrap());
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        // More than the ring holds: what was consumed is given back without any capability.
        let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        for _ in 0..500 {
            client.write_all(request).unwrap();
            server.read_exact(&mut [0; 27][..request.len()]).unwrap();
            watched.all();
        }
        drop((client, server));
        let (client, _) = ends(watched.closed(2));
        assert_eq!(client.stream.messages, 500);
        assert_eq!(watched.segments(client.cookie).len(), 500);
        watched.capture.exclude(1).unwrap();
        assert!(!watched.capture.programs().unwrap().is_empty());
        watched.assert_clean();
    });
}

#[test]
fn a_missing_capability_is_named() {
    in_a_thread(|scene| {
        only(CapabilitySet::BPF | CapabilitySet::NET_ADMIN);
        let cgroups = [scene.root().to_owned()];
        let options = Options {
            ring_bytes: 1 << 16,
            cgroups: &cgroups,
            excluded: &[],
        };
        let Err(error) = meshwitness::capture::Capture::load(&options) else {
            panic!("it loaded");
        };
        let text = error.to_string();
        assert!(text.contains("CAP_PERFMON"), "{text}");
        only(CapabilitySet::empty());
        let Err(error) = meshwitness::capture::Capture::load(&options) else {
            panic!("it loaded");
        };
        let text = error.to_string();
        assert!(
            text.contains("CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN"),
            "{text}"
        );
    });
}

#[test]
fn what_is_no_cgroup_is_named() {
    let scene = Scene::new();
    let load = |cgroup: &std::path::Path| {
        let loaded = meshwitness::capture::Capture::load(&Options {
            ring_bytes: 1 << 16,
            cgroups: &[cgroup.to_owned()],
            excluded: &[],
        });
        loaded.err().unwrap()
    };
    let error = load(&scene.root().join("absent"));
    assert!(matches!(&error, LoadError::Cgroup { .. }), "{error}");
    assert!(error.to_string().contains("absent"));
    let error = load(std::path::Path::new("/proc"));
    assert!(
        error
            .to_string()
            .contains("/proc: is it a directory of a cgroup v2"),
        "{error}"
    );
    assert!(cgroup2_root().unwrap().is_dir());
}
