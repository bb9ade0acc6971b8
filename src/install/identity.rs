//! Whose identity the operator is to use, and the secret of a service principal.

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;

use super::args::IdentityArgs;
use crate::api::is_guid;
use crate::api::names::secret_keys;
use crate::azure::ManagedCluster;
use crate::azure::model::SecretText;
use crate::connector::identity::Environment;

/// Longest secret that is read; Entra ID's have some forty characters.
const MAX_SECRET: u64 = 64 << 10;

/// Whose identity it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// A service principal, whose secret is still to be read.
    ServicePrincipal(String),
    /// An identity that trusts the operator's service account.
    Workload(String),
    /// An identity of the machines; `None` is the system-assigned one.
    Managed(Option<String>),
    /// A Secret that is there already.
    Secret(String),
    /// That which the connector has.
    Unchanged,
    /// That of the operator's own pod.
    Operator,
}

/// Why no identity could be chosen, or no secret read.
#[derive(Debug, thiserror::Error)]
pub(super) enum IdentityError {
    #[error("there is a client secret and no --service-principal that it belongs to")]
    SecretOfNobody,
    #[error("--managed-identity {0:?} is neither a GUID nor `system`")]
    NotAnIdentity(String),
    #[error("cannot read the client secret from {0}: {1}")]
    Unreadable(String, std::io::Error),
    #[error("the client secret of {0} is empty")]
    Empty(String),
    #[error(
        "service principal {0} needs its secret: set AZURE_CLIENT_SECRET, or give --client-secret-file FILE (`-` is standard input)"
    )]
    NoSecret(String),
}

/// What the flags ask for, else the environment, else the connector as it is, else the cluster.
pub(super) fn choose(
    args: &IdentityArgs,
    environment: &Environment,
    cluster: Option<&ManagedCluster>,
    exists: bool,
) -> Result<Choice, IdentityError> {
    let of_cluster = cluster.and_then(ManagedCluster::service_principal);
    let secret_given = args.client_secret.is_some() || args.client_secret_file.is_some();
    if let Some(client) = &args.service_principal {
        return Ok(Choice::ServicePrincipal(client.clone()));
    }
    let other = [
        &args.workload_identity,
        &args.managed_identity,
        &args.credentials_secret,
    ];
    if secret_given && other.iter().any(|flag| flag.is_some()) {
        return Err(IdentityError::SecretOfNobody);
    }
    if let Some(client) = &args.workload_identity {
        return Ok(Choice::Workload(client.clone()));
    }
    if let Some(name) = &args.credentials_secret {
        return Ok(Choice::Secret(name.clone()));
    }
    if let Some(identity) = &args.managed_identity {
        return match identity.as_str() {
            "system" => Ok(Choice::Managed(None)),
            id if is_guid(id) => Ok(Choice::Managed(Some(id.to_owned()))),
            _ => Err(IdentityError::NotAnIdentity(identity.clone())),
        };
    }
    // Many machines have AZURE_CLIENT_ID for something else: by itself it says nothing.
    if let Some(client) = &environment.client_id
        && (secret_given || environment.client_secret.is_some())
    {
        return Ok(Choice::ServicePrincipal(client.clone()));
    }
    if secret_given {
        let client = of_cluster.ok_or(IdentityError::SecretOfNobody)?;
        return Ok(Choice::ServicePrincipal(client.to_owned()));
    }
    if exists {
        return Ok(Choice::Unchanged);
    }
    if let Some(client) = of_cluster {
        return Ok(Choice::ServicePrincipal(client.to_owned()));
    }
    let kubelet = cluster.and_then(ManagedCluster::kubelet_identity);
    Ok(kubelet.map_or(Choice::Operator, |client| {
        Choice::Managed(Some(client.to_owned()))
    }))
}

/// The secret of the service principal: from the flag, the file, the environment, or whoever sits there.
pub(super) fn secret(
    client: &str,
    args: &IdentityArgs,
    environment: &Environment,
) -> Result<SecretText, IdentityError> {
    let (from, secret) = if let Some(secret) = &args.client_secret {
        (
            "--client-secret".to_owned(),
            SecretText::new(secret.clone()),
        )
    } else if let Some(file) = &args.client_secret_file {
        let name = file.display().to_string();
        let text = read(file).map_err(|error| IdentityError::Unreadable(name.clone(), error))?;
        (name, text)
    } else if let Some(secret) = &environment.client_secret {
        (secret_keys::CLIENT_SECRET.to_owned(), secret.clone())
    } else if std::io::stdin().is_terminal() {
        let text = rpassword::prompt_password(format!("Secret of service principal {client}: "))
            .map_err(|error| IdentityError::Unreadable("the terminal".to_owned(), error))?;
        ("the terminal".to_owned(), SecretText::new(text))
    } else {
        return Err(IdentityError::NoSecret(client.to_owned()));
    };
    // A line end is the file's or the terminal's.
    let secret = SecretText::new(secret.expose().trim().to_owned());
    if secret.expose().is_empty() {
        return Err(IdentityError::Empty(from));
    }
    Ok(secret)
}

