//! Who speaks with whom: inside the pod, around the sidecar's own containers, beside the mesh.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Result, ensure};
use lab::{
    Session,
    envoy::{
        Sidecar,
        edit::{OUTBOUND, listener},
        fixed_cluster,
    },
    pod::{APP, PROXY, PodSpec},
    process::User,
};
use serde_json::{Value, json};

use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{Family, PATIENCE, Way, curl, endpoint_of, matched, matched_at_both},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "Who speaks with whom",
    scenarios: &[
        Scenario {
            name: "self_call",
            happens: "a pod calls itself through its service",
            recorded: "two exchanges, two lines, each `matched` 1/1",
            finds: &[],
            pods: || vec![PodSpec::new("self").editing(serve_itself)],
            play: self_call,
        },
        Scenario {
            name: "localhost",
            happens: "an app speaks with itself on localhost",
            recorded: "`outside`, `pod_internal`",
            finds: &[],
            pods: || vec![PodSpec::new("inner")],
            play: |session| internal(session, "inner", APP, localhost),
        },
        Scenario {
            name: "own_address",
            happens: "an app speaks with itself on the pod's own address",
            recorded: "`outside`, `pod_internal`",
            finds: &[],
            pods: || vec![PodSpec::new("own")],
            play: |session| {
                let own = session.lab.pod("own").addresses();
                internal(session, "own", APP, |family| family.of(own))
            },
        },
        Scenario {
            name: "two_app_containers",
            happens: "one app container speaks with another",
            recorded: "`outside`, `pod_internal`",
            finds: &[],
            pods: || vec![PodSpec::new("two").with_container("second")],
            play: |session| internal(session, "two", "second", localhost),
        },
        Scenario {
            name: "exec_probe",
            happens: "the kubelet runs a probe inside the container",
            recorded: "`outside`, `pod_internal`",
            finds: &[],
            pods: || vec![PodSpec::new("exec")],
            play: exec_probe,
        },
        Scenario {
            name: "pilot_agent_probe",
            happens: "the kubelet asks pilot-agent, which asks the app (a rewritten probe)",
            recorded: "`outside`, `pilot_agent`",
            finds: &[],
            pods: || vec![PodSpec::new("probed").probing(Duration::from_secs(3600))],
            play: pilot_agent_probe,
        },
        Scenario {
            name: "merged_metrics",
            happens: "Prometheus asks pilot-agent, which asks the app for its metrics",
            recorded: "`outside`, `pilot_agent`",
            finds: &[],
            pods: || vec![PodSpec::new("merged").merging_metrics_from(8080)],
            play: merged_metrics,
        },
        Scenario {
            name: "kubelet_http_probe",
            happens: "the kubelet asks the app on a port that is not intercepted",
            recorded: "server: `outside` 1/0, `kubelet`",
            finds: &[],
            pods: || vec![PodSpec::new("direct").excluding_inbound(PROBED_PORT)],
            play: kubelet_http_probe,
        },
        Scenario {
            name: "kubelet_tcp_probe",
            happens: "the kubelet connects to such a port and closes",
            recorded: "server: `outside` 1/0, `kubelet`",
            finds: &[],
            pods: || vec![PodSpec::new("tcpprobed").excluding_inbound(PROBED_PORT)],
            play: kubelet_tcp_probe,
        },
        Scenario {
            name: "pre_stop",
            happens: "the kubelet calls a preStop hook through the sidecar",
            recorded: "server: `matched` 1/1, as any request",
            finds: &[],
            pods: || vec![PodSpec::new("b")],
            play: pre_stop,
        },
        Scenario {
            name: "mesh_init",
            happens: "Istio's validation container connects to itself before the sidecar starts",
            recorded: "`outside`, `mesh_init`",
            finds: &[],
            pods: Vec::new,
            play: mesh_init,
        },
        Scenario {
            name: "app_starts_first",
            happens: "an app connects before its sidecar listens and is refused",
            recorded: "client: `outside` 1/0, `no_request`",
            finds: &[],
            pods: Vec::new,
            play: app_starts_first,
        },
        Scenario {
            name: "gateway",
            happens: "a pod with a proxy and no app brings a request into the mesh",
            recorded: "the gateway's line: `outside` 0/1, `gateway`; server: `matched` 1/1",
            finds: &[],
            pods: || {
                vec![
                    PodSpec::new("b"),
                    PodSpec::new("gate").gateway(8000, "b", 8080),
                ]
            },
            play: gateway,
        },
        Scenario {
            name: "plain_pod",
            happens: "a pod without a sidecar is asked, and asks a pod of the mesh",
            recorded: "its connections: `outside`, `no_sidecar`; the meshed server: `matched` 1/1",
            finds: &[("plain", "MW-113")],
            pods: || vec![PodSpec::new("b"), PodSpec::new("plain").without_sidecar()],
            play: plain_pod,
        },
        Scenario {
            name: "recreated_pod",
            happens: "a pod is deleted and made anew under its name and address",
            recorded: "both lives: `matched` 1/1 each, under their own uid",
            finds: &[],
            pods: || vec![PodSpec::new("b"), PodSpec::new("again")],
            play: recreated_pod,
        },
    ],
};

