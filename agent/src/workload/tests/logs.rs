//! `pods/` and `containers/`.

use std::{fs, os::unix::fs::symlink};

use super::{ID, Node, Problem, UID, WorkloadFact, container, container_scope, pod, sorted};

fn pod_directory() -> String {
    format!("log/pods/shop_web_{UID}")
}

fn target(container: &str) -> String {
    format!("/var/log/pods/shop_web_{UID}/{container}/0.log")
}

#[test]
fn pods_are_told_as_they_change_and_when_they_go() {
    let mut node = Node::new();
    node.make(&format!("{}/app", pod_directory()));
    assert_eq!(node.poll_logs(), [pod(&["app"])]);
    assert_eq!(node.poll_later(), []);

    // Live, without a rescan.
    node.make(&format!("{}/istio-proxy", pod_directory()));
    assert_eq!(node.poll_logs(), [pod(&["app", "istio-proxy"])]);
    node.remove(&format!("{}/app", pod_directory()));
    assert_eq!(node.poll_logs(), [pod(&["istio-proxy"])]);
    node.remove(&pod_directory());
    assert_eq!(
        node.poll_logs(),
        [WorkloadFact::PodGone { uid: UID.into() }]
    );
    assert_eq!(node.directory.counts().pods, 0);

    node.make(&pod_directory());
    assert_eq!(node.poll_logs(), [pod(&[])]);
}

#[test]
fn a_pod_and_its_containers_made_at_once_are_all_seen() {
    let mut node = Node::new();
    node.poll_logs();
    node.make(&format!("{}/b", pod_directory()));
    node.make(&format!("{}/a", pod_directory()));
    node.link(&format!("web_shop_a-{ID}.log"), &target("a"));
    assert_eq!(node.poll_logs(), [pod(&["a", "b"]), container("a")]);
}

#[test]
fn links_are_text_and_need_not_lead_anywhere() {
    let mut node = Node::new();
    node.link(&format!("web_shop_app-{ID}.log"), &target("app"));
    node.link(&format!("web_shop_other-{ID}.log"), &target("app"));
    node.link("evil", "/etc/passwd");
    fs::write(node.path("log/containers/file.log"), "").unwrap();
    assert_eq!(node.poll_logs(), [container("app")]);
    assert_eq!(node.directory.counts().rejected_names, 2);
    assert_eq!(node.poll_later(), []);

    fs::remove_file(node.path(&format!("log/containers/web_shop_app-{ID}.log"))).unwrap();
    assert_eq!(node.poll_logs(), []);
    assert_eq!(node.directory.counts().container_links, 0);
}

#[test]
fn names_that_the_kubelet_does_not_give_are_left_out() {
    let mut node = Node::new();
    node.make("log/pods/shop_web_nouid/app");
    node.make("log/pods/\u{1b}[2J");
    node.make("log/elsewhere/app");
    symlink(
        node.path("log/elsewhere"),
        node.path(&format!("log/pods/a_linked_{UID}")),
    )
    .unwrap();
    node.make(&format!("{}/UPPER", pod_directory()));
    symlink("../x", node.path(&format!("{}/linked", pod_directory()))).unwrap();
    fs::write(node.path(&format!("{}/file", pod_directory())), "").unwrap();
    assert_eq!(node.poll_logs(), [pod(&[])]);
    assert_eq!(node.directory.counts().rejected_names, 3);
}

#[test]
fn a_second_directory_cannot_take_a_pods_uid() {
    let mut node = Node::new();
    node.make(&pod_directory());
    assert_eq!(node.poll_logs(), [pod(&[])]);
    node.make(&format!("log/pods/bank_web_{UID}"));
    assert_eq!(node.poll_logs(), []);
    node.remove(&pod_directory());
    assert_eq!(
        node.poll_logs(),
        [WorkloadFact::PodGone { uid: UID.into() }]
    );
    assert!(matches!(
        &node.poll_later()[..],
        [WorkloadFact::Pod(pod)] if &*pod.namespace == "bank"
    ));
}

#[test]
fn a_cut_id_is_completed_by_the_cgroup() {
    let name = "p".repeat(200);
    let stem = format!("{name}_a_app-{ID}");
    let mut node = Node::new();
    node.make(&format!("cgroup/{}", container_scope()));
    node.link(
        &format!("{}.log", &stem[..251]),
        &format!("/var/log/pods/a_{name}_{UID}/app/0.log"),
    );
    let facts = node.poll_logs();
    assert!(facts.contains(&container("app")), "{facts:?}");
    assert_eq!(node.poll_later(), []);
}

#[test]
fn a_cut_id_that_fits_two_containers_is_not_guessed() {
    let name = "p".repeat(200);
    let stem = format!("{name}_a_app-{ID}");
    let twin = container_scope().replace(ID, &format!("{}{}", &ID[..60], "aaaa"));
    let mut node = Node::new();
    node.make(&format!("cgroup/{}", container_scope()));
    node.make(&format!("cgroup/{twin}"));
    node.link(
        &format!("{}.log", &stem[..251]),
        &format!("/var/log/pods/a_{name}_{UID}/app/0.log"),
    );
    let facts = node.poll_logs();
    assert_eq!(facts, []);
    node.remove(&format!("cgroup/{twin}"));
    // Its cgroup is gone and another comes: now only one fits.
    node.make("cgroup/kubepods.slice/other");
    assert!(node.poll_logs().contains(&container("app")));
}

#[test]
fn bounds_hold_and_are_told() {
    let mut node = Node::new();
    for index in 0..70 {
        node.make(&format!("{}/c{index:02}", pod_directory()));
    }
    let facts = node.poll_logs();
    assert!(matches!(&facts[..], [WorkloadFact::Pod(pod)] if pod.containers.len() == 64));
    let expected = Problem::TooManyContainers {
        pod_uid: UID.into(),
        limit: 64,
    };
    assert_eq!(node.problems(), [expected]);
    for index in 60..70 {
        node.remove(&format!("{}/c{index}", pod_directory()));
    }
    node.poll_logs();
    node.poll_later();
    assert_eq!(node.problems(), []);
}

#[test]
fn parts_of_the_log_directory_that_come_later_are_found_at_once() {
    let mut node = Node::new();
    node.remove("log/pods");
    node.remove("log/containers");
    node.poll_logs();
    assert_eq!(node.problems().len(), 2);
    node.make(&format!("{}/app", pod_directory()));
    node.make("log/containers");
    node.link(&format!("web_shop_app-{ID}.log"), &target("app"));
    let facts = node.poll_logs();
    assert_eq!(sorted(facts), sorted(vec![pod(&["app"]), container("app")]));
    assert_eq!(node.problems(), []);
    node.remove("log");
    assert_eq!(
        node.poll_logs(),
        [WorkloadFact::PodGone { uid: UID.into() }]
    );
}
