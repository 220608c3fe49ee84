//! The table of the scenarios: as the documentation has it, and with what came of each.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

use crate::stage::{Group, Scenario, Verdicts};

const HEADING: &str = "\
# Scenarios

What the records say in the odd cases, each played with real Envoy by the test program
`tests/tests/scenarios`. This file is made from the scenarios themselves: the program fails where
it says something else.

Each scenario also fails if anybody beside it is accused in its pods, any judgement is withheld, or
anything else is found there, and each group has its books added up from the received records. What
the findings mean is in [findings.md](findings.md).
";

/// Fails if the documentation has another table.
pub(crate) fn compare(groups: &[&Group]) -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scenarios.md");
    let expected = document(groups);
    let found = fs::read_to_string(&file).unwrap_or_default();
    if found == expected {
        return Ok(());
    }
    let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scenarios.md");
    fs::write(&new, expected).with_context(|| format!("writing {}", new.display()))?;
    ensure!(
        false,
        "docs/scenarios.md does not say what is played; what it should say is in {}",
        new.display()
    );
    Ok(())
}

fn document(groups: &[&Group]) -> String {
    let mut text = HEADING.to_owned();
    for chapter in groups.iter().flat_map(|group| group.chapters) {
        text.push_str(&format!(
            "\n## {}\n\n| scenario | what happens | what is recorded | what is found |\n|---|---|---|---|\n",
            chapter.title
        ));
        for scenario in chapter.scenarios {
            text.push_str(&format!(
                "| `{}` | {} | {} | {} |\n",
                scenario.name,
                scenario.happens,
                scenario.recorded,
                findings(scenario)
            ));
        }
    }
    text
}

fn findings(scenario: &Scenario) -> String {
    let found = scenario.finds.iter();
    let found = found.map(|(pod, id)| format!("`{id}` of `{pod}`"));
    found.collect::<Vec<_>>().join(", ")
}

/// The same for a terminal: those that were played, with what came of each, and last why any
/// failed.
pub(crate) fn outcomes(groups: &[&Group], told: &Verdicts) -> String {
    let mut rows = vec![["scenario", "what happens", "what is recorded", "outcome"]];
    for chapter in groups.iter().flat_map(|group| group.chapters) {
        for scenario in chapter.scenarios {
            let outcome = match told.get(scenario.name) {
                Some(Ok(())) => "ok",
                Some(Err(_)) => "FAILED",
                None => continue,
            };
            rows.push([scenario.name, scenario.happens, scenario.recorded, outcome]);
        }
    }
    let widths = [0, 1, 2].map(|column| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or(0)
    });
    let rows = rows.iter().map(|[name, happens, recorded, outcome]| {
        let [first, second, third] = widths;
        format!("{name:first$}  {happens:second$}  {recorded:third$}  {outcome}\n")
    });
    let reasons = told.iter().filter_map(|(name, verdict)| {
        let reason = verdict.as_ref().err()?;
        Some(format!("\n{name}: {reason}\n"))
    });
    rows.chain(reasons).collect()
}
