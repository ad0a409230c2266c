//! `aiswitch schema`: the forms of what is printed and of what a person writes.

use aiswitch_coordinator::{RunEvent, RunReport};
use schemars::schema_for;

use super::{metrics, tokens};
use crate::args::Document;
use crate::config::{AgentsFile, AlertsFile, Coordination, PresetsFile, PricesFile};
use crate::exit::Code;
use crate::output::Output;
use crate::output::env::HistoryView;
use crate::project::Project;
use crate::report::Report;

/// Prints a JSON Schema.
pub(crate) fn schema(document: Document, output: &Output) -> Code {
    let schema = match document {
        Document::Report => schema_for!(RunReport),
        Document::Event => schema_for!(RunEvent),
        Document::Agents => schema_for!(AgentsFile),
        Document::Alerts => schema_for!(AlertsFile),
        Document::Prices => schema_for!(PricesFile),
        Document::Presets => schema_for!(PresetsFile),
        Document::Coordination => schema_for!(Coordination),
        Document::Project => schema_for!(Project),
        Document::EnvHistory => schema_for!(HistoryView),
        Document::PeriodReport => schema_for!(Report),
        Document::Tokens => schema_for!(tokens::View),
        Document::Metrics => schema_for!(metrics::View),
    };
    output.json(&schema);
    Code::Completed
}
