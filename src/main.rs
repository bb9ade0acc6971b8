//! `vkc`: the operator's binary.

use clap::Parser;

fn main() -> anyhow::Result<()> {
    // Before the first client: two TLS providers may be linked, and this one is ours.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        anyhow::bail!("a TLS provider is installed already");
    }
    vkc::cli::run(vkc::cli::Cli::parse())
}
