//! Other people's programs at the same cgroup, and very many cgroups.

use std::{
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    time::Duration,
};

use agent_common::account::bucket_of;
use meshwitness::capture::{Capture, Options, Phase};

use crate::scene::{Scene, sockets};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const CGROUP_SKB: u32 = 8;
const INET_EGRESS: u32 = 1;

/// `bpf(2)` with a union's bytes.
fn bpf(command: libc::c_long, attributes: &[u8]) -> io::Result<i32> {
    // SAFETY: the kernel reads as many bytes as it is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_ptr(),
            attributes.len(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(i32::try_from(result).unwrap())
}

/// Attaches a program that lets everything pass, and does not allow others beside it.
fn attach_jealously(cgroup: &fs::File) -> OwnedFd {
    // r0 = 1; exit
    let instructions: [u64; 2] = [0x0000_0001_0000_00b7, 0x0000_0000_0000_0095];
    let license = c"GPL";
    let mut load = Vec::new();
    load.extend(CGROUP_SKB.to_ne_bytes());
    load.extend(2_u32.to_ne_bytes());
    load.extend((instructions.as_ptr() as u64).to_ne_bytes());
    load.extend((license.as_ptr() as u64).to_ne_bytes());
    load.resize(64, 0);
    // The expected attach type stands behind a log's place and a name.
    load.extend([0; 4]);
    load.extend(INET_EGRESS.to_ne_bytes());
    let program = bpf(BPF_PROG_LOAD, &load).unwrap();
    // SAFETY: the kernel has just made it for us.
    let program = unsafe { OwnedFd::from_raw_fd(program) };
    let attach: Vec<u8> = [
        u32::try_from(cgroup.as_raw_fd()).unwrap(),
        u32::try_from(program.as_raw_fd()).unwrap(),
        INET_EGRESS,
        0,
    ]
    .into_iter()
    .flat_map(u32::to_ne_bytes)
    .collect();
    bpf(BPF_PROG_ATTACH, &attach).unwrap();
    program
}

#[test]
fn a_jealous_neighbour_is_named() {
    let scene = Scene::new();
    let cgroups = [scene.root().to_owned()];
    let options = Options {
        ring_bytes: 1 << 16,
        cgroups: &cgroups,
        excluded: &[],
    };
    let _program = attach_jealously(&fs::File::open(scene.root()).unwrap());
    let Err(error) = Capture::load(&options) else {
        panic!("it loaded");
    };
    let text = error.to_string();
    assert!(
        text.contains("`egress`") && text.contains("BPF_F_ALLOW_MULTI"),
        "{text}"
    );
    assert!(text.contains(&scene.root().display().to_string()), "{text}");
}

#[test]
fn two_captures_see_the_same() {
    let scene = Scene::new();
    let mut watched = [scene.capture(1 << 16), scene.capture(1 << 16)];
    scene.enter("both");
    drop(exchange(1));
    let [first, second] = &mut watched;
    let cookies = |closed: Vec<meshwitness::capture::Socket>| {
        let mut cookies: Vec<_> = closed.iter().map(|end| end.cookie).collect();
        cookies.sort_unstable();
        cookies
    };
    assert_eq!(cookies(first.closed(2)), cookies(second.closed(2)));
}

fn exchange(count: usize) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let request = b"GET / HTTP/1.1\r\n\r\n";
    for _ in 0..count {
        client.write_all(request).unwrap();
        server.read_exact(&mut [0; 18]).unwrap();
    }
    (client, server)
}

#[test]
fn a_full_bucket_shares_one_account() {
    let scene = Scene::new();
    let mut watched = scene.capture(1 << 16);
    // Nine cgroups of one bucket of eight accounts.
    let mut bucket = None;
    let mut parts = Vec::new();
    for number in 0.. {
        let part = format!("part{number}");
        let directory = scene.root().join(&part);
        fs::create_dir(&directory).unwrap();
        let cgroup = fs::metadata(&directory).unwrap().ino();
        if *bucket.get_or_insert(bucket_of(cgroup)) == bucket_of(cgroup) {
            parts.push((part, cgroup));
            if parts.len() == 9 {
                break;
            }
        } else {
            fs::remove_dir(&directory).unwrap();
        }
    }
    for (part, cgroup) in &parts {
        assert_eq!(scene.enter(part), *cgroup);
        drop(exchange(1));
    }
    let closed = watched.closed(18);
    assert!(
        parts
            .iter()
            .all(|(_, cgroup)| closed.iter().any(|end| end.cgroup == *cgroup))
    );
    watched.assert_clean();
    // The ninth has no account of its own to name.
    drop(exchange(200));
    watched.all();
    let losses = watched.capture.losses();
    assert!(
        !losses.is_empty() && losses.iter().all(|loss| loss.cgroup.is_none()),
        "{losses:?}"
    );
    // Accounts that were quiet are freed, and the ninth then has one.
    watched.capture.forget_quiet(Duration::ZERO);
    assert_eq!(watched.capture.forget_quiet(Duration::ZERO), vec![]);
    drop(exchange(200));
    watched.all();
    let losses = watched.capture.losses();
    let ninth = Some(parts[8].1);
    assert!(
        !losses.is_empty() && losses.iter().all(|loss| loss.cgroup == ninth),
        "{losses:?}"
    );
    assert!(sockets(&watched.seen, Phase::Closed).count() >= 20);
}
