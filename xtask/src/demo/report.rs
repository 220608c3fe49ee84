//! What came of it, for people.

use anstyle::{AnsiColor, Style};
use lab::records::{ACCUSING, Record, Records};

use super::{
    Served, Verdict,
    incident::{Staged, is_unit},
    mesh::plain,
};

/// How many rows of clean traffic are shown.
const CLEAN_ROWS: usize = 8;

const BOLD: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Rows of `watch`: the first of clean traffic and all that accuse.
pub(super) fn table(rows: &[String]) {
    let mut rows = rows.iter();
    let Some(heading) = rows.next() else { return };
    anstream::println!("{BOLD}meshwitness watch{BOLD:#} (a part)\n{heading}");
    let (mut clean, mut left_out) = (0, 0);
    for row in rows {
        let text = plain(row);
        let verdict = text.split_whitespace().nth(1).unwrap_or_default();
        if ACCUSING.contains(&verdict) {
            anstream::println!("{row}");
        } else if clean < CLEAN_ROWS {
            anstream::println!("{row}");
            clean += 1;
        } else {
            left_out += 1;
        }
    }
    println!("… and {left_out} rows more that accuse nobody");
}

/// Which incident was found how, and who else was accused.
pub(super) fn incidents(records: &Records, staged: &[Staged]) -> Verdict {
    let mut verdict = Verdict::default();
    anstream::println!("\n{BOLD}Incidents{BOLD:#}");
    for one in staged {
        let title = one.incident.title();
        match one.find(records) {
            Some(record) => {
                anstream::println!(
                    "{GOOD}found {GOOD:#} {title}\n       {BOLD}{}{BOLD:#}, record {}: {}",
                    record.verdict(),
                    record.id(),
                    one.explain(record)
                );
            }
            None => {
                anstream::println!("{BAD}MISSED{BAD:#} {title}");
                verdict.missed.push(title);
            }
        }
    }
    let is_staged = |record: &Record| staged.iter().any(|one| one.is_it(record));
    for record in records.accusing() {
        if !is_staged(record) {
            anstream::println!("{BAD}WRONG{BAD:#}  {}", record.brief());
            verdict.accused += 1;
        }
    }
    verdict
}

/// The books, added up from the records, and held against nginx's own log.
pub(super) fn books(records: &Records, served: &Served) -> anyhow::Result<()> {
    let books = records.audit()?;
    anstream::println!(
        "\n{BOLD}Books{BOLD:#}, added up from {} records",
        records.all().len()
    );
    anstream::println!(
        "{BOLD}{:<16}{:>9}{:>9}{BOLD:#}",
        "VERDICT",
        "OBSERVED",
        "LOGGED"
    );
    let (mut observed, mut logged) = (0, 0);
    for (verdict, units) in &books.verdicts {
        println!("{verdict:<16}{:>9}{:>9}", units.observed, units.logged);
        observed += units.observed;
        logged += units.logged;
    }
    println!("{:<16}{observed:>9}{logged:>9}", "in all");
    let of_b = records.find(|record| {
        record.kind() == "http"
            && record.pod() == "b"
            && record.side() == "server"
            && is_unit(record)
    });
    let seen: i64 = of_b.iter().map(|record| record.units().observed).sum();
    println!(
        "They agree with the agent's {} ledger records. b's nginx served {} requests, the kernel saw {seen}.",
        books.ledgers, served.by_b
    );
    anyhow::ensure!(
        usize::try_from(seen) == Ok(served.by_b),
        "b's nginx served {} requests, the records have {seen}",
        served.by_b
    );
    Ok(())
}
