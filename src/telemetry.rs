//! Logs: structured, on standard error, as text for people or JSON for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The shape of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text for people.
    Plain,
    /// One JSON object a line.
    Json,
}

/// Starts logging. `filter` is a `tracing` filter such as `info` or `vkc=debug,info`.
pub fn start(
    format: LogFormat,
    filter: &str,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // Libraries below us log requests at debug level; ours is what `filter` without a target means.
    let mut filter = EnvFilter::try_new(filter)?;
    // At trace level this library shows the messages of exec sessions: what users type, and the passwords of sessions.
    for quiet in ["tungstenite=info", "tokio_tungstenite=info"] {
        filter = filter.add_directive(quiet.parse()?);
    }
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Plain => subscriber
            .with_ansi(std::io::stderr().is_terminal())
            .try_init(),
        LogFormat::Json => subscriber
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .try_init(),
    }
}
