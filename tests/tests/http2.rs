//! HTTP/2 between app and sidecar, on both sides: as exact as HTTP/1.

use lab::{
    Session, nginx,
    pod::{APP, PodSpec},
    process::User,
    records::Record,
};

const REQUESTS: usize = 2_000;

#[test]
fn every_stream_is_matched_once_on_each_side() {
    let session = Session::start([PodSpec::new("a"), PodSpec::new("b")]).unwrap();
    let (a, b) = (session.lab.pod("a"), session.lab.pod("b"));
    let server = format!("http://{}:{}", b.addresses().v4, nginx::HTTP2_PORT);
    let run = |words: &[&str]| {
        let output = a.run(APP, User::APP, words).unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let curl = ["curl", "-sS", "--http2-prior-knowledge", "-o", "/dev/null"];
    for path in ["/h2/get", "/missing", "/large", "/drip/5"] {
        run(&[&curl[..], &[&format!("{server}{path}")]].concat());
    }
    run(&[&curl[..], &["--head", &format!("{server}/h2/head")]].concat());
    run(&[&curl[..], &["-d", "one=1", &format!("{server}/upload/h2")]].concat());
    // Ten streams at a time on each of four connections; the same path and many.
    let (count, same) = (REQUESTS.to_string(), format!("{server}/h2/load"));
    run(&["h2load", "-n", &count, "-c", "4", "-m", "10", &same]);

    let exchanges = b.nginx_log().unwrap();
    assert_eq!(exchanges.len(), REQUESTS + 6);
    let outcome = session.finish().unwrap();
    let records = &outcome.records;
    for (pod, side) in [("a", "client"), ("b", "server")] {
        let found = records
            .find(|record| record.kind() == "http" && record.pod() == pod && record.side() == side);
        let wrong: Vec<String> = found
            .iter()
            .filter(|record| record.verdict() != "matched")
            .map(|record| record.brief())
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert_eq!(found.len(), exchanges.len(), "{pod}");
        let version = "\"network.protocol.version\":\"2\"";
        let other = found.iter().find(|record| !record.line().contains(version));
        assert!(other.is_none(), "{:?}", other.map(|record| record.brief()));
        for exchange in exchanges.iter().filter(|found| found.path() != "/h2/load") {
            let of_path = records.http(pod, side, exchange.path());
            assert_eq!(of_path.len(), 1, "{exchange:?}");
            assert_eq!(of_path[0].method(), exchange.method());
            assert_eq!(of_path[0].status(), Some(u64::from(exchange.status)));
        }
    }
    let briefs = records.accusing().into_iter().map(Record::brief);
    assert_eq!(briefs.collect::<Vec<_>>(), Vec::<String>::new());
    let books = records.audit().unwrap();
    assert!(books.lost.is_empty(), "{books:?}");
}
