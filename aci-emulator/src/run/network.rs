//! An address of its own for every group: a network namespace, joined to a bridge that this machine is on, too.
//!
//! Groups reach each other, this machine at its end of the bridge, and nothing beyond: nothing is forwarded for them.

use std::{collections::BTreeSet, net::Ipv4Addr, sync::Arc};

use parking_lot::Mutex;

use super::tools::{ToolError, Tools};

/// Networks of 1022 addresses are taken out of this one.
const FIRST: u32 = u32::from_be_bytes([10, 213, 0, 0]);
const PREFIX: u8 = 22;
const SIZE: u32 = 1 << (32 - PREFIX);
const NETWORKS: u32 = 64;

/// Why a group cannot have an address.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// `ip` failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// This machine uses all networks that we would take.
    #[error("no free network of 10.213.0.0/16 on this machine")]
    NoNetwork,
    /// Every address has a group.
    #[error("no free address of {0}/{PREFIX}")]
    NoAddress(Ipv4Addr),
}

/// The bridge and its addresses.
pub(super) struct Network {
    tools: Tools,
    tag: String,
    base: u32,
    used: Arc<Mutex<BTreeSet<u32>>>,
}

/// An address, given back when dropped.
pub(super) struct Lease {
    pub(super) ip: Ipv4Addr,
    used: Arc<Mutex<BTreeSet<u32>>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.used.lock().remove(&u32::from(self.ip));
    }
}

/// Name of the bridge of an emulator.
pub(super) fn bridge(tag: &str) -> String {
    format!("aci{tag}")
}

impl Network {
    /// Makes the bridge. `tag` tells emulators of one machine apart.
    pub(super) async fn start(tools: &Tools, tag: &str) -> Result<Self, NetworkError> {
        // Two emulators that start at once must not take the same network.
        let lock = std::env::temp_dir().join("aci-emulator-networks.lock");
        let lock = tokio::task::spawn_blocking(move || {
            let file = std::fs::File::create(lock).ok()?;
            file.lock().ok()?;
            Some(file)
        });
        let _lock = lock.await.ok().flatten();
        let text = tools
            .ip(&["-4", "-o", "route", "show", "table", "all"])
            .await?;
        let base = free_network(&text).ok_or(NetworkError::NoNetwork)?;
        let bridge = bridge(tag);
        let lines = [
            format!("link add {bridge} type bridge"),
            format!(
                "addr add {}/{PREFIX} dev {bridge}",
                Ipv4Addr::from(base + 1)
            ),
            format!("link set {bridge} up"),
        ];
        tools.ip_batch(None, &lines).await?;
        Ok(Self {
            tools: tools.clone(),
            tag: tag.to_owned(),
            base,
            used: Arc::default(),
        })
    }

    /// This machine's address on the bridge.
    pub(super) fn host(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.base + 1)
    }

    /// Takes an address.
    pub(super) fn lease(&self) -> Result<Lease, NetworkError> {
        let mut used = self.used.lock();
        // The address that is free for the longest time is the next after the highest one in use.
        let first = self.base + 2;
        let last = self.base + SIZE - 2;
        let after = used.last().map_or(first, |highest| highest + 1);
        let free = (after..=last)
            .chain(first..=last)
            .find(|address| !used.contains(address))
            .ok_or(NetworkError::NoAddress(Ipv4Addr::from(self.base)))?;
        used.insert(free);
        Ok(Lease {
            ip: Ipv4Addr::from(free),
            used: Arc::clone(&self.used),
        })
    }

    /// Makes the network namespace `name`, with this address at the bridge.
    pub(super) async fn join(&self, name: &str, ip: Ipv4Addr) -> Result<(), NetworkError> {
        let bridge = bridge(&self.tag);
        let link = self.link(ip);
        self.tools.ip(&["netns", "add", name]).await?;
        let outside = [
            format!("link add {link} type veth peer name eth0 netns {name}"),
            format!("link set {link} master {bridge} up"),
        ];
        self.tools.ip_batch(None, &outside).await?;
        let inside = [
            "link set lo up".to_owned(),
            format!("addr add {ip}/{PREFIX} dev eth0"),
            "link set eth0 up".to_owned(),
            format!("route add default via {}", self.host()),
        ];
        self.tools.ip_batch(Some(name), &inside).await?;
        Ok(())
    }

    /// Removes a network namespace and its link. With the namespace alone the kernel removes the link some time later, and who
    /// has the address next could not make it.
    pub(super) async fn leave(&self, name: &str, ip: Ipv4Addr) -> Result<(), NetworkError> {
        let link = self.tools.ip(&["link", "del", &self.link(ip)]).await;
        self.tools.ip(&["netns", "del", name]).await?;
        link?;
        Ok(())
    }

    /// The end outside of the link of the group with this address.
    fn link(&self, ip: Ipv4Addr) -> String {
        format!("v{:x}{}", u32::from(ip) - self.base, self.tag)
    }

    /// Removes the bridge.
    pub(super) async fn stop(&self) -> Result<(), NetworkError> {
        self.tools.ip(&["link", "del", &bridge(&self.tag)]).await?;
        Ok(())
    }
}

/// The first of our networks that no route of this machine leads into.
fn free_network(routes: &str) -> Option<u32> {
    let taken: Vec<(u32, u32)> = routes
        .lines()
        .filter_map(|line| {
            let to = line
                .split_whitespace()
                .find(|word| !matches!(*word, "local" | "broadcast" | "unicast"))?;
            let (address, length) = to.split_once('/').unwrap_or((to, "32"));
            let address = u32::from(address.parse::<Ipv4Addr>().ok()?);
            let length: u32 = length.parse().ok().filter(|length| *length <= 32)?;
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            // A route to everything is in nobody's way.
            (length > 1).then_some((address & mask, address | !mask))
        })
        .collect();
    (0..NETWORKS).map(|n| FIRST + n * SIZE).find(|base| {
        let end = base + (SIZE - 1);
        !taken
            .iter()
            .any(|(from, until)| *from <= end && *until >= *base)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_is_not_taken() {
        let first = |routes: &str| free_network(routes).map(Ipv4Addr::from);
        let ip = |text: &str| Some(text.parse().unwrap());
        assert_eq!(
            first("default via 10.0.0.1 dev eth0 \n10.0.0.0/24 dev eth0 scope link"),
            ip("10.213.0.0")
        );
        assert_eq!(
            first("10.213.0.0/22 dev x\nlocal 10.213.5.1 dev y table local"),
            ip("10.213.8.0")
        );
        assert_eq!(first("10.0.0.0/8 dev x"), None);
        assert_eq!(first("garbage\n\n0.0.0.0/0 dev x"), ip("10.213.0.0"));
    }

    #[test]
    fn addresses_are_taken_and_given_back() {
        let network = Network {
            tools: Tools::none(),
            tag: "t".to_owned(),
            base: FIRST,
            used: Arc::default(),
        };
        let first = network.lease().unwrap();
        let second = network.lease().unwrap();
        assert_eq!(first.ip, Ipv4Addr::new(10, 213, 0, 2));
        assert_eq!(second.ip, Ipv4Addr::new(10, 213, 0, 3));
        drop(first);
        let all: Vec<Lease> = std::iter::from_fn(|| network.lease().ok()).collect();
        assert_eq!(all.len(), 1020);
        assert!(network.lease().is_err());
    }
}