/// Its own service, to the pod that serves it.
const SERVICE: &str = "10.96.0.10";
const PROBED_PORT: u16 = 9101;

fn serve_itself(config: &mut Value, sidecar: &Sidecar<'_>) {
    let mut cluster = fixed_cluster(sidecar, sidecar.own, 8080);
    cluster["name"] = json!("self");
    cluster["load_assignment"]["cluster_name"] = json!("self");
    if let Some(clusters) = config["static_resources"]["clusters"].as_array_mut() {
        clusters.push(cluster);
    }
    let chains = listener(config, OUTBOUND)["filter_chains"].as_array_mut();
    let Some(chains) = chains else { return };
    let own = sidecar.own.addresses.v4.to_string();
    let to_itself = chains.iter().find(|chain| {
        let criteria = &chain["filter_chain_match"];
        criteria["prefix_ranges"][0]["address_prefix"] == own.as_str()
            && criteria["destination_port"] == 8080
            && criteria["application_protocols"] == json!(["http/1.1"])
    });
    let Some(mut chain) = to_itself.cloned() else {
        return;
    };
    chain["filter_chain_match"]["prefix_ranges"] =
        json!([{ "address_prefix": SERVICE, "prefix_len": 32 }]);
    chain["filter_chain_match"]["destination_port"] = json!(80);
    let manager = &mut chain["filters"][1]["typed_config"];
    let host = &mut manager["route_config"]["virtual_hosts"][0];
    host["routes"][0]["route"]["cluster"] = json!("self");
    chains.push(chain);
}

fn self_call(session: &mut Session) -> Result<Judge> {
    let received = curl(
        session.lab.pod("self"),
        &[&format!("http://{SERVICE}/self-call")],
    )?;
    ensure!(received == 200, "expected 200, got {received}");
    judge(|evidence| matched_at_both(evidence, "self", "self", "/self-call"))
}

/// Requests from a container to an address of its own pod.
fn internal(
    session: &Session,
    pod: &'static str,
    container: &str,
    address: impl Fn(Family) -> IpAddr,
) -> Result<Judge> {
    asks_itself(session, pod, (container, User::APP), "/internal", address)
}

fn exec_probe(session: &mut Session) -> Result<Judge> {
    asks_itself(session, "exec", (APP, User::ROOT), "/exec", localhost)
}

fn localhost(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}

