//! The command line.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};
use meshwitness::command::{self, CommandError, WatchFilter};
use mimalloc::MiMalloc;

/// A burst of records is thousands of allocations that end together, a part of them on another
/// thread: glibc is slow at both.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The second witness of a service mesh: captures connections and HTTP with eBPF, cross-checks
/// them against Envoy's access logs, and forwards the reconciled records as evidence.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    /// The form of the command's own log, which goes to stderr.
    #[arg(long, global = true, value_enum, default_value_t = LogForm::Text)]
    log_format: LogForm,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogForm {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// The agent: captures, reconciles, forwards. One per node.
    Run {
        /// The configuration.
        #[arg(long)]
        config: PathBuf,
    },
    /// Preflight: whether `run` would work here, and how to mend what would not.
    Check {
        /// The configuration; without it, its defaults.
        #[arg(long)]
        config: Option<PathBuf>,
        /// One JSON object instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// A live view: a line a record. Forwards nothing and runs beside an agent.
    Watch {
        /// The configuration; without it, its defaults.
        #[arg(long)]
        config: Option<PathBuf>,
        /// Only this pod.
        #[arg(long, value_name = "NAMESPACE/NAME")]
        pod: Option<String>,
        /// Only this verdict.
        #[arg(long)]
        verdict: Option<String>,
        /// Records as JSON, one a line.
        #[arg(long)]
        json: bool,
    },
    /// Why a record got its verdict. Asks the running agent, which keeps the evidence of its last
    /// 10,000 records that are not `matched`.
    Explain {
        /// The record's id.
        id: String,
        /// The agent's configuration; without it, its defaults.
        #[arg(long)]
        config: Option<PathBuf>,
        /// One JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// The reference collector.
    Collect {
        /// The configuration.
        #[arg(long)]
        config: PathBuf,
    },
    /// Write the ledger's inputs, redacted, to a new file until interrupted. Runs beside an agent;
    /// forwards if the configuration says where to.
    Record {
        /// The new file.
        file: PathBuf,
        /// The configuration; without it, its defaults.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// What the mesh is expected to do past its logs.
    #[command(subcommand)]
    Policy(Policy),
    /// Reconcile a recording again: the same records, byte by byte, on stdout. Needs no root.
    Replay {
        /// The file that `record` wrote.
        file: PathBuf,
    },
}

#[derive(Subcommand)]
enum Policy {
    /// Propose rules of `mesh.policy`, for a person to review, from `bypassed` and `unlogged`
    /// records.
    Suggest {
        /// The directory of a collector.
        dir: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    command::start_log(matches!(arguments.log_format, LogForm::Json));
    let outcome = match arguments.command {
        Command::Run { config } => command::run(&config),
        Command::Check { config, json } => command::check(config.as_deref(), json),
        Command::Watch {
            config,
            pod,
            verdict,
            json,
        } => WatchFilter::new(pod, verdict)
            .and_then(|filter| command::watch(config.as_deref(), &filter, json)),
        Command::Explain { id, config, json } => command::explain(&id, config.as_deref(), json),
        Command::Collect { config } => command::collect(&config),
        Command::Record { file, config } => command::record(&file, config.as_deref()),
        Command::Policy(Policy::Suggest { dir }) => command::suggest_policy(&dir),
        Command::Replay { file } => command::replay(&file),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(CommandError::Usage(error)) => fail(&error, 2),
        Err(CommandError::Failed(error)) => fail(&error, 1),
    }
}

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    tracing::error!("{error:#}");
    ExitCode::from(code)
}
