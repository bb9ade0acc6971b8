//! `vkc`: the operator's binary.

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
            eprintln!("error: {}", vkc::causes::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