fn asks_itself(
    session: &Session,
    pod: &'static str,
    (container, user): (&str, User),
    base: &'static str,
    address: impl Fn(Family) -> IpAddr,
) -> Result<Judge> {
    let within = session.lab.pod(pod);
    for way in Way::ALL {
        let mut to = way.socket(within.addresses());
        to.set_ip(address(way.family));
        way.ask_from(&within.place(container, user), to, &way.path(base))?;
    }
    judge(move |evidence| {
        for path in Way::paths(base) {
            ensure!(evidence.nginx(pod, &path)?.len() == 1);
        }
        let found = evidence.of(pod, "units", |record| record.units().observed > 0);
        found
            .are("outside")?
            .with_reason("pod_internal")?
            .of_units(4, 0)?;
        Ok(())
    })
}

fn pilot_agent_probe(session: &mut Session) -> Result<Judge> {
    let address = session.lab.pod("probed").addresses().v4;
    let url = format!("http://{address}:15020/app-health/app/readyz");
    let output = session.lab.kubelet().run(["curl", "-sS", "-f", &url])?;
    ensure!(output.status.success(), "{output:?}");
    only_pilot_agent("probed", "/rewritten")
}

fn merged_metrics(session: &mut Session) -> Result<Judge> {
    let address = session.lab.pod("merged").addresses().v4;
    let url = format!("http://{address}:15020/stats/prometheus");
    let output = session.lab.outside().run(["curl", "-sS", "-f", &url])?;
    ensure!(output.status.success(), "{output:?}");
    only_pilot_agent("merged", "/metrics")
}

fn only_pilot_agent(pod: &'static str, path: &'static str) -> Result<Judge> {
    judge(move |evidence| {
        ensure!(evidence.nginx(pod, path)?.len() == 1);
        evidence
            .http(pod, "server", path)
            .are("outside")?
            .with_reason("pilot_agent")?;
        let found = evidence.of(pod, "units", |record| record.units().observed > 0);
        found.are("outside")?.with_reason("pilot_agent")?;
        Ok(())
    })
}

fn kubelet_http_probe(session: &mut Session) -> Result<Judge> {
    let addresses = session.lab.pod("direct").addresses();
    for way in Way::HTTP1 {
        let to = SocketAddr::new(way.family.of(addresses), PROBED_PORT);
        way.ask_from(&session.lab.kubelet(), to, &way.path("/kubelet"))?;
    }
    judge(|evidence| {
        for way in Way::HTTP1 {
            ensure!(evidence.nginx("direct", &way.path("/kubelet"))?.len() == 1);
        }
        only_kubelet("direct")?(evidence)
    })
}

fn kubelet_tcp_probe(session: &mut Session) -> Result<Judge> {
    let pod = session.lab.pod("tcpprobed");
    let helper = pod.helper().to_string_lossy().into_owned();
    for family in Family::ALL {
        let to = endpoint_of(family, pod, PROBED_PORT);
        let output = session
            .lab
            .kubelet()
            .run([&helper, "bytes", &to, "", "0"])?;
        ensure!(output.status.success(), "{output:?}");
    }
    only_kubelet("tcpprobed")
}

fn only_kubelet(pod: &'static str) -> Result<Judge> {
    judge(move |evidence| {
        let found = evidence.of(pod, "units", |record| record.units().observed > 0);
        found
            .are("outside")?
            .with_reason("kubelet")?
            .of_units(2, 0)?;
        Ok(())
    })
}

fn pre_stop(session: &mut Session) -> Result<Judge> {
    for way in Way::ALL {
        let to = way.socket(session.lab.pod("b").addresses());
        way.ask_from(&session.lab.kubelet(), to, &way.path("/pre-stop"))?;
    }
    judge(|evidence| {
        for path in Way::paths("/pre-stop") {
            ensure!(evidence.nginx("b", &path)?.len() == 1);
            matched(evidence, "b", "server", &path)?;
        }
        Ok(())
    })
}

fn mesh_init(session: &mut Session) -> Result<Judge> {
    let validation = "istio-validation";
    let words = ["HELPER", "validate", "OWN"];
    session.lab.add_pods([PodSpec::new("validated")
        .with_container(validation)
        .running_early(validation, User::PROXY, &words)])?;
    judge(|evidence| {
        let found = evidence.of("validated", "units", |record| {
            record.units().observed > 0 && record.container() == "istio-validation"
        });
        found
            .are("outside")?
            .with_reason("mesh_init")?
            .of_units(1, 0)?;
        Ok(())
    })
}

