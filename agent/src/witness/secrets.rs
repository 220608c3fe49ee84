//! No secret leaves: planted everywhere in a request, its answer and its line, and looked for in
//! everything that comes out, from bytes on the wire and in a log file to records and files.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::{
    prelude::any,
    prop_oneof, proptest, sample,
    strategy::{Just, Strategy},
};
use serde_json::json;
use tracing::subscriber::with_default;

use super::{HttpPorts, Recorder, input, read};
use crate::{
    capture::Process,
    envoy::{Format, LogReader, LogReaderSettings, Positions},
    http::{
        Bounds, Tracker,
        tests::script::{Cutting, START, Script},
    },
    ledger::{Input, Intake, Ledger, ListenerFact, Settings},
    record::{Fingerprints, IdentityRedaction, QueryRedaction, Redaction},
    telemetry::Metrics,
    timestamp::Timestamp,
    workload::{Owner, Pod, WorkloadFact},
};

const UID: &str = "11111111-1111-1111-1111-111111111111";
const LOG: &str = "pods/shop_a_11111111-1111-1111-1111-111111111111/istio-proxy";

/// How a log is written.
#[derive(Clone, Copy, Debug)]
enum Written {
    Text,
    Json,
    OwnText,
    OwnJson,
    /// In a format that the agent does not know.
    Unknown,
    /// Without the framing of a container runtime.
    Unframed,
}

const OWN_TEXT: &str = "%START_TIME% %REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL% %RESPONSE_CODE% \
    auth=%REQ(AUTHORIZATION)% cookie=%REQ(COOKIE)% \
    %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS%";

/// Headers whose values are off the list, and a value for each.
const REQUEST_HEADERS: [(&str, &str); 11] = [
    ("authorization", "Bearer S"),
    ("Authorization", "Basic S"),
    // Its subject is the secret, of which a hash is kept.
    ("authorization", "Bearer {jwt}"),
    ("proxy-authorization", "S"),
    ("cookie", "session=S; other=S"),
    ("x-api-key", "S"),
    ("x-amz-security-token", "S"),
    ("referer", "http://u:S@shop/a?token=S"),
    ("x-envoy-original-path", "/a?token=S"),
    ("S", "S"),
    ("te", "trailers, S"),
];

const RESPONSE_HEADERS: [(&str, &str); 4] = [
    ("set-cookie", "session=S; Path=/"),
    ("location", "http://u:S@shop/cb#access_token=S"),
    ("www-authenticate", "Bearer realm=\"S\""),
    ("S", "S"),
];

/// Request targets, and whether the agent is to take the value out of them.
const TARGETS: [&str; 9] = [
    "/a?token=S",
    "/a?S",
    "/a?x=1&password=S&y=S",
    "/a?api_key=S#S",
    "/a#S",
    "/reset/S",
    "/reset/S?token=S",
    "http://u:S@shop/a?card=S",
    "http://S@shop/reset/S",
];

const AUTHORITIES: [&str; 3] = ["shop", "u:S@shop:80", "S@shop"];

#[derive(Clone, Debug)]
struct Case {
    secret: String,
    target: &'static str,
    authority: &'static str,
    request_headers: Vec<(&'static str, &'static str)>,
    response_headers: Vec<(&'static str, &'static str)>,
    written: Written,
    drop_query: bool,
    cut: usize,
    /// A request that is none follows.
    garbage: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    let written = prop_oneof![
        Just(Written::Text),
        Just(Written::Json),
        Just(Written::OwnText),
        Just(Written::OwnJson),
        Just(Written::Unknown),
        Just(Written::Unframed),
    ];
    (
        "[a-zA-Z0-9]{10,20}",
        sample::select(TARGETS.to_vec()),
        sample::select(AUTHORITIES.to_vec()),
        sample::subsequence(REQUEST_HEADERS.to_vec(), 0..=REQUEST_HEADERS.len()),
        sample::subsequence(RESPONSE_HEADERS.to_vec(), 0..=RESPONSE_HEADERS.len()),
        written,
        any::<bool>(),
        (1..200_usize, any::<bool>()),
    )
        .prop_map(
            |(
                secret,
                target,
                authority,
                request_headers,
                response_headers,
                written,
                drop_query,
                (cut, garbage),
            )| {
                Case {
                    // What no word of the agent's own is part of.
                    secret: format!("Zq7{secret}"),
                    target,
                    authority,
                    request_headers,
                    response_headers,
                    written,
                    drop_query,
                    cut,
                    garbage,
                }
            },
        )
}

impl Case {
    fn plant(&self, text: &str) -> String {
        let claims = json!({ "sub": self.secret }).to_string();
        let payload = URL_SAFE_NO_PAD.encode(claims);
        text.replace('S', &self.secret)
            .replace("{jwt}", &format!("eyJhbGciOiJub25lIn0.{payload}.c2ln"))
    }

