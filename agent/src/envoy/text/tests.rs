use proptest::{
    prelude::{BoxedStrategy, Just, ProptestConfig, Strategy, any, prop},
    prop_assert, prop_assert_eq, prop_assume, prop_oneof, proptest,
    sample::subsequence,
};

use super::{Match, Scratch, TextFormat};
use crate::envoy::{
    FormatError, LogEntry,
    field::{Class, Field, Grammar},
    target::Target,
};

fn read(format: &str, line: &str) -> (Match, LogEntry) {
    let mut entry = LogEntry::default();
    let format = TextFormat::compile(format).unwrap();
    let found = format.read(line.as_bytes(), &mut Scratch::default(), &mut entry);
    (found, entry)
}

#[test]
fn literal_text_must_be_there() {
    let format = "a%REQ(:METHOD)%b";
    assert_eq!(read(format, "aGETb").0, Match::Sure);
    for line in ["", "a", "ab ", "GETb", "aGET", "aGETbc", "aG Tb"] {
        assert_eq!(read(format, line).0, Match::No, "{line}");
    }
    assert_eq!(
        TextFormat::compile("no operator"),
        Err(FormatError::NoOperator)
    );
}

#[test]
fn a_free_field_can_hold_its_delimiter() {
    let format = "\"%REQ(USER-AGENT)%\" %DURATION%";
    let (found, entry) = read(format, "\"x\" 5\" 7");
    assert_eq!(found, Match::Sure);
    assert_eq!(entry.user_agent.as_deref(), Some("x\" 5"));
    assert_eq!(entry.duration_milliseconds, Some(7));
}

#[test]
fn what_all_readings_share_is_kept() {
    let format = "%RESPONSE_CODE% \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" %DURATION%";
    let (found, entry) = read(format, "200 \"a\" \"b\" \"c\" 9");
    assert_eq!(found, Match::Ambiguous);
    let expected = LogEntry {
        response_code: Some(200),
        duration_milliseconds: Some(9),
        ..LogEntry::default()
    };
    assert_eq!(entry, expected);
}

#[test]
fn free_fields_without_a_delimiter_are_ambiguous() {
    let (found, entry) = read("%REQ(USER-AGENT)%%REQ(X-REQUEST-ID)% %DURATION%", "ab 1");
    assert_eq!(found, Match::Ambiguous);
    assert_eq!(entry.user_agent, None);
    assert_eq!(entry.duration_milliseconds, Some(1));
}

#[test]
fn differences_in_unused_fields_do_not_matter() {
    let (found, entry) = read("%REQ(X-A)% %REQ(X-B)% %DURATION%", "a b c 1");
    assert_eq!(found, Match::Sure);
    assert_eq!(entry.duration_milliseconds, Some(1));
}

#[test]
fn typed_fields_may_stand_side_by_side() {
    let (found, entry) = read("%REQ(:METHOD)%%PROTOCOL% %DURATION%", "GETHTTP/1.1 3");
    assert_eq!(found, Match::Sure);
    assert_eq!(entry.protocol.as_deref(), Some("HTTP/1.1"));
    assert_eq!(entry.method.as_deref(), Some("GET"));
}

#[test]
fn a_cut_bounds_the_field() {
    let (found, entry) = read("%REQ(USER-AGENT):3% %REQ(X-REQUEST-ID)%", "abcd e");
    assert_eq!((found, entry), (Match::No, LogEntry::default()));
    let (found, entry) = read("%REQ(USER-AGENT):3% %REQ(X-REQUEST-ID)%", "ab d e");
    assert_eq!(found, Match::Sure);
    assert_eq!(entry.user_agent.as_deref(), Some("ab"));
    assert_eq!(entry.request_id.as_deref(), Some("d e"));
}

#[test]
fn a_line_with_too_many_readings_is_ambiguous_and_soon_done() {
    let format = "%REQ(USER-AGENT)%%REQ(X-REQUEST-ID)%%REQ(X-FORWARDED-FOR)%%RESP(X)% %DURATION%";
    let mut line = "a ".repeat(1 << 19);
    line.push('1');
    let begun = std::time::Instant::now();
    let (found, entry) = read(format, &line);
    assert_eq!((found, entry), (Match::Ambiguous, LogEntry::default()));
    assert!(begun.elapsed() < std::time::Duration::from_secs(2));
}