fn app_starts_first(session: &mut Session) -> Result<Judge> {
    let url = format!("http://{}/early", session.lab.outside().addresses().v4);
    session.lab.add_pods([PodSpec::new("early").running_early(
        APP,
        User::APP,
        &["curl", "-sS", &url],
    )])?;
    judge(|evidence| {
        let found = evidence.of("early", "units", |record| {
            record.units().observed > 0 && record.container() == APP
        });
        found
            .are("outside")?
            .with_reason("no_request")?
            .of_units(1, 0)?;
        Ok(())
    })
}

fn gateway(session: &mut Session) -> Result<Judge> {
    let url = format!(
        "http://{}:8000/through-gateway",
        session.lab.pod("gate").addresses().v4
    );
    let output = session.lab.outside().run(["curl", "-sS", &url])?;
    ensure!(output.status.success(), "{output:?}");
    judge(|evidence| {
        let path = "/through-gateway";
        ensure!(evidence.nginx("b", path)?.len() == 1);
        matched(evidence, "b", "server", path)?;
        let found = evidence.of("gate", "lines", |record| record.units().logged > 0);
        found
            .are("outside")?
            .with_reason("gateway")?
            .of_units(0, 1)?;
        Ok(())
    })
}

fn plain_pod(session: &mut Session) -> Result<Judge> {
    let outside = session.lab.outside().place(User::APP);
    for way in Way::ALL {
        let to = way.socket(session.lab.pod("plain").addresses());
        way.ask_from(&outside, to, &way.path("/asked"))?;
        let received = way.get(session, "plain", "b", &way.path("/from-plain"), &[])?;
        ensure!(received == 200, "{way:?}: expected 200, got {received}");
    }
    judge(|evidence| {
        for way in Way::ALL {
            ensure!(evidence.nginx("plain", &way.path("/asked"))?.len() == 1);
            matched(evidence, "b", "server", &way.path("/from-plain"))?;
        }
        let found = evidence.of("plain", "units", |record| record.units().observed > 0);
        found
            .are("outside")?
            .with_reason("no_sidecar")?
            .of_units(8, 0)?;
        Ok(())
    })
}

fn recreated_pod(session: &mut Session) -> Result<Judge> {
    let mut lives = Vec::new();
    for life in ["/again/first", "/again/second"] {
        if life == "/again/second" {
            session.lab.replace_pod("again", PodSpec::new("again"))?;
        }
        for way in Way::ALL {
            let path = way.path(life);
            let received = [
                way.get(session, "b", "again", &path, &[])?,
                way.get(session, "again", "b", &path, &[])?,
            ];
            ensure!(received == [200, 200], "{path}: {received:?}");
        }
        // The lab kills where a kubelet would let the sidecar write its last lines.
        let log = &session.lab.pod("again").container(PROXY).log;
        log.wait_for_count(2 * Way::ALL.len(), PATIENCE, |line| line.contains(life))?;
        let pod = session.lab.pod("again");
        let served = pod.nginx_log()?;
        let served = served.iter().filter(|found| found.path().starts_with(life));
        ensure!(served.count() == Way::ALL.len());
        lives.push((life, pod.uid().to_owned()));
    }
    judge(move |evidence| {
        for (life, uid) in lives {
            for (path, side) in Way::paths(life)
                .iter()
                .flat_map(|path| ["client", "server"].map(|side| (path, side)))
            {
                matched(evidence, "again", side, path)?;
                let records = evidence.http("again", side, path).records;
                let found = records[0].text("/workload/k8s.pod.uid");
                ensure!(found == uid, "expected {uid}: {}", records[0].line());
            }
        }
        Ok(())
    })
}
