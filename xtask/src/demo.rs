//! `demo`: a small mesh on this machine, four incidents in it, and how each is found.

mod incident;
mod mesh;
mod report;
mod traffic;

use anyhow::ensure;
use clap::Args;
use jiff::Timestamp;
use lab::records::Records;

use self::{
    incident::{Incident, Staged},
    mesh::Mesh,
};
use crate::{build, install, progress::Task, require_root, steps::Steps};

/// What `demo` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Do not ask before installing what the demo needs
    #[arg(long, short)]
    yes: bool,
}

/// Stages the incidents and looks for them in what the collector stored.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    require_root("demo")?;
    let steps = Steps::begin();
    steps.run("requirements", || install::ensure_lab(options.yes))?;
    steps.run("build", || {
        build::run(&build::Options::ALL)?;
        build::build_helper()
    })?;
    let course = steps.run("a mesh, its traffic, four incidents", stage)?;
    println!();
    report::table(&course.rows);
    let verdict = report::incidents(&course.records, &course.staged);
    report::books(&course.records, &course.served)?;
    println!("{}", steps.times());
    verdict.into_result()
}

/// What is left when the mesh is gone.
struct Course {
    records: Records,
    staged: Vec<Staged>,
    /// What `watch` printed.
    rows: Vec<String>,
    served: Served,
}

/// What nginx says that it served, the ground truth.
struct Served {
    /// Requests at the pod `b`.
    by_b: usize,
}

fn stage() -> anyhow::Result<Course> {
    let mesh = Mesh::start()?;
    Task::run("clean traffic", |_| traffic::run(&mesh.lab, "before"))?;
    let mut staged = Vec::new();
    for incident in Incident::ALL {
        staged.push(Task::run(incident.title(), |_| incident.stage(&mesh.lab))?);
    }
    Task::run("more clean traffic", |_| traffic::run(&mesh.lab, "after"))?;
    let since = Timestamp::now();
    Task::run("verdicts, and books without anything pending", |task| {
        mesh.settle(task, since, &staged)
    })?;
    let by_b = mesh.lab.pod("b").nginx_log()?.len();
    let (records, rows) = Task::run("end of the agent", |_| mesh.stop())?;
    ensure!(
        by_b > 0,
        "expected requests in the log of b's nginx, got none"
    );
    Ok(Course {
        records,
        staged,
        rows,
        served: Served { by_b },
    })
}

/// What came of it.
#[derive(Default)]
struct Verdict {
    missed: Vec<&'static str>,
    /// Records that accuse and belong to no incident.
    accused: usize,
}

impl Verdict {
    fn into_result(self) -> anyhow::Result<()> {
        let Self { missed, accused } = self;
        ensure!(
            missed.is_empty() && accused == 0,
            "missed: [{}]; records that accuse clean traffic: {accused}",
            missed.join("; ")
        );
        println!("All four were found, and nothing else was accused.");
        Ok(())
    }
}