#[test]
fn time_grows_with_the_line_only() {
    // Every reading fails at the end, after any number of ways to get there.
    let format = "%REQ(A)% %REQ(B)% %REQ(C)% %REQ(D)% %REQ(E)% %REQ(F)% %DURATION%";
    let mut line = "1 ".repeat(10_000);
    line.push('x');
    let begun = std::time::Instant::now();
    assert_eq!(read(format, &line).0, Match::No);
    assert!(begun.elapsed() < std::time::Duration::from_secs(1));
}

/// Operators of every grammar, none of them twice for one field.
const OPERATORS: [&str; 19] = [
    "%START_TIME%",
    "%REQ(:METHOD)%",
    "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "%PROTOCOL%",
    "%RESPONSE_CODE%",
    "%RESPONSE_FLAGS%",
    "%RESPONSE_CODE_DETAILS%",
    "%CONNECTION_TERMINATION_DETAILS%",
    "%BYTES_SENT%",
    "%DURATION%",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "%REQ(USER-AGENT)%",
    "%REQ(X-REQUEST-ID)%",
    "%REQ(:AUTHORITY)%",
    "%UPSTREAM_HOST%",
    "%UPSTREAM_LOCAL_ADDRESS%",
    "%DOWNSTREAM_REMOTE_ADDRESS%",
    "%ROUTE_NAME%",
    "%REQUEST_DURATION%",
];

/// Texts that look like parts of a line.
const FRAGMENTS: [&str; 16] = [
    "-",
    "\"",
    " ",
    "\" \"",
    "] \"",
    "GET",
    "/",
    "HTTP/1.1",
    "200",
    "UF,URX",
    "10.0.0.1:80",
    "via_upstream",
    "x",
    "|",
    "[2026-11-22T08:08:17.914Z]",
    "ÿ",
];

fn value(field: &Field) -> BoxedStrategy<String> {
    let fixed = |values: &'static [&'static str]| {
        prop::sample::select(values).prop_map(str::to_owned).boxed()
    };
    let filled = match &field.grammar {
        Grammar::Span(class) => {
            let class = *class;
            let allowed = move |fragment: &&&str| {
                fragment
                    .bytes()
                    .all(|byte| class.table()[usize::from(byte)])
            };
            let fragments: Vec<&str> = FRAGMENTS.iter().filter(allowed).copied().collect();
            prop::collection::vec(prop::sample::select(fragments), 0..5)
                .prop_map(|parts| parts.concat())
                .boxed()
        }
        Grammar::Number => any::<u32>().prop_map(|number| number.to_string()).boxed(),
        Grammar::Protocol => fixed(&["HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3"]),
        Grammar::Flags => fixed(&["UF", "UF,URX", "DC"]),
        Grammar::Address => fixed(&["10.0.0.1:80", "[::1]:8080", "9.9.9.9:0", "/pipe"]),
        Grammar::Time(_) => fixed(&["2026-11-22T08:08:17.914Z", "2026-01-01T00:00:00.000Z"]),
    };
    prop_oneof![4 => filled, 1 => Just("-".to_owned())].boxed()
}

/// A format, a line that Envoy would write with it, and the entry that was meant.
fn rendered() -> impl Strategy<Value = (String, String, LogEntry)> {
    let delimiters = prop::sample::select(vec![" ", "\" \"", " \"", "\" ", "|", "", "] \""]);
    let operators = subsequence(OPERATORS.to_vec(), 1..=OPERATORS.len()).prop_shuffle();
    let prefix = prop::sample::select(vec!["", "[", "\""]);
    (operators, prefix).prop_flat_map(move |(operators, prefix)| {
        let fields: Vec<Field> = operators
            .iter()
            .map(|operator| {
                TextFormat::compile(operator).unwrap().fields[0]
                    .field
                    .clone()
            })
            .collect();
        let values: Vec<_> = fields.iter().map(value).collect();
        let delimiters = vec![delimiters.clone(); operators.len()];
        (values, delimiters).prop_map(move |(values, delimiters)| {
            let mut format = prefix.to_owned();
            let mut line = prefix.to_owned();
            let mut entry = LogEntry::default();
            for index in 0..operators.len() {
                format.push_str(operators[index]);
                format.push_str(delimiters[index]);
                line.push_str(&values[index]);
                line.push_str(delimiters[index]);
                fields[index].write(&mut entry, values[index].as_bytes());
            }
            (format, line, entry)
        })
    })
}

