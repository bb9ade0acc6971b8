//! The pod's addresses, as its own interfaces have them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use if_addrs::get_if_addrs;

/// A network may come after the container.
const WAIT: Duration = Duration::from_secs(15);
const AGAIN: Duration = Duration::from_millis(50);

/// The addresses of the group, the one that others know first; waits for it for some seconds.
///
/// # Errors
/// There is none.
pub fn addresses() -> Result<Vec<IpAddr>, String> {
    let until = Instant::now() + WAIT;
    loop {
        let found = look();
        if !found.is_empty() {
            return Ok(found);
        }
        if Instant::now() >= until {
            let waited = WAIT.as_secs();
            return Err(format!(
                "the container group has no address after {waited} s"
            ));
        }
        sleep(AGAIN);
    }
}

fn look() -> Vec<IpAddr> {
    let all = get_if_addrs().into_iter().flatten();
    let others = all.filter(|it| !it.is_loopback());
    order(others.map(|it| (it.name.clone(), it.ip())).collect())
}

/// `eth0` is the group's interface on ACI; IPv4 is what ACI has.
fn order(mut found: Vec<(String, IpAddr)>) -> Vec<IpAddr> {
    found.retain(|(_, address)| is_global(address));
    found.sort_by_key(|(name, address)| (address.is_ipv6(), name != "eth0"));
    let mut out: Vec<IpAddr> = Vec::new();
    for (_, address) in found {
        // One of each family, as Kubernetes has it.
        if !out.iter().any(|it| it.is_ipv4() == address.is_ipv4()) {
            out.push(address);
        }
    }
    out
}

fn is_global(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => !it.is_loopback() && !it.is_link_local() && *it != Ipv4Addr::UNSPECIFIED,
        IpAddr::V6(it) => {
            !it.is_loopback() && !it.is_unicast_link_local() && *it != Ipv6Addr::UNSPECIFIED
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_group_s_own_address_is_first() {
        let found = |all: &[(&str, &str)]| {
            let all = all
                .iter()
                .map(|(name, ip)| ((*name).to_owned(), ip.parse().unwrap()));
            let all = order(all.collect()).into_iter().map(|it| it.to_string());
            all.collect::<Vec<_>>().join(",")
        };
        assert_eq!(
            found(&[
                ("docker0", "172.17.0.1"),
                ("eth0", "fe80::1"),
                ("eth0", "10.1.2.3")
            ]),
            "10.1.2.3"
        );
        assert_eq!(
            found(&[("eth0", "fd00::5"), ("net1", "10.0.0.9")]),
            "10.0.0.9,fd00::5"
        );
        assert_eq!(found(&[("eth0", "169.254.1.1"), ("lo", "127.0.0.1")]), "");
    }
}
