//! Addresses, and which of them belong to this machine, its link or its cloud. PURE.
//!
//! The operator connects to hosts that pods name, from its own place in the network. Loopback and link-local addresses mean
//! other things there than for the pod's author, and metadata services give out credentials.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Services of clouds for their machines that are not link-local: Azure's `WireServer`, and the metadata services of Alibaba
/// Cloud, Oracle Cloud and AWS.
const PLATFORM: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// The first 96 bits of `64:ff9b::/96`.
const TRANSLATED: u128 = 0x0064_ff9b_0000_0000_0000_0000;

/// A network of IP addresses, as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

impl std::str::FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || format!("{text:?} is not a network such as 10.0.0.0/8 or fd00::/8");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().ok().filter(|it| *it <= most),
            None => Some(most),
        };
        Ok(Self {
            address,
            prefix: prefix.ok_or_else(bad)?,
        })
    }
}

impl Network {
    fn has(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let rest = 32_u32.saturating_sub(self.prefix);
                let bits = |it: Ipv4Addr| it.to_bits().checked_shr(rest);
                bits(network) == bits(address)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let rest = 128_u32.saturating_sub(self.prefix);
                let bits = |it: Ipv6Addr| it.to_bits().checked_shr(rest);
                bits(network) == bits(address)
            }
            _ => false,
        }
    }
}

/// Which addresses may be asked.
#[derive(Debug, Clone, Default)]
pub struct Networks {
    allowed: Arc<[Network]>,
}

impl Networks {
    /// All but those of the machine, its link and its cloud's services; `allowed` are exceptions, whatever they are.
    pub fn new(allowed: impl IntoIterator<Item = Network>) -> Self {
        Self {
            allowed: allowed.into_iter().collect(),
        }
    }

    /// Whether this address is asked.
    pub fn permit(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed.iter().any(|network| network.has(address)) || !is_local(address)
    }
}

/// Whether an address that the status of a pod tells is one that the operator connects to, whose nodes have the address `own`. Whoever
/// may write a status could have it talk to itself, to what shares its loopback, or to the metadata service of its machine. Where
/// the nodes themselves are on loopback everything is, as in development.
pub fn can_be_a_pods(address: IpAddr, own: IpAddr) -> bool {
    let (address, own) = (address.to_canonical(), own.to_canonical());
    let beside_us = address.is_loopback() && own.is_loopback();
    address != own && (beside_us || !is_local(address))
}

/// Whether the address is this machine's own, or one of its link, of many machines, or of its cloud's services.
fn is_local(address: IpAddr) -> bool {
    if PLATFORM.contains(&address) {
        return true;
    }
    match address {
        IpAddr::V4(address) => is_local_v4(address),
        IpAddr::V6(address) => {
            // An IPv4 address behind a translator (RFC 6052).
            let [.., high, low] = address.segments();
            let behind = Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
            let translated = address.to_bits() >> 32 == TRANSLATED && is_local(IpAddr::V4(behind));
            address.is_loopback()
                || address.is_unspecified()
                || address.is_multicast()
                || address.is_unicast_link_local()
                || translated
        }
    }
}

fn is_local_v4(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    // All of 0.0.0.0/8 is "this network" (RFC 1122), which Linux takes for this machine.
    first == 0
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_of_the_machine_its_link_or_its_cloud_is_asked() {
        let none = Networks::default();
        for (address, asked) in [
            ("127.0.0.1", false),
            ("127.8.9.10", false),
            ("0.0.0.0", false),
            ("0.1.2.3", false),
            ("169.254.169.254", false),
            ("169.254.1.1", false),
            ("168.63.129.16", false),
            ("100.100.100.200", false),
            ("192.0.0.192", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:169.254.169.254", false),
            ("64:ff9b::169.254.169.254", false),
            ("64:ff9b::7f00:1", false),
            ("fe80::1", false),
            ("ff02::1", false),
            ("fd00:ec2::254", false),
            ("10.0.0.5", true),
            ("192.168.1.1", true),
            ("168.63.129.17", true),
            ("52.1.2.3", true),
            ("::ffff:52.1.2.3", true),
            ("64:ff9b::52.1.2.3", true),
            ("fd12::1", true),
            ("2603:1030::1", true),
        ] {
            let ip: IpAddr = address.parse().unwrap();
            assert_eq!(none.permit(ip), asked, "{address}");
            let own = IpAddr::from([10, 9, 9, 9]);
            assert_eq!(can_be_a_pods(ip, own), asked, "{address}");
            assert!(!can_be_a_pods(ip, ip), "{address} is ours");
            let beside = asked || ip.to_canonical().is_loopback();
            let own = IpAddr::from([127, 0, 0, 9]);
            assert_eq!(can_be_a_pods(ip, own), beside, "{address}");
        }
        let some = Networks::new(["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()]);
        for (address, asked) in [
            ("127.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("::1", true),
            ("169.254.169.254", false),
            ("0.0.0.0", false),
        ] {
            assert_eq!(some.permit(address.parse().unwrap()), asked, "{address}");
        }
    }

    #[test]
    fn networks_are_read() {
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.has("9.9.9.9".parse().unwrap()) && !all.has("::1".parse().unwrap()));
        let half: Network = "10.128.0.0/9".parse().unwrap();
        assert!(half.has("10.200.0.1".parse().unwrap()) && !half.has("10.0.0.1".parse().unwrap()));
        for bad in ["", "a", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
