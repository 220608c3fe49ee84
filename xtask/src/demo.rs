//! wip
use clap::Args;
/// What `demo` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Install what is missing without asking
    #[arg(long, short)]
    yes: bool,
}
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    crate::require_root("demo")?;
    crate::install::ensure_all(options.yes)?;
    Ok(())
}
