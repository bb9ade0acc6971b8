use super::*;
use base64::Engine as _;
use serde_json::json;

fn environment(given: &[(&str, &str)]) -> Environment {
    Environment::read(|name| {
        let found = given.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

const ALL: [(&str, &str); 5] = [
    (TENANT, "t"),
    (CLIENT, "c"),
    (SECRET, "hush\n"),
    (TOKEN_FILE, "/f"),
    (SUBSCRIPTION, "s"),
];

#[test]
fn the_operators_own_identity_is_chosen_from_its_environment() {
    let cases: [(&[&str], Result<&str, &str>); 9] = [
        (&[], Ok("workload identity c")),
        (&[SECRET], Ok("workload identity c")),
        (&[TOKEN_FILE], Ok("service principal c")),
        (&[TOKEN_FILE, SECRET], Ok("managed identity c")),
        (
            &[TOKEN_FILE, SECRET, CLIENT, TENANT],
            Ok("system-assigned managed identity"),
        ),
        (
            &[CLIENT],
            Err("has AZURE_FEDERATED_TOKEN_FILE and no AZURE_CLIENT_ID"),
        ),
        (
            &[TENANT],
            Err("has AZURE_FEDERATED_TOKEN_FILE and no AZURE_TENANT_ID"),
        ),
        (
            &[TOKEN_FILE, CLIENT],
            Err("has AZURE_CLIENT_SECRET and no AZURE_CLIENT_ID"),
        ),
        (
            &[TOKEN_FILE, TENANT],
            Err("has AZURE_CLIENT_SECRET and no AZURE_TENANT_ID"),
        ),
    ];
    for (without, wanted) in cases {
        // An empty variable is a missing one.
        let given = ALL.map(|(key, value)| (key, if without.contains(&key) { " " } else { value }));
        let environment = environment(&given);
        assert!(!format!("{environment:?}").contains("hush"));
        match (own(&environment), wanted) {
            (Ok(chosen), Ok(who)) => {
                assert_eq!((chosen.who.as_str(), chosen.source.as_str()), (who, OWN));
                assert_eq!(chosen.subscription.as_deref(), Some("s"));
                assert!(!format!("{chosen:?}").contains("hush"));
            }
            (Err(problem), Err(text)) => {
                assert_eq!(problem.reason, reason::IDENTITY_MISSING);
                assert!(problem.message.contains(text), "{}", problem.message);
            }
            (got, wanted) => panic!("without {without:?}: {got:?}, not {wanted:?}"),
        }
    }
}

#[test]
fn what_the_spec_names_is_what_is_used() {
    let credentials = |value| serde_json::from_value::<Credentials>(value).unwrap();
    let workload =
        credentials(json!({"type": "WorkloadIdentity", "clientID": "w", "tenantID": "x"}));
    let chosen = named(&workload, &environment(&ALL)).unwrap();
    let wanted = Credential::WorkloadIdentity {
        tenant_id: "x".to_owned(),
        client_id: "w".to_owned(),
        token_file: PathBuf::from("/f"),
    };
    assert_eq!(chosen.credential, wanted);
    assert_eq!(chosen.status.type_.as_deref(), Some("WorkloadIdentity"));
    assert_eq!(chosen.status.tenant_id.as_deref(), Some("x"));
    // A secret in the environment is nobody's substitute for the token.
    let problem = named(&workload, &environment(&[(SECRET, "hush")])).unwrap_err();
    assert_eq!(problem.reason, reason::IDENTITY_MISSING);
    assert!(problem.message.contains("azure.workload.identity/use"));

    for (spec, who, client_id) in [
        (
            json!({"type": "ManagedIdentity"}),
            "system-assigned managed identity",
            None,
        ),
        (
            json!({"type": "ManagedIdentity", "clientID": "m"}),
            "managed identity m",
            Some("m"),
        ),
    ] {
        let chosen = named(&credentials(spec), &environment(&ALL)).unwrap();
        let client_id = client_id.map(str::to_owned);
        assert_eq!(chosen.who, who);
        assert_eq!(chosen.status.client_id, client_id);
        let metadata = MetadataHost::default();
        assert_eq!(
            chosen.credential,
            Credential::ManagedIdentity {
                client_id,
                metadata
            }
        );
    }
}

#[test]
fn a_certificate_stands_in_for_a_secret() {
    const PEM: &str = include_str!("../../azure/credential/certificate/good.pem");
    let spec: Credentials = serde_json::from_value(json!({
        "type": "ServicePrincipal", "clientID": "c", "tenantID": "t", "secretRef": {"name": "sp"},
    }))
    .unwrap();
    let read = |data: &[(&str, &[u8])]| {
        let data = data.iter();
        let secret = Secret {
            data: Some(
                data.map(|(key, value)| {
                    ((*key).to_owned(), k8s_openapi::ByteString(value.to_vec()))
                })
                .collect(),
            ),
            ..Secret::default()
        };
        service_principal(&spec, &secret, "Secret ns/sp".to_owned())
    };
    let chosen = read(&[(CERTIFICATE, PEM.as_bytes())]).unwrap();
    let Credential::ServicePrincipalCertificate { pem, .. } = &chosen.credential else {
        panic!("{chosen:?}");
    };
    assert_eq!(pem.expose(), PEM);
    assert!(chosen.expires.is_some() && !format!("{chosen:?}").contains("BEGIN"));

    let both = read(&[(CERTIFICATE, PEM.as_bytes()), (SECRET, b"hush")]).unwrap();
    assert!(matches!(
        both.credential,
        Credential::ServicePrincipalSecret { .. }
    ));

    let pfx = include_bytes!("../../azure/credential/pkcs12/legacy.p12").as_slice();
    let base64 = base64::engine::general_purpose::STANDARD.encode(pfx) + "\n";
    for file in [pfx, base64.as_bytes()] {
        let opened = read(&[(CERTIFICATE, file), (PASSWORD, b"legacy\n")]).unwrap();
        assert_eq!(opened.expires, chosen.expires);
        assert!(!format!("{opened:?}").contains("BEGIN"));
    }

    for (value, text) in [
        (
            &b"\x30\x82\x0a\xff"[..],
            "key AZURE_CLIENT_CERTIFICATE of Secret ns/sp is neither PEM nor PKCS#12",
        ),
        (
            &b"MIIK\n"[..],
            "key AZURE_CLIENT_CERTIFICATE of Secret ns/sp is neither PEM nor PKCS#12",
        ),
        (
            pfx,
            "does not open with the password under key AZURE_CLIENT_CERTIFICATE_PASSWORD",
        ),
        (
            &b" \n"[..],
            "or a certificate with its key, in PEM or PKCS#12",
        ),
    ] {
        let problem = read(&[(CERTIFICATE, value)]).unwrap_err();
        assert_eq!(problem.reason, reason::SECRET_INVALID);
        assert!(problem.message.contains(text), "{}", problem.message);
    }
}

#[test]
fn the_metadata_service_may_be_elsewhere_on_this_machine() {
    let metadata = |address: &str| {
        let given = environment(&[(METADATA, address)]);
        own(&given).map(|chosen| chosen.credential)
    };
    let Ok(Credential::ManagedIdentity { metadata: host, .. }) = metadata("http://127.0.0.1:9/")
    else {
        panic!("no managed identity");
    };
    assert_eq!(host.to_string(), "127.0.0.1:9");
    let problem = metadata("http://example.com").unwrap_err();
    assert_eq!(problem.reason, reason::IDENTITY_MISSING);
    assert!(
        problem.message.contains(
            "AZURE_POD_IDENTITY_AUTHORITY_HOST in the operator's environment must be http://"
        ),
        "{}",
        problem.message
    );
}
