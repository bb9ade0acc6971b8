//! The pod's addresses, as its own interfaces have them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

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
    let all = getifaddrs().into_iter().flatten();
    let up = all.filter(|it| {
        it.flags.contains(InterfaceFlags::IFF_UP)
            && !it.flags.contains(InterfaceFlags::IFF_LOOPBACK)
    });
    let addresses = up.filter_map(|it| {
        let address = it.address?;
        let v4 = address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
        let v6 = || address.as_sockaddr_in6().map(|it| IpAddr::V6(it.ip()));
        Some((it.interface_name, v4.or_else(v6)?))
    });
    order(addresses.collect())
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
