//! Which credential may be shown to which cloud. PURE.
//!
//! Whoever may write a connector chooses its endpoints. So the credentials that were given to the operator, not to that person, go
//! only to Azure's own clouds and to hosts that the operator's flags name; and those of a Secret also to hosts that the
//! Secret itself names, and to loopback addresses: in the operator's pod nobody else can listen there. Otherwise a connector
//! could send any of them anywhere.

use std::net::{IpAddr, SocketAddr};

use super::identity::Origin;
use super::validate::Problem;
use crate::api::conditions::reason;
use crate::azure::Endpoints;

/// Hosts outside of Azure's own clouds that may be shown credentials, as `--allowed-authority` names them: `host`,
/// `host:port`, or an audience that is no URL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedAuthorities(Vec<String>);

impl AllowedAuthorities {
    /// In any case, with or without `https://`.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().map(|name| bare(&name)).collect())
    }

    fn name(&self, address: &str) -> bool {
        let address = bare(address);
        let authority = address.split('/').next().unwrap_or_default();
        // Without its port; an IPv6 address has colons in its brackets.
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => authority,
        };
        let same = |name: &String| {
            [address.as_str(), authority, host]
                .iter()
                .any(|it| !it.is_empty() && it.eq_ignore_ascii_case(name))
        };
        self.0.iter().any(same)
    }
}

/// Whether an address is on this machine. Names are not: what they resolve to is somebody's choice.
fn is_loopback(address: &str) -> bool {
    let address = bare(address);
    let authority = address.split('/').next().unwrap_or_default();
    let ip = match authority.parse::<SocketAddr>() {
        Ok(socket) => Some(socket.ip()),
        Err(_) => authority.trim_matches(['[', ']']).parse().ok(),
    };
    ip.is_some_and(|ip: IpAddr| ip.is_loopback())
}

/// An address or a name in one spelling.
fn bare(text: &str) -> String {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_prefix("https://").unwrap_or(&text);
    text.trim_end_matches('/').to_owned()
}

fn is_same(a: &str, b: &str) -> bool {
    bare(a) == bare(b)
}

/// What may not be shown to the cloud of `endpoints`, if anything; `who` and `source` are for the message.
///
/// # Errors
/// [`reason::AUTHORITY_NOT_ALLOWED`], with what to do.
pub(super) fn check(
    endpoints: &Endpoints,
    origin: &Origin,
    allowed: &AllowedAuthorities,
    who: &str,
    source: &str,
) -> Result<(), Problem> {
    let azure = [
        Endpoints::public(),
        Endpoints::us_government(),
        Endpoints::china(),
    ];
    let (authority, manager) = (&endpoints.authority_host, &endpoints.resource_manager);
    let audience = endpoints.scope.trim_end_matches("/.default");
    // With a CA of its own even Azure's names may stand for somebody else.
    let public = endpoints.ca_bundle_pem.is_none();
    let issues = |it: &Endpoints| public && is_same(&it.authority_host, authority);
    let is_azure = |it: &Endpoints| {
        issues(it) && is_same(&it.resource_manager, manager) && it.scope == endpoints.scope
    };
    if azure.iter().any(is_azure) {
        return Ok(());
    }
    let azure_issues = azure.iter().any(issues);
    let flag = "have --allowed-authority of the operator name it";
    match origin {
        Origin::Operator => {
            let asked = [
                ("authorityHost", authority.as_str(), azure_issues),
                ("resourceManagerEndpoint", manager, false),
                ("audience", audience, false),
            ];
            for (field, address, azure) in asked {
                if !azure && !allowed.name(address) {
                    return Err(refused(who, field, address, flag));
                }
            }
        }
        Origin::Secret(named) => {
            let says = |name: &Option<String>, address: &str| {
                name.as_ref().is_some_and(|name| is_same(name, address))
            };
            let cure = |key: &str| format!("name it in {source} under key {key}, or {flag}");
            let here = is_loopback(authority);
            if !azure_issues
                && !here
                && !allowed.name(authority)
                && !says(&named.authority, authority)
            {
                let cure = cure("AZURE_AUTHORITY_HOST");
                return Err(refused(who, "authorityHost", authority, &cure));
            }
            // A token for this very address is worth nothing anywhere else.
            let own_audience = is_same(audience, manager);
            let listed = allowed.name(manager) && allowed.name(audience);
            let here = is_loopback(manager);
            if !own_audience && !here && !listed && !says(&named.resource_manager, manager) {
                let cure = cure("AZURE_RESOURCE_MANAGER_ENDPOINT");
                return Err(refused(who, "resourceManagerEndpoint", manager, &cure));
            }
        }
    }
    Ok(())
}

