//! From what is asked for to what is done, in order. PURE.

use zeroize::Zeroizing;

use crate::spec::{Content, File, Host, Part, Spec, Text, Which};

/// The pod's addresses, the first one first.
pub type Addresses = [std::net::IpAddr];

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<'s> {
    /// Make the directory, or set its mode.
    Directory {
        path: &'s str,
        mode: u32,
        group: Option<u32>,
    },
    Write {
        path: &'s str,
        bytes: Bytes<'s>,
        mode: u32,
        group: Option<u32>,
    },
    /// Add what is missing of these lines to the hosts.
    Hosts(&'s [Host]),
    /// Make the file that anybody may write a message to.
    Message { path: &'s str, required: bool },
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bytes<'s> {
    Beside(&'s str),
    These(Secret),
}

/// Text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Zeroizing<String>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Whether `spec` can only be carried out once the pod has an address.
pub fn needs_address(spec: &Spec) -> bool {
    let texts = spec
        .command
        .iter()
        .chain(spec.env.iter().map(|it| &it.value));
    let files = spec.files.iter().filter_map(|file| match &file.content {
        Content::Text(text) => Some(text),
        Content::From(_) => None,
    });
    texts.chain(files).any(Text::has_address)
}

/// What is to be done before the program runs. Directories come before what is in them, and the deeper after the others.
pub fn actions<'s>(spec: &'s Spec, addresses: &Addresses) -> Vec<Action<'s>> {
    let mut directories: Vec<_> = spec.directories.iter().collect();
    directories.sort_by_key(|it| it.path.split('/').count());
    let directories = directories.into_iter().map(|it| Action::Directory {
        path: &it.path,
        mode: it.mode,
        group: it.group,
    });
    let files = spec.files.iter().map(|file| {
        let File {
            path,
            content,
            mode,
            group,
        } = file;
        let bytes = match content {
            Content::From(name) => Bytes::Beside(name),
            Content::Text(text) => Bytes::These(Secret(text.with(addresses))),
        };
        Action::Write {
            path,
            bytes,
            mode: *mode,
            group: *group,
        }
    });
    let hosts = (!spec.hosts.is_empty()).then_some(Action::Hosts(&spec.hosts));
    let message = spec.message.as_ref().map(|it| Action::Message {
        path: &it.path,
        required: it.required,
    });
    directories
        .chain(files)
        .chain(hosts)
        .chain(message)
        .collect()
}

impl Text {
    /// The text with the pod's `addresses` in it.
    pub fn with(&self, addresses: &Addresses) -> Zeroizing<String> {
        let mut out = Zeroizing::new(String::new());
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Address {
                    address: Which::PodIp,
                } => out.extend(addresses.iter().take(1).map(ToString::to_string)),
                Part::Address {
                    address: Which::PodIps,
                } => {
                    let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                    out.push_str(&all.join(","));
                }
            }
        }
        out
    }
}

/// What is to be added to the file of hosts that says `known`: a kubelet's lines, those that are missing. A container that runs
/// again finds them there.
pub fn missing_hosts(known: &str, hosts: &[Host]) -> String {
    let mut out = String::new();
    for Host { ip, names } in hosts {
        let line = format!("{ip}\t{}", names.join("\t"));
        if known.lines().any(|it| it == line) || out.lines().any(|it| it == line) {
            continue;
        }
        if out.is_empty() {
            if !known.is_empty() && !known.ends_with('\n') {
                out.push('\n');
            }
            out.push_str("\n# Entries added by HostAliases.\n");
        }
        out.push_str(&line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::spec::Directory;

    fn host(ip: &str, names: &[&str]) -> Host {
        Host {
            ip: ip.to_owned(),
            names: names.iter().map(|it| (*it).to_owned()).collect(),
        }
    }

    #[test]
    fn hosts_are_added_once() {
        let hosts = [host("10.0.0.5", &["db", "db.local"]), host("::1", &["six"])];
        let added = missing_hosts("127.0.0.1 localhost", &hosts);
        assert_eq!(
            added,
            "\n\n# Entries added by HostAliases.\n10.0.0.5\tdb\tdb.local\n::1\tsix\n"
        );
        let known = format!("127.0.0.1 localhost{added}");
        assert_eq!(missing_hosts(&known, &hosts), "");
        let twice = [hosts[0].clone(), hosts[0].clone()];
        assert_eq!(missing_hosts("", &twice).matches("db.local").count(), 1);
    }

    #[test]
    fn a_text_has_the_addresses_of_its_day() {
        let text: Text = serde_json::from_str(
            r#"["http://",{"address":"podIp"},":80/",{"address":"podIps"},"$(POD_IP)"]"#,
        )
        .unwrap();
        let addresses = ["10.1.2.3".parse().unwrap(), "fd00::1".parse().unwrap()];
        assert_eq!(
            *text.with(&addresses),
            "http://10.1.2.3:80/10.1.2.3,fd00::1$(POD_IP)"
        );
        assert!(text.has_address());
        assert_eq!(*Text::plain("a").with(&[]), "a");
    }

    #[test]
    fn directories_come_first_and_the_deeper_later() {
        let directory = |path: &str| Directory {
            path: path.to_owned(),
            mode: 0o755,
            group: None,
        };
        let spec = Spec {
            directories: vec![directory("/a/b/c"), directory("/a")],
            files: vec![File {
                path: "/a/f".to_owned(),
                content: Content::Text(Text::plain("x")),
                mode: 0o600,
                group: None,
            }],
            hosts: vec![host("1.2.3.4", &["x"])],
            ..Spec::new()
        };
        let all = actions(&spec, &[]);
        let paths: Vec<_> = all
            .iter()
            .map(|it| match it {
                Action::Directory { path, .. }
                | Action::Write { path, .. }
                | Action::Message { path, .. } => *path,
                Action::Hosts(_) => "hosts",
            })
            .collect();
        assert_eq!(paths, ["/a", "/a/b/c", "/a/f", "hosts"]);
        assert!(!needs_address(&spec));
    }
}
