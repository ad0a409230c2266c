//! The command line of `metrics`: what is shown, and of which time.

use std::path::PathBuf;

use aiswitch_agent::SpecDuration;
use aiswitch_metrics::Metric;
use clap::{Subcommand, ValueEnum};

use crate::moment::Moment;

/// What `metrics` does.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
pub(crate) struct MetricsArgs {
    /// What to do; shows without it
    #[command(subcommand)]
    pub(crate) verb: Option<MetricsVerb>,
    /// What is shown
    #[command(flatten)]
    pub(crate) span: MetricsSpan,
}

/// Of whom and of which time.
#[derive(Debug, clap::Args)]
pub(crate) struct MetricsSpan {
    /// Not before this time: `10m`, `2h` or `3d` ago, a date, or a time [default: 24h]
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Moment>,
    /// Before this time [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<Moment>,
    /// Only this agent
    #[arg(short, long, value_name = "NAME")]
    pub(crate) agent: Option<String>,
}

/// What `metrics` does.
#[derive(Debug, Subcommand)]
pub(crate) enum MetricsVerb {
    /// Show all metrics of a time, a line each
    ///
    /// The line of blocks goes from 0 to the largest figure; where it is blank nothing was measured. An arrow says that the
    /// figures went up or down by a tenth of the largest or more.
    Show(MetricsSpan),
    /// Print one metric step by step
    Query {
        /// The metric, such as `memory_bytes`, `cpu_percent` or `response_time_ms`
        #[arg(value_parser = Metric::named)]
        metric: Metric,
        /// Of whom and of which time
        #[command(flatten)]
        span: MetricsSpan,
        /// How long a step is: 10s, 5m, 1h [default: what fits]
        #[arg(long, value_name = "TIME")]
        step: Option<SpecDuration>,
    },
    /// Show how the alerts of alerts.yaml are: inactive, pending, firing or resolved, and since when
    ///
    /// Runs judge what they measure by the rules of that file. Nothing is judged while none goes on.
    Alerts,
    /// Print the newest figures, and the sums of all time, for another program
    Export {
        /// For which one
        #[arg(long, value_enum, default_value_t = MetricsFormat::Prometheus)]
        format: MetricsFormat,
        /// Write this file instead, all at once, such as one that the node exporter's textfile collector reads
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// A form of other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MetricsFormat {
    /// Prometheus' text format
    Prometheus,
    /// A line of OTLP's JSON, as the `otlpjsonfile` receiver of OpenTelemetry's collector reads it
    OtlpJson,
}
