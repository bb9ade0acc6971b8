//! From what is asked for to what is done, in order. PURE.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::spec::{Content, File, Host, Part, Spec, SpecError, Text, Volume, Which};

/// The pod's addresses, the first one first.
pub type Addresses = [std::net::IpAddr];

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<'s> {
    /// Let the volume hold these files.
    Volume(&'s Volume, Vec<Placed<'s, Bytes<'s>>>),
    Write(Placed<'s, Bytes<'s>>),
    /// Add what is missing of these lines to the hosts.
    Hosts(&'s [Host]),
    /// Make the file that anybody may write a message to.
    Message {
        path: &'s str,
        required: bool,
    },
}

/// A file, with what is in it as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed<'s, B> {
    pub path: &'s str,
    pub bytes: B,
    pub mode: u32,
    pub group: Option<u32>,
}

/// What is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bytes<'s> {
    Beside(&'s str),
    These(Secret),
}

/// Bytes that are not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Zeroizing<Vec<u8>>);

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
    let in_volumes = spec.volumes.iter().flat_map(|it| &it.files);
    let files = spec.files.iter().chain(in_volumes);
    let files = files.filter_map(|file| match &file.content {
        Content::Text(text) | Content::Base64(text) => Some(text),
        Content::From(_) => None,
    });
    texts.chain(files).any(Text::has_address)
}

/// What is to be done before the program runs.
///
/// # Errors
/// The content of a file cannot be made out. Nothing is to be done then.
pub fn actions<'s>(spec: &'s Spec, addresses: &Addresses) -> Result<Vec<Action<'s>>, SpecError> {
    let mut all = Vec::new();
    for volume in &spec.volumes {
        let files = volume.files.iter();
        let files = files.map(|file| placed(file, volume.group, addresses));
        all.push(Action::Volume(volume, files.collect::<Result<_, _>>()?));
    }
    for file in &spec.files {
        all.push(Action::Write(placed(file, None, addresses)?));
    }
    let hosts = (!spec.hosts.is_empty()).then_some(Action::Hosts(&spec.hosts));
    let message = spec.message.as_ref().map(|it| Action::Message {
        path: &it.path,
        required: it.required,
    });
    all.extend(hosts.into_iter().chain(message));
    Ok(all)
}

/// The file, whose group is that of the volume that it is in where it has none of its own.
fn placed<'s>(
    file: &'s File,
    of_volume: Option<u32>,
    addresses: &Addresses,
) -> Result<Placed<'s, Bytes<'s>>, SpecError> {
    let File {
        path,
        content,
        mode,
        group,
    } = file;
    let bytes = match content {
        Content::From(name) => Bytes::Beside(name),
        Content::Text(text) => {
            let text = std::mem::take(&mut *text.with(addresses));
            Bytes::These(Secret(Zeroizing::new(text.into_bytes())))
        }
        Content::Base64(text) => {
            // Not with what stands there: it may be secret.
            let bytes = STANDARD.decode(text.with(addresses).as_bytes());
            let bytes = bytes.map_err(|_| SpecError::Invalid("the content of a file is no base64"));
            Bytes::These(Secret(Zeroizing::new(bytes?)))
        }
    };
    Ok(Placed {
        path,
        bytes,
        mode: *mode,
        group: group.or(of_volume),
    })
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

    fn file(path: &str, content: Content) -> File {
        File {
            path: path.to_owned(),
            content,
            mode: 0o600,
            group: None,
        }
    }

    fn spec(content: Content) -> Spec {
        let other = File {
            group: Some(7),
            ..file("b", Content::Base64(Text::plain("aGk=")))
        };
        let volume = Volume {
            name: "v".to_owned(),
            mode: 0o755,
            owner: None,
            group: Some(5),
            linked: true,
            files: vec![file("a", content), other],
        };
        Spec {
            volumes: vec![volume],
            files: vec![file("/f", Content::From("f0".to_owned()))],
            hosts: vec![host("1.2.3.4", &["x"])],
            ..Spec::new()
        }
    }

    #[test]
    fn volumes_come_first_with_what_is_in_them() {
        let spec = spec(Content::Text(Text::plain("x")));
        let placed = |path, bytes, group| Placed {
            path,
            bytes,
            mode: 0o600,
            group,
        };
        let these = |text: &str| Bytes::These(Secret(Zeroizing::new(text.into())));
        let files = vec![
            placed("a", these("x"), Some(5)),
            placed("b", these("hi"), Some(7)),
        ];
        assert_eq!(
            actions(&spec, &[]).unwrap(),
            [
                Action::Volume(&spec.volumes[0], files),
                Action::Write(placed("/f", Bytes::Beside("f0"), None)),
                Action::Hosts(&spec.hosts),
            ]
        );
        assert!(!needs_address(&spec));
    }

    #[test]
    fn a_volume_waits_for_the_address_that_its_files_have_in_them() {
        let text = r#"[{"address":"podIp"}]"#;
        let content = Content::Text(serde_json::from_str(text).unwrap());
        assert!(needs_address(&spec(content)));
    }

    #[test]
    fn content_that_is_no_base64_is_refused_and_not_shown() {
        for text in ["hunter2", "aGk", "a\nGk=", "aGk=="] {
            let spec = spec(Content::Base64(Text::plain(text)));
            let said = actions(&spec, &[]).unwrap_err().to_string();
            assert!(said.contains("no base64") && !said.contains(text), "{said}");
        }
    }
}
