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
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(quiet(filter)?)
        // They would be written to standard error, too: a full disk behind it must not end the operator by a panic.
        .log_internal_errors(false)
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

/// What of libraries is never logged. At trace level the first two show the messages of exec sessions: what users type, and the
/// passwords of sessions. The third shows the whole text of an answer of the API server that it cannot read, such as a Secret, and
/// reports the failure, too.
const NEVER: [&str; 3] = [
    "tungstenite=info",
    "tokio_tungstenite=info",
    "kube_client::client=error",
];

fn quiet(filter: &str) -> Result<EnvFilter, Box<dyn std::error::Error + Send + Sync>> {
    // Libraries below us log requests at debug level; ours is what `filter` without a target means.
    let mut filter = EnvFilter::try_new(filter)?;
    for quiet in NEVER {
        filter = filter.add_directive(quiet.parse()?);
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_never_log_what_may_be_secret() {
        for wanted in ["info", "trace", "kube_client=trace,vkc=debug"] {
            let filter = quiet(wanted).unwrap().to_string();
            assert!(NEVER.iter().all(|it| filter.contains(it)), "{filter}");
        }
    }
}