    /// What is on the wire.
    fn script(&self) -> Script {
        let lines = |headers: &[(&str, &str)]| -> String {
            let lines = headers
                .iter()
                .map(|(name, value)| format!("{name}: {value}\r\n"));
            self.plant(&lines.collect::<String>())
        };
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\n{}Transfer-Encoding: chunked\r\n\r\n",
            self.plant(self.target),
            self.plant(self.authority),
            lines(&self.request_headers),
        );
        let secret = &self.secret;
        let body = format!(
            "{:x}\r\n{secret}\r\n0\r\nx-trailer: {secret}\r\n\r\n",
            secret.len()
        );
        let response = format!(
            "HTTP/1.1 200 {secret}\r\n{}Content-Length: {}\r\n\r\n",
            lines(&self.response_headers),
            secret.len(),
        );
        let script = Script::default()
            .request(&(request + &body), "")
            .response(&response, secret);
        match self.garbage {
            true => script.request(&format!("GET /{secret} {secret}\r\n\r\n"), ""),
            false => script,
        }
    }

    fn format(&self) -> Format {
        match self.written {
            Written::OwnText => Format::compile(OWN_TEXT).unwrap(),
            Written::OwnJson => Format::compile_json(own_json().as_object().unwrap()).unwrap(),
            _ => Format::compile("auto").unwrap(),
        }
    }

    /// The line that the proxy writes, with its framing.
    fn line(&self) -> String {
        let (path, authority) = (self.plant(self.target), self.plant(self.authority));
        let header = |wanted: &str| {
            let mut headers = self.request_headers.iter();
            let found = headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            self.plant(found.map_or("-", |(_, value)| value))
        };
        // In milliseconds, as the proxy has it.
        let start = format!("{}Z", &Timestamp(START).to_string()[..23]);
        let (asked, from) = ("10.0.0.9:80", "10.0.0.1:40000");
        let (authorization, cookie) = (header("authorization"), header("cookie"));
        let content = match self.written {
            Written::Text | Written::Unframed => format!(
                "[{start}] \"POST {path} HTTP/1.1\" 200 - via_upstream - \"-\" {0} {0} 1 1 \"-\" \
                 \"-\" \"-\" \"{authority}\" \"10.0.0.9:80\" outbound|80||b \
                 10.0.0.1:33333 {asked} {from} - default",
                self.secret.len()
            ),
            Written::Json => json!({
                "start_time": start, "method": "POST", "path": path, "protocol": "HTTP/1.1",
                "response_code": 200, "authority": authority, "authorization": authorization,
                "cookie": cookie, self.secret.as_str(): self.secret,
                "downstream_local_address": asked, "downstream_remote_address": from,
            })
            .to_string(),
            Written::OwnText => format!(
                "{start} POST {path} HTTP/1.1 200 auth={authorization} cookie={cookie} {asked} {from}"
            ),
            Written::OwnJson => json!({
                "at": start, "verb": "POST", "target": path, "to": asked, "from": from,
                "who": { "auth": authorization, "cookie": cookie },
            })
            .to_string(),
            Written::Unknown => format!("[{start}] {path} {authority} {authorization}"),
        };
        let time = Timestamp(START) + Duration::from_millis(500);
        match self.written {
            Written::Unframed => format!("{content}\n"),
            _ => format!("{time} stdout F {content}\n"),
        }
    }

    /// The line holds something that is told.
    fn is_told(&self) -> bool {
        let line = self.line();
        line.contains("token=") || line.contains("password=") || line.contains("api_key=")
    }
}

fn own_json() -> serde_json::Value {
    json!({
        "at": "%START_TIME%", "verb": "%REQ(:METHOD)%", "target": "%REQ(:PATH)%",
        "to": "%DOWNSTREAM_LOCAL_ADDRESS%", "from": "%DOWNSTREAM_REMOTE_ADDRESS%",
        "who": { "auth": "%REQ(AUTHORIZATION)%", "cookie": "%REQ(COOKIE)%" },
    })
}

/// What the agent itself logs.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Who is who, as the scripted sockets have it.
fn facts() -> Vec<Input> {
    let mut facts = Vec::new();
    for (id, container, name) in [(70, "c1", "app"), (71, "c2", "istio-proxy")] {
        let owner = Owner::Container {
            pod_uid: UID.into(),
            container_id: container.into(),
        };
        facts.push(Input::Workload(WorkloadFact::Cgroup { id, owner }));
        facts.push(Input::Workload(WorkloadFact::Container {
            id: container.into(),
            pod_uid: UID.into(),
            name: name.into(),
        }));
    }
    facts.push(Input::Workload(WorkloadFact::Pod(Pod {
        uid: UID.into(),
        namespace: "shop".into(),
        name: "a".into(),
        containers: vec!["app".into(), "istio-proxy".into()],
    })));
    let time = Timestamp(START) - Duration::from_secs(10);
    facts.push(Input::Started { time });
    facts.push(Input::Listener(ListenerFact {
        cookie: 99,
        time,
        cgroup: 71,
        process: Process {
            pid: 101,
            user: 1337,
            command: "envoy".into(),
        },
        port: 15001,
    }));
    facts
}