fn refused(who: &str, field: &str, address: &str, cure: &str) -> Problem {
    Problem::credentials(
        reason::AUTHORITY_NOT_ALLOWED,
        format!(
            "the {who} is not shown to spec.customCloud.{field} {address}, which is not one of Azure's own clouds; if that host is to have it, {cure}"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::super::identity::NamedBySecret;
    use super::*;

    const PUBLIC: &str = "https://login.microsoftonline.com";

    fn custom(manager: &str, authority: &str, audience: Option<&str>) -> Endpoints {
        Endpoints::custom(manager, authority, audience, None).unwrap()
    }

    fn allowed(names: &[&str]) -> AllowedAuthorities {
        AllowedAuthorities::new(names.iter().map(|name| (*name).to_owned()))
    }

    fn secret(authority: Option<&str>, manager: Option<&str>) -> Origin {
        Origin::Secret(NamedBySecret {
            authority: authority.map(str::to_owned),
            resource_manager: manager.map(str::to_owned),
        })
    }

    /// The field that is refused.
    fn refused(
        endpoints: &Endpoints,
        origin: &Origin,
        allowed: &AllowedAuthorities,
    ) -> Option<String> {
        let problem = check(endpoints, origin, allowed, "identity x", "Secret ns/s").err()?;
        assert_eq!(
            (problem.reason, problem.stalled),
            (reason::AUTHORITY_NOT_ALLOWED, true)
        );
        assert!(problem.message.contains("--allowed-authority"));
        let (_, rest) = problem.message.split_once("spec.customCloud.").unwrap();
        Some(rest.split(' ').next().unwrap().to_owned())
    }

    #[test]
    fn azures_own_clouds_get_every_credential() {
        for endpoints in [
            Endpoints::public(),
            Endpoints::us_government(),
            Endpoints::china(),
            custom("https://management.azure.com/", &format!("{PUBLIC}/"), None),
        ] {
            for origin in [Origin::Operator, secret(None, None)] {
                assert_eq!(refused(&endpoints, &origin, &allowed(&[])), None);
            }
        }
    }

    #[test]
    fn what_is_the_operators_goes_to_no_host_that_its_flags_do_not_name() {
        let stack = custom(
            "https://arm.stack.local",
            "https://adfs.stack.local:444",
            None,
        );
        for (names, field) in [
            (&[][..], Some("authorityHost")),
            (&["adfs.stack.local"], Some("resourceManagerEndpoint")),
            (&["arm.stack.local"], Some("authorityHost")),
            (
                &["adfs.stack.local:445", "arm.stack.local"],
                Some("authorityHost"),
            ),
            (&["stack.local"], Some("authorityHost")),
            (&["adfs.stack.local:444", "https://ARM.stack.local/"], None),
        ] {
            let found = refused(&stack, &Origin::Operator, &allowed(names));
            assert_eq!(found.as_deref(), field, "{names:?}");
        }
        // The token of the real cloud, or of anything else in it, to somebody else's server.
        for audience in [
            "https://management.azure.com",
            "https://graph.microsoft.com",
            "api://a",
        ] {
            let thief = custom("https://arm.stack.local", PUBLIC, Some(audience));
            let names = ["arm.stack.local"];
            let found = refused(&thief, &Origin::Operator, &allowed(&names));
            assert_eq!(found.as_deref(), Some("audience"), "{audience}");
            let names = ["arm.stack.local", audience];
            assert_eq!(refused(&thief, &Origin::Operator, &allowed(&names)), None);
        }
        // Azure's own names behind a CA of somebody else's.
        let mut between = Endpoints::public();
        between.ca_bundle_pem = Some(Vec::new());
        assert_eq!(
            refused(&between, &Origin::Operator, &allowed(&[])).as_deref(),
            Some("authorityHost")
        );
        let mixed = custom("https://management.usgovcloudapi.net", PUBLIC, None);
        assert_eq!(
            refused(&mixed, &Origin::Operator, &allowed(&[])).as_deref(),
            Some("resourceManagerEndpoint")
        );
    }

    #[test]
    fn a_secret_goes_where_it_says_itself() {
        let url = "https://adfs.stack.local";
        let stack = custom("https://arm.stack.local", url, None);
        for (origin, names, field) in [
            (secret(None, None), &[][..], Some("authorityHost")),
            (secret(Some("https://adfs.stack.local/"), None), &[], None),
            (secret(Some("adfs.stack.local"), None), &[], None),
            (
                secret(Some("https://other"), None),
                &[],
                Some("authorityHost"),
            ),
            (secret(None, None), &["adfs.stack.local"], None),
        ] {
            let found = refused(&stack, &origin, &allowed(names));
            assert_eq!(found.as_deref(), field, "{origin:?} {names:?}");
        }
        // A token for something else than that server.
        let audience = Some("https://management.azure.com");
        let thief = custom("https://arm.thief.example", PUBLIC, audience);
        for (origin, field) in [
            (secret(None, None), Some("resourceManagerEndpoint")),
            (secret(Some(PUBLIC), None), Some("resourceManagerEndpoint")),
            (secret(None, Some("https://arm.thief.example")), None),
        ] {
            let found = refused(&thief, &origin, &allowed(&[]));
            assert_eq!(found.as_deref(), field, "{origin:?}");
        }
    }

    #[test]
    fn a_secret_may_stay_on_this_machine_and_what_is_the_operators_not() {
        for (host, here) in [
            ("https://127.0.0.1:4433", true),
            ("https://127.8.0.1", true),
            ("https://[::1]:4433", true),
            ("https://localhost:4433", false),
            ("https://127.0.0.1.example.com", false),
            ("https://10.0.0.1:4433", false),
        ] {
            let cloud = custom(host, host, None);
            let found = refused(&cloud, &secret(None, None), &allowed(&[]));
            assert_eq!(found.is_none(), here, "{host}");
            assert!(refused(&cloud, &Origin::Operator, &allowed(&[])).is_some());
        }
    }

    #[test]
    fn names_of_hosts() {
        let names = allowed(&["127.0.0.1", "[::1]", "Host:1", "6f8c1c5b-guid"]);
        for (address, named) in [
            ("https://127.0.0.1:4433", true),
            ("https://[::1]:4433/a", true),
            ("https://[::1]", true),
            ("https://host:1/", true),
            ("https://host:2", false),
            ("https://host", false),
            ("6f8c1c5b-guid", true),
            ("https://127.0.0.1.example.com", false),
            ("https://a.127.0.0.1", false),
            ("", false),
        ] {
            assert_eq!(names.name(address), named, "{address}");
        }
    }
}
