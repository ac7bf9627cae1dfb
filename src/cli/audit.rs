//! `portcullis audit`: who did what.

use std::io::{ErrorKind, Write as _};

use clap::{Args, Subcommand};
use entity::Timestamp;

use super::Failure;
use super::context::{Context, organization};
use crate::audit::api::as_lines;
use crate::audit::{Export, Of, Which};

#[derive(Subcommand)]
pub(super) enum Audit {
    /// Print events as JSON lines, oldest first
    #[command(after_help = "\
Examples:
  portcullis audit export > events.jsonl
  portcullis audit export --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z --organization Example")]
    Export(ExportEvents),
}

#[derive(Args)]
pub(super) struct ExportEvents {
    /// Events of this time and later, as RFC 3339 has it
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Events before this time
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
    /// The organization [default: all, and what belongs to none]
    #[arg(long, value_name = "NAME")]
    organization: Option<String>,
}

impl Audit {
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let Self::Export(wanted) = self;
        let app = context.app().await?;
        let of = match &wanted.organization {
            Some(name) => Of::Organization(organization(&app, Some(name)).await?),
            None => Of::Everybody,
        };
        let (from, to) = (wanted.from, wanted.to);
        let which =
            Which { of, actor: None, action: None, target: None, request_id: None, from, to };
        let mut export = Export::new(app.clock.now(), which);
        while let Some(events) = export.next(&app.db).await? {
            match std::io::stdout().lock().write_all(&as_lines(events)?) {
                // A reader that has seen enough, such as `head`, is no failure.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
                result => result?,
            }
        }
        Ok(())
    }
}