/// Every field of an entry as text, none as none.
fn fields(entry: &LogEntry) -> Vec<Option<String>> {
    let debug = format!("{entry:#?}");
    let body = debug.split_once('\n').unwrap().1;
    let mut fields: Vec<String> = Vec::new();
    for line in body.lines() {
        // A field begins at the first level; what belongs to it stands deeper or closes it.
        if line.starts_with("    ") && line.as_bytes()[4].is_ascii_lowercase() {
            fields.push(String::new());
        }
        fields.last_mut().unwrap().push_str(line.trim());
    }
    fields
        .into_iter()
        .map(|field| (!field.contains(": None,")).then_some(field))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn never_another_entry((format, line, meant) in rendered()) {
        let (found, entry) = read(&format, &line);
        match found {
            Match::No => prop_assert!(false, "{format} does not read its own line {line}"),
            Match::Sure => prop_assert_eq!(entry, meant),
            Match::Ambiguous => {
                for (field, meant) in fields(&entry).into_iter().zip(fields(&meant)) {
                    prop_assert!(field.is_none() || field == meant, "{:?} {:?}", field, meant);
                }
            }
        }
    }

    /// The graph finds what trying every way finds.
    #[test]
    fn agrees_with_trying_every_way((format, line, _) in rendered().prop_filter(
        "few readings", |(_, line, _)| line.len() < 60,
    )) {
        let compiled = TextFormat::compile(&format).unwrap();
        let mut readings = Vec::new();
        if line.starts_with(str::from_utf8(&compiled.prefix).unwrap()) {
            every_way(&compiled, 0, compiled.prefix.len(), line.as_bytes(), &mut Vec::new(), &mut readings);
        }
        prop_assume!(readings.len() < 5000);
        let used: Vec<Vec<_>> = readings.iter().map(|reading| {
            reading.iter().zip(&compiled.fields)
                .filter(|(_, field)| field.field.target != Target::Opaque)
                .map(|(range, _)| *range)
                .collect()
        }).collect();
        let expected = match used.first() {
            None => Match::No,
            Some(first) if used.iter().all(|reading| reading == first) => Match::Sure,
            Some(_) => Match::Ambiguous,
        };
        prop_assert_eq!(read(&format, &line).0, expected);
    }

    #[test]
    fn any_bytes_are_read(line in prop::collection::vec(any::<u8>(), 0..300)) {
        let format = TextFormat::compile("%REQ(:METHOD)% %PATH% \"%REQ(USER-AGENT)%\" %DURATION%").unwrap();
        let mut entry = LogEntry::default();
        format.read(&line, &mut Scratch::default(), &mut entry);
        format.resembles(&line);
    }
}

/// All readings by plain recursion.
fn every_way(
    format: &TextFormat,
    index: usize,
    start: usize,
    line: &[u8],
    reading: &mut Vec<(usize, usize)>,
    readings: &mut Vec<Vec<(usize, usize)>>,
) {
    if readings.len() >= 5000 {
        return;
    }
    let Some(field) = format.fields.get(index) else {
        if start == line.len() {
            readings.push(reading.clone());
        }
        return;
    };
    let (class, longest) = field.field.grammar.extent();
    let longest = longest.or(field.field.length).unwrap_or(usize::MAX);
    for end in start..=line.len() {
        let text = &line[start..end];
        let fits = text.len() <= longest
            && (class == Class::Any || text.iter().all(|byte| class.table()[usize::from(*byte)]))
            && field.field.grammar.admits(text)
            && line[end..].starts_with(&field.delimiter);
        if fits {
            reading.push((start, end));
            every_way(
                format,
                index + 1,
                end + field.delimiter.len(),
                line,
                reading,
                readings,
            );
            reading.pop();
        }
    }
}
