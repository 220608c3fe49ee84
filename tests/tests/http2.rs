//! HTTP/2 between app and sidecar: this version does not read it, says so, and accuses nobody.

use lab::{
    Session, nginx,
    pod::{APP, PodSpec},
    process::User,
    records::Record,
};

const REQUESTS: usize = 2_000;

#[test]
fn http2_is_booked_as_not_seen_and_nobody_is_accused() {
    let session = Session::start([PodSpec::new("a"), PodSpec::new("b")]).unwrap();
    let (a, b) = (session.lab.pod("a"), session.lab.pod("b"));
    let server = format!("http://{}:{}", b.addresses().v4, nginx::HTTP2_PORT);
    let run = |words: &[&str]| {
        let output = a.run(APP, User::APP, words).unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let url = format!("{server}/h2/get");
    run(&[
        "curl",
        "-sS",
        "--http2-prior-knowledge",
        "-o",
        "/dev/null",
        &url,
    ]);
    // Ten streams at a time on each of four connections.
    let (count, same) = (REQUESTS.to_string(), format!("{server}/h2/load"));
    run(&["h2load", "-n", &count, "-c", "4", "-m", "10", &same]);

    let exchanges = i64::try_from(b.nginx_log().unwrap().len()).unwrap();
    assert_eq!(exchanges, i64::try_from(REQUESTS + 1).unwrap());
    let outcome = session.finish().unwrap();
    let records = &outcome.records;
    let briefs = records.accusing().into_iter().map(Record::brief);
    assert_eq!(briefs.collect::<Vec<_>>(), Vec::<String>::new());

    let books = records.audit().unwrap();
    // A line for each at both sides; none is lost in silence.
    let lost: i64 = books.lost.values().map(|units| units.logged).sum();
    assert_eq!(lost, 2 * exchanges, "{books:?}");
}
