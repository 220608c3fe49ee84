//! What the `h2` crate sent is what is read, whole, in pieces and in part.

use proptest::{
    collection::vec,
    option,
    prelude::{Just, ProptestConfig, Strategy, any, prop_oneof},
    sample::{Index, select},
};

use super::{
    alike::Truth,
    peers::{Call, Settings, record},
    wire::{Talk, Telling, by_stream},
};
use crate::http::{
    Exchange, Headers,
    tests::script::{CLIENT, SERVER, run},
};

fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof![
        3 => select(vec!["user-agent", "x-request-id", "content-type", "cookie"]),
        2 => select(vec!["x-a", "x-b", "x-c", "x-d"]),
    ];
    // Some come again and again, others are new each time.
    let value = prop_oneof![
        4 => "[ab]{1,2}",
        3 => "[!-~]{1,30}",
        1 => "[!-~]{200,2000}",
    ];
    vec((name.prop_map(str::to_owned), value), 0..6)
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let status = select(vec![200_u16, 201, 204, 302, 404, 418, 500, 503]);
    let method = select(vec!["GET", "POST", "PUT", "HEAD", "PROPFIND"]);
    let body = || {
        prop_oneof![
            Just(vec![]),
            vec(0..3000_usize, 1..4),
            vec(30_000..90_000_usize, 1..2)
        ]
    };
    let call = (
        (method, "[a-z/]{0,20}", fields(), body()),
        (status, fields(), body(), option::of(fields())),
    );
    vec(call, 1..25).prop_map(|calls| {
        let call = |(number, (request, response))| {
            let (method, path, headers, body): (_, String, _, Vec<usize>) = request;
            let (status, response_headers, response_body, trailers): (_, _, Vec<usize>, Option<_>) =
                response;
            let bare = method == "HEAD" || status == 204;
            Call {
                method,
                path: format!("/{number}/{path}"),
                headers,
                body,
                status,
                response_headers,
                response_body: if bare { vec![] } else { response_body },
                trailers: trailers.filter(|_| !bare),
            }
        };
        calls.into_iter().enumerate().map(call).collect()
    })
}

fn settings() -> impl Strategy<Value = Settings> {
    (
        select(vec![0_u32, 100, 4096, 30_000]),
        select(vec![16_384_u32, 20_000, 100_000]),
        select(vec![2000_u32, 65_535, 1 << 20]),
        select(vec![50_usize, 500, 5000, 1 << 16]),
    )
        .prop_map(
            |(header_table_size, max_frame_size, window, write)| Settings {
                header_table_size,
                max_frame_size,
                window,
                write,
            },
        )
}

/// How it is told, apart from losses.
fn telling(talk: &Talk, cuts: &[(usize, Index)], block: Option<usize>) -> Telling {
    let mut telling = Telling {
        block,
        ..Telling::default()
    };
    for (end, cut) in cuts {
        if talk.length(*end) > 0 {
            telling.cuts[*end].push(cut.index(talk.length(*end)));
        }
    }
    telling
}

fn assert_headers(headers: &Headers, sent: &[(String, String)]) {
    // The map of the http crate keeps the order of a name's values only.
    let sorted = |mut fields: Vec<(String, String)>| {
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        fields
    };
    let told = headers
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(sorted(told.collect()), sorted(sent.to_vec()));
}

fn assert_call(exchange: &Exchange, call: &Call) {
    let head = exchange.request.head.as_ref().unwrap();
    assert_eq!(head.method.as_deref(), Some(call.method));
    assert_eq!(head.authority.as_deref(), Some("host"));
    assert_headers(&head.headers, &call.headers);
    let sum = |sizes: &[usize]| sizes.iter().sum::<usize>() as u64;
    assert_eq!(exchange.request.body_bytes, sum(&call.body));
    assert!(exchange.request.ended.is_some());
    let response = exchange.response.as_ref().unwrap();
    assert_eq!(response.status, Some(call.status));
    let mut headers: Vec<_> = response.headers.iter().collect();
    headers.retain(|(name, _)| *name != "date" && *name != "content-length");
    assert_headers(&headers.into_iter().collect(), &call.response_headers);
    assert_eq!(response.body_bytes, sum(&call.response_body));
    assert_headers(
        &response.trailers,
        call.trailers.as_deref().unwrap_or_default(),
    );
    assert!(response.ended.is_some());
}

proptest::proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_was_sent_is_read(
        calls in calls(),
        settings in settings(),
        cuts in vec((CLIENT..=SERVER, any::<Index>()), 0..40),
        block in option::of(select(vec![16_usize, 64, 512, 8192])),
        refused in vec((CLIENT..=SERVER, any::<Index>()), 1..4),
        joined in [any::<Index>(), any::<Index>()],
    ) {
        let talk = record(&calls, settings);
        let events = talk.events();
        let exchanges = by_stream(&events);
        assert_eq!(exchanges.len(), calls.len());
        for call in &calls {
            let is_it = |exchange: &&Exchange| {
                let head = exchange.request.head.as_ref().unwrap();
                head.path.as_ref() == Some(&call.path)
            };
            assert_call(exchanges.iter().find(is_it).unwrap(), call);
        }
        let truth = Truth::new(&events);
        let whole = telling(&talk, &cuts, block);
        truth.assert_equal(&run(talk.observations(&whole)));
        let raw = Telling { raw: true, ..whole.clone() };
        truth.assert_equal(&run(talk.observations(&raw)));
        let mut lossy = whole.clone();
        let (_, totals) = talk.segments(&whole);
        for (end, index) in refused {
            let segments = totals[end].segments as usize;
            lossy.refused[end].push(u32::try_from(index.index(segments)).unwrap());
        }
        truth.assert_counted(&run(talk.observations(&lossy)));
        let late = Telling {
            cuts: [vec![], vec![]],
            joined: [0, 1].map(|end| joined[end].index(talk.packets(end))),
            ..whole
        };
        truth.assert_none_wrong(&run(talk.observations(&late)));
    }
}
