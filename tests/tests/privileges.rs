//! After attaching the agent holds nothing that an intruder could use.

use std::fs;

use lab::{
    Session,
    pod::{APP, PodSpec},
    process::User,
};

#[test]
fn a_ready_agent_has_no_capabilities_and_still_sees() {
    let session = Session::start([PodSpec::new("a"), PodSpec::new("b")]).unwrap();

    let tasks = format!("/proc/{}/task", session.agent.id());
    let mut threads = 0;
    for task in fs::read_dir(tasks).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        for name in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
            assert_eq!(field(name), "0000000000000000", "{name} of {status}");
        }
        assert_eq!(field("NoNewPrivs:"), "1", "{status}");
        threads += 1;
    }
    assert!(threads > 0);

    let url = format!("http://{}:8080/seen", session.lab.pod("b").addresses().v4);
    let a = session.lab.pod("a");
    a.run(APP, User::APP, ["curl", "-sS", &url]).unwrap();
    let records = session.settle().unwrap();
    for (pod, side) in [("a", "client"), ("b", "server")] {
        let found = records.http(pod, side, "/seen");
        assert_eq!(found.len(), 1, "{pod}: {}", records.summary());
        assert_eq!(found[0].verdict(), "matched", "{}", found[0].line());
    }
}
