//! Where a registry may be: not on this machine, and not among the services that a cloud has for its machines.

use std::net::SocketAddr;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::net::Networks;

/// Whether the host of `url` is asked, where that is an address: names are checked when they are resolved.
pub(super) fn permits_literal(networks: &Networks, url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse()
        .map_or(true, |address| networks.permit(address))
}

/// Nothing is left of what a name stands for.
#[derive(Debug, thiserror::Error)]
#[error("the host has only addresses that are not asked for images")]
pub(super) struct NotAsked;

/// The system's resolver, without the addresses that are not asked: what is checked is what is connected to.
#[derive(Debug)]
pub(super) struct Resolver(pub(super) Networks);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let networks = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let asked: Vec<SocketAddr> = found.filter(|it| networks.permit(it.ip())).collect();
            if asked.is_empty() {
                return Err(NotAsked.into());
            }
            let asked: Addrs = Box::new(asked.into_iter());
            Ok(asked)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_an_address_is_checked_without_a_resolver() {
        let none = Networks::default();
        for (url, asked) in [
            ("https://127.0.0.1:5000/v2", false),
            ("https://[::1]/v2", false),
            // The URL parser reads them as browsers do.
            ("https://2130706433/", false),
            ("https://0x7f.1/", false),
            ("https://10.0.0.1/", true),
            ("https://localhost/", true),
        ] {
            assert_eq!(
                permits_literal(&none, &Url::parse(url).unwrap()),
                asked,
                "{url}"
            );
        }
    }
}
