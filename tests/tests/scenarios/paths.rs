//! Paths that Envoy writes otherwise than the client did.

use anyhow::{Result, ensure};
use lab::{Session, pod::PodSpec};

use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{Way, matched, matched_at_both},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "Paths that Envoy writes otherwise than the client did",
    scenarios: &[
        Scenario {
            name: "dot_segments",
            happens: "the client asks for `/dots//x/../y`, Envoy logs `/dots/y`",
            recorded: "client: `matched` 1/1, `path_normalized`; server: `matched`",
            finds: &[],
            pods,
            play: |session| normalized(session, "/dots//x/../y", "/dots/y"),
        },
        Scenario {
            name: "escapes",
            happens: "the client escapes what needs no escape: `/%65scapes/%7Euser`",
            recorded: "client: `matched` 1/1; server: `matched`",
            finds: &[],
            pods,
            play: escapes,
        },
        Scenario {
            name: "escaped_slash",
            happens: "the client asks for `/escaped%2Fslash`, which is one segment",
            recorded: "both sides: `matched` 1/1",
            finds: &[],
            pods,
            play: |session| unchanged(session, "/escaped%2Fslash"),
        },
        Scenario {
            name: "absolute_form",
            happens: "the client asks for `http://other.host/absolute` under `Host: b`",
            recorded: "both sides: `matched` 1/1",
            finds: &[],
            pods,
            play: absolute_form,
        },
        Scenario {
            name: "user_information",
            happens: "the client asks for `http://user:hunter2@third.host/credentials`",
            recorded: "both sides: `matched` 1/1, without the credentials",
            finds: &[],
            pods,
            play: user_information,
        },
        Scenario {
            name: "fragment",
            happens: "the client sends a fragment: `/fragment#part`",
            recorded: "client: `matched` 1/1",
            finds: &[],
            pods,
            play: fragment,
        },
        Scenario {
            name: "query_in_all_forms",
            happens: "the query has escapes, a question mark and dots: `/query?a=%2e&b=?/../x`",
            recorded: "both sides: `matched` 1/1",
            finds: &[],
            pods,
            play: query,
        },
    ],
};

fn pods() -> Vec<PodSpec> {
    vec![PodSpec::new("a"), PodSpec::new("b")]
}

/// Asks for a target as it is.
fn ask(session: &Session, target: &str) -> Result<u16> {
    ask_by(session, Way::HTTP1[0], target)
}

fn ask_by(session: &Session, way: Way, target: &str) -> Result<u16> {
    let options = ["--request-target", target, "-H", "host: b"];
    way.get(session, "a", "b", "/", &options)
}

fn normalized(session: &Session, asked: &'static str, logged: &'static str) -> Result<Judge> {
    for way in Way::ALL {
        let received = ask_by(session, way, &way.path(asked))?;
        ensure!(received == 200, "expected 200, got {received}");
    }
    judge(move |evidence| {
        for way in Way::ALL {
            let (asked, logged) = (way.path(asked), way.path(logged));
            matched(evidence, "a", "client", &asked)?;
            let found = evidence.http("a", "client", &asked);
            found.with_reason("path_normalized")?;
            matched(evidence, "b", "server", &logged)?;
        }
        Ok(())
    })
}

fn escapes(session: &mut Session) -> Result<Judge> {
    let received = ask(session, "/%65scapes/%7Euser")?;
    ensure!(received == 200, "expected 200, got {received}");
    judge(|evidence| {
        matched(evidence, "a", "client", "/%65scapes/%7Euser")?;
        let found = evidence.of("b", "escapes", |record| record.path().contains("scapes/"));
        found.are("matched")?.of_units(1, 1)?;
        Ok(())
    })
}

fn unchanged(session: &Session, base: &'static str) -> Result<Judge> {
    for way in Way::ALL {
        let received = ask_by(session, way, &way.path(base))?;
        ensure!(received == 200, "expected 200, got {received}");
    }
    judge(move |evidence| {
        let mut paths = Way::ALL.map(|way| way.path(base)).into_iter();
        paths.try_for_each(|path| matched_at_both(evidence, "a", "b", &path))
    })
}

fn absolute_form(session: &mut Session) -> Result<Judge> {
    let received = ask(session, "http://other.host/absolute")?;
    ensure!(received == 200, "expected 200, got {received}");
    judge(|evidence| {
        let lines = evidence.lines("a", "\"other.host\"")?;
        ensure!(
            lines.len() == 1 && lines[0].contains("/absolute HTTP"),
            "{lines:?}"
        );
        let found = evidence.of("a", "absolute", |record| {
            record.path().contains("/absolute")
        });
        found.are("matched")?.of_units(1, 1)?;
        matched(evidence, "b", "server", "/absolute")
    })
}

fn user_information(session: &mut Session) -> Result<Judge> {
    let received = ask(session, "http://user:hunter2@third.host/credentials")?;
    ensure!(received == 200, "expected 200, got {received}");
    judge(|evidence| {
        matched_at_both(evidence, "a", "b", "/credentials")?;
        let leaks = evidence
            .records
            .find(|record| record.line().contains("hunter2"));
        ensure!(
            leaks.is_empty(),
            "{} records bear the password",
            leaks.len()
        );
        Ok(())
    })
}

fn fragment(session: &mut Session) -> Result<Judge> {
    let received = ask(session, "/fragment#part")?;
    judge(move |evidence| {
        let found = evidence.of("a", "fragment", |record| {
            record.path().starts_with("/fragment")
        });
        found.are("matched")?.of_units(1, 1)?;
        let status = found.records[0].status();
        ensure!(
            status == Some(u64::from(received)),
            "{status:?}, not {received}"
        );
        Ok(())
    })
}

fn query(session: &mut Session) -> Result<Judge> {
    let received = ask(session, "/query?a=%2e&b=?/../x")?;
    ensure!(received == 200, "expected 200, got {received}");
    judge(|evidence| matched_at_both(evidence, "a", "b", "/query"))
}