/// Plays a case and returns everything that came out of the agent, by where.
fn play(case: &Case, directory: &Path) -> Vec<(&'static str, String)> {
    let metrics = Metrics::new();
    let redaction = Redaction {
        query: match case.drop_query {
            true => QueryRedaction::Drop,
            false => QueryRedaction::Values,
        },
        identity: IdentityRedaction::new(&["sub".to_owned()], false),
        paths: vec![
            "/reset/*".parse().unwrap(),
            "*://*/reset/*".parse().unwrap(),
        ],
        headers: ["user-agent", "x-request-id", "content-type"]
            .map(Into::into)
            .to_vec(),
    };
    let intake = Intake::new(Fingerprints::new(&[7; 16]), redaction);
    let mut inputs = facts();
    let mut tracker = Tracker::new(Bounds::default());
    let cutting = Cutting {
        cuts: [vec![case.cut], vec![case.cut]],
        ..Cutting::default()
    };
    let mut events = Vec::new();
    for observation in case.script().observations(&cutting) {
        tracker.observe(observation, &mut events);
    }
    inputs.extend(events.into_iter().map(|event| input(&intake, event)));
    // The log, with the line twice: one of them has no exchange. Then it is written anew.
    let log = directory.join(LOG);
    fs::create_dir_all(&log).unwrap();
    let containers = vec!["istio-proxy".to_owned()];
    let settings = LogReaderSettings::new(directory.to_owned(), containers);
    let positions = directory.join("positions");
    let mut reader = LogReader::new(settings, case.format(), Some(Positions::default()));
    let mut now = Timestamp(START) + Duration::from_secs(1);
    let mut look = |reader: &mut LogReader, inputs: &mut Vec<Input>| {
        for _ in 0..40 {
            now = now + Duration::from_millis(100);
            read(reader, &intake, &metrics, now, &mut |input| {
                inputs.push(input);
            });
        }
        now
    };
    inputs.push(Input::CaptureProgress(
        Timestamp(START) + Duration::from_secs(1),
    ));
    fs::write(log.join("0.log"), case.line().repeat(2) + &case.secret).unwrap();
    look(&mut reader, &mut inputs);
    reader.positions().save(&positions).unwrap();
    fs::write(log.join("0.log"), &case.secret).unwrap();
    let end = look(&mut reader, &mut inputs) + Duration::from_secs(30);
    inputs.extend([
        Input::CaptureProgress(end),
        Input::Tick(end),
        Input::Stopped(end),
    ]);
    let settings = Settings {
        start_id: "s".into(),
        node: "n".into(),
        version: "0".into(),
        proxy_containers: vec!["istio-proxy".into()],
        mesh_listeners: vec![15001, 15006],
        mesh_admin: vec![15000],
        flush: Duration::from_secs(1),
        interval: Duration::from_secs(60),
        earlier_run: false,
        observe: false,
        policy: Vec::new(),
        sinks: Vec::new(),
    };
    let recording = directory.join("recording");
    let mut recorder = Recorder::create(&recording, &settings).unwrap();
    let mut ledger = Ledger::new(settings);
    ledger.keep_evidence();
    let mut records = Vec::new();
    for input in inputs {
        recorder.add(&input).unwrap();
        ledger.handle(input, &mut records);
    }
    recorder.flush().unwrap();
    let mut ports = HttpPorts::empty(directory);
    ports.learn(ledger.take_http_ports());
    ports.keep().unwrap();
    let mut lines = String::new();
    for record in &records {
        let sealed = record.seal(&mut Vec::new()).unwrap();
        lines += str::from_utf8(&sealed.line).unwrap();
    }
    let file = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
    vec![
        ("records", lines),
        ("evidence", format!("{:?}", ledger.take_evidence())),
        ("metrics", metrics.render()),
        ("positions", file("positions")),
        ("http-ports", file("http-ports")),
        ("recording", file("recording")),
    ]
}

proptest! {
    #[test]
    fn secrets_stay_where_they_are(case in cases()) {
        let directory = tempfile::tempdir().unwrap();
        let logged = Logged::default();
        let subscriber = {
            let logged = logged.clone();
            tracing_subscriber::fmt().with_writer(move || logged.clone()).finish()
        };
        let mut came_out = with_default(subscriber, || play(&case, directory.path()));
        let own = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
        assert!(own.contains("written anew"), "it has something to say: {own}");
        let records = &came_out[0].1;
        assert!(records.contains("/a") || records.contains("REDACTED"), "{records}");
        let is_readable = matches!(case.written, Written::Text | Written::Json | Written::OwnText | Written::OwnJson);
        assert!(case.garbage || !is_readable || records.contains(r#""units":{"observed":1,"logged":1}"#), "{records}");
        let is_told = records.contains("\"MW-011\"");
        assert!(is_told || !case.is_told(), "{}\n{records}", case.line());
        came_out.push(("its own log", own));
        let places: BTreeSet<_> = came_out
            .iter()
            .filter(|(_, text)| text.contains(&case.secret))
            .map(|(place, _)| *place)
            .collect();
        assert!(places.is_empty(), "{places:?} of {came_out:#?}");
    }
}
