//! `vkc`: the operator's binary.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Before the first client: two TLS providers may be linked, and this one is ours.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        eprintln!("error: a TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    match vkc::cli::run(vkc::cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // One line for people: no backtrace, whatever the environment says.
        Err(error) => {
            // Not `eprintln!`, which panics where nobody reads.
            let _ = writeln!(
                std::io::stderr(),
                "error: {}",
                vkc::causes::chain(error.as_ref())
            );
            ExitCode::FAILURE
        }
    }
}