fn read(file: &Path) -> std::io::Result<SecretText> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin()
            .take(MAX_SECRET)
            .read_to_string(&mut text)?;
    } else {
        std::fs::File::open(file)?
            .take(MAX_SECRET)
            .read_to_string(&mut text)?;
    }
    Ok(SecretText::new(text))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use clap::Parser;
    use serde_json::json;

    use super::*;

    const A: &str = "aaaaaaaa-1111-1111-1111-111111111111";
    const B: &str = "bbbbbbbb-1111-1111-1111-111111111111";

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: IdentityArgs,
    }

    fn args(line: &str) -> IdentityArgs {
        let words = ["x"].into_iter().chain(line.split_whitespace());
        Line::parse_from(words).args
    }

    fn environment(client: bool, secret: bool) -> Environment {
        Environment::read(|name| match name {
            secret_keys::CLIENT_ID => client.then(|| B.to_owned()),
            secret_keys::CLIENT_SECRET => secret.then(|| "s".to_owned()),
            _ => None,
        })
    }

    fn cluster(properties: &serde_json::Value) -> ManagedCluster {
        serde_json::from_value(json!({"properties": properties})).unwrap()
    }

    #[test]
    fn flags_then_environment_then_what_is_there_then_the_cluster() {
        let msi = cluster(
            &json!({"servicePrincipalProfile": {"clientId": "msi"}, "identityProfile": {"kubeletidentity": {"clientId": "k"}}}),
        );
        let old = cluster(&json!({"servicePrincipalProfile": {"clientId": "old"}}));
        let (msi, old) = (Some(&msi), Some(&old));
        let principal = |id: &str| Choice::ServicePrincipal(id.to_owned());
        let (workload, secret) = (
            Choice::Workload(A.to_owned()),
            Choice::Secret("c".to_owned()),
        );
        let (both, client, value, none) = (
            environment(true, true),
            environment(true, false),
            environment(false, true),
            environment(false, false),
        );
        let flag = |name: &str| format!("--{name} {A}");
        for (line, environment, cluster, exists, wanted) in [
            (flag("service-principal"), &both, msi, true, principal(A)),
            (flag("workload-identity"), &both, None, false, workload),
            (
                "--managed-identity system".to_owned(),
                &both,
                None,
                false,
                Choice::Managed(None),
            ),
            (
                "--credentials-secret c".to_owned(),
                &both,
                None,
                true,
                secret,
            ),
            (String::new(), &both, msi, true, principal(B)),
            (
                "--client-secret x".to_owned(),
                &client,
                None,
                false,
                principal(B),
            ),
            (
                "--client-secret x".to_owned(),
                &none,
                old,
                false,
                principal("old"),
            ),
            // A client ID alone says nothing.
            (String::new(), &client, None, false, Choice::Operator),
            (String::new(), &client, msi, true, Choice::Unchanged),
            (
                String::new(),
                &value,
                msi,
                false,
                Choice::Managed(Some("k".to_owned())),
            ),
            (String::new(), &none, old, false, principal("old")),
            (String::new(), &none, None, false, Choice::Operator),
        ] {
            let choice = choose(&args(&line), environment, cluster, exists).unwrap();
            assert_eq!(choice, wanted, "{line} {environment:?} {exists}");
        }
    }

    #[test]
    fn what_fits_nobody() {
        let none = environment(false, false);
        let refused = |line: &str| choose(&args(line), &none, None, true).unwrap_err();
        for line in [
            "--client-secret x".to_owned(),
            format!("--client-secret x --workload-identity {A}"),
        ] {
            assert!(
                matches!(refused(&line), IdentityError::SecretOfNobody),
                "{line}"
            );
        }
        assert!(matches!(
            refused("--managed-identity x"),
            IdentityError::NotAnIdentity(_)
        ));
    }

    #[test]
    fn a_secret_from_flag_file_and_environment() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"from file\n").unwrap();
        let given = |flag: Option<&str>, path: Option<&Path>| IdentityArgs {
            client_secret: flag.map(ToOwned::to_owned),
            client_secret_file: path.map(ToOwned::to_owned),
            ..IdentityArgs::default()
        };
        let environment = environment(false, true);
        for (args, wanted) in [
            (given(Some("flag"), None), "flag"),
            (given(None, Some(file.path())), "from file"),
            (given(None, None), "s"),
        ] {
            assert_eq!(secret(A, &args, &environment).unwrap().expose(), wanted);
        }
        let empty = tempfile::NamedTempFile::new().unwrap();
        let error = secret(A, &given(None, Some(empty.path())), &environment).unwrap_err();
        assert!(matches!(error, IdentityError::Empty(_)), "{error}");
        let missing = Path::new("/no/such/file");
        let error = secret(A, &given(None, Some(missing)), &environment).unwrap_err();
        assert!(error.to_string().contains("/no/such/file"), "{error}");
    }
}
