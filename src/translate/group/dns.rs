//! How a pod resolves names: `dnsPolicy` and `dnsConfig` as a kubelet puts them together (`pkg/kubelet/network/dns`).

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{PodDNSConfig, PodDNSConfigOption};

use super::annotations::{Asked, CLUSTER_DNS};
use super::features::Network;
use super::fields::Fields;
use super::review::{Review, some};
use crate::api::Os;
use crate::azure::model::DnsConfig;
use crate::translate::support::MISSING_CLUSTER_DNS;

/// A kubelet's own limits, which are those of the API server on `dnsConfig`.
const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARACTERS: usize = 2048;
/// Azure's resolver: what a container group asks when nobody says else (Azure Container Instances, custom DNS settings).
const AZURE: &str = "168.63.129.16";
/// The option that a kubelet gives with the cluster's DNS.
const NDOTS: &str = "ndots:5";

/// Reasons of a kubelet's Events.
const MISSING: &str = "MissingClusterDNS";
const FORMING: &str = "DNSConfigForming";

const CLUSTER_FIRST: &str = "spec.dnsPolicy: ClusterFirst or ClusterFirstWithHostNet";

/// `resolv.conf` in the making.
#[derive(Debug, Default, PartialEq, Eq)]
struct Resolver {
    servers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

/// The name servers of the pod's group; `None` leaves it to Azure.
pub(super) fn config(
    fields: &Fields<'_>,
    asked: &Asked<'_>,
    network: &Network,
    review: &mut Review,
) -> Option<DnsConfig> {
    let spec = fields.pod.spec.as_ref()?;
    let own = spec.dns_config.as_ref().filter(|config| {
        some(config.nameservers.as_deref())
            || some(config.searches.as_deref())
            || some(config.options.as_deref())
    });
    let in_subnet = network.subnet_id.is_some();
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let wants_cluster = asked.flag(CLUSTER_DNS, review) != Some(false);
    let none = policy == "None";
    if !in_subnet {
        review.field("spec.dnsPolicy: None without a subnet", none, &[]);
        let only_options = own
            .is_some_and(|own| !some(own.nameservers.as_deref()) && !some(own.searches.as_deref()));
        let row = if only_options && !none {
            "spec.dnsConfig: of options only, without a subnet"
        } else {
            "spec.dnsConfig: without a subnet"
        };
        review.field(row, own.is_some(), &[]);
        return None;
    }
    let cluster_first =
        matches!(policy, "ClusterFirst" | "ClusterFirstWithHostNet") && wants_cluster;
    review.field("spec.dnsPolicy: None", none, &[]);
    review.field("spec.dnsConfig", own.is_some(), &[]);
    if review.os == Os::Windows {
        review.field(CLUSTER_FIRST, cluster_first, &[]);
        return None;
    }
    let mut resolver = if cluster_first {
        cluster(fields, review)
    } else {
        Resolver::default()
    };
    let azure = resolver == Resolver::default() && !none;
    match own {
        // A kubelet starts from its node's own servers.
        Some(_) if azure => resolver.servers.push(AZURE.to_owned()),
        None if azure => return None,
        _ => {}
    }
    if let Some(own) = own {
        resolver.add(own, review);
    }
    if resolver.servers.is_empty() {
        let why = "dnsPolicy None needs a name server; give one";
        review.refuse("spec.dnsConfig.nameservers".to_owned(), why.to_owned());
    }
    resolver.fit(review);
    Some(resolver.arm())
}

/// What a pod gets of the cluster's DNS; nothing when that cannot be.
fn cluster(fields: &Fields<'_>, review: &mut Review) -> Resolver {
    let dns = &fields.defaults.cluster_dns;
    // ACI has no IPv6, as a kubelet of a single-stack node.
    let servers: Vec<String> = dns
        .servers
        .iter()
        .filter(|server| server.is_ipv4())
        .map(ToString::to_string)
        .collect();
    if servers.is_empty() {
        review.note(MISSING, "spec.dnsPolicy", MISSING_CLUSTER_DNS.to_owned());
        return Resolver::default();
    }
    let domain = &dns.domain;
    let namespace = fields.pod.metadata.namespace.as_deref().unwrap_or_default();
    Resolver {
        servers,
        searches: vec![
            format!("{namespace}.svc.{domain}"),
            format!("svc.{domain}"),
            domain.clone(),
        ],
        options: vec![NDOTS.to_owned()],
    }
}

impl Resolver {
    /// Adds what the pod says: servers and domains behind those that are there, each once; an option takes the place of
    /// one of the same name.
    fn add(&mut self, own: &PodDNSConfig, review: &mut Review) {
        let PodDNSConfig {
            nameservers,
            options,
            searches,
        } = own;
        let mut known: BTreeSet<String> = self.servers.iter().cloned().collect();
        for (n, server) in nameservers.iter().flatten().enumerate() {
            let ipv6 = server.parse().is_ok_and(|server: IpAddr| server.is_ipv6());
            let path = format!("spec.dnsConfig.nameservers[{n}]");
            if ipv6 {
                review.at("spec.dnsConfig.nameservers: an IPv6 address", path);
            } else if known.insert(server.clone()) {
                self.servers.push(server.clone());
            }
        }
        let mut known: BTreeSet<String> = self.searches.iter().cloned().collect();
        for search in searches.iter().flatten() {
            if known.insert(search.clone()) {
                self.searches.push(search.clone());
            }
        }
        let mut known: HashMap<String, usize> = HashMap::new();
        for (place, option) in self.options.iter().enumerate() {
            let name = option.split(':').next().unwrap_or_default();
            known.entry(name.to_owned()).or_insert(place);
        }
        for (n, option) in options.iter().flatten().enumerate() {
            let PodDNSConfigOption { name, value } = option;
            let name = name.as_deref().unwrap_or_default();
            let value = value.as_deref().unwrap_or_default();
            if format!("{name}{value}").contains(char::is_whitespace) {
                let path = format!("spec.dnsConfig.options[{n}]");
                review.at(
                    "spec.dnsConfig.options: a name or a value with a blank",
                    path,
                );
                continue;
            }
            let written = if value.is_empty() {
                name.to_owned()
            } else {
                format!("{name}:{value}")
            };
            let earlier = known.get(name).copied();
            if let Some(earlier) = earlier.and_then(|place| self.options.get_mut(place)) {
                *earlier = written;
                continue;
            }
            // One whose name has a colon is called by what stands before it.
            let called = written.split(':').next().unwrap_or_default();
            let place = self.options.len();
            known.entry(called.to_owned()).or_insert(place);
            self.options.push(written);
        }
    }

    /// Cuts what is more than a kubelet's limits, and tells it as a kubelet does.
    fn fit(&mut self, review: &mut Review) {
        let mut characters = 0;
        let mut fitting = 0;
        for search in self.searches.iter().take(MAX_SEARCHES) {
            characters += search.len() + usize::from(fitting > 0);
            if characters > MAX_SEARCH_CHARACTERS {
                break;
            }
            fitting += 1;
        }
        let mut cut = |list: &mut Vec<String>, most: usize, what: &str| {
            if list.len() > most {
                let left: Vec<String> = list.split_off(most);
                let message = format!("too many {what}; left out: {}", left.join(" "));
                review.note(FORMING, "spec.dnsConfig", message);
            }
        };
        cut(&mut self.servers, MAX_SERVERS, "name servers");
        cut(&mut self.searches, fitting, "search domains");
    }

    fn arm(self) -> DnsConfig {
        let line = |words: Vec<String>| (!words.is_empty()).then(|| words.join(" "));
        DnsConfig {
            name_servers: self.servers,
            search_domains: line(self.searches),
            options: line(self.options),
        }
    }
}
