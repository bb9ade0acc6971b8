use super::*;

fn pem() -> String {
    rcgen::generate_simple_self_signed(vec!["ca.test".to_owned()])
        .unwrap()
        .cert
        .pem()
}

#[test]
fn addresses_are_normalised_and_the_audience_defaults_to_arm() {
    let scope = "https://arm.test/.default";
    for (arm, authority, audience, expected) in [
        ("https://arm.test/", "https://login.test//", None, scope),
        (" https://ARM.test ", "https://login.test", Some(""), scope),
        (
            "https://arm.test",
            "https://login.test/",
            Some("https://arm.test/"),
            scope,
        ),
        (
            "https://arm.test",
            "https://login.test/",
            Some("https://arm.test/.default"),
            scope,
        ),
        (
            "https://arm.test",
            "https://login.test/",
            Some("api://x"),
            "api://x/.default",
        ),
    ] {
        let endpoints = Endpoints::custom(arm, authority, audience, None).unwrap();
        assert_eq!(endpoints.resource_manager, "https://arm.test");
        assert_eq!(endpoints.authority_host, "https://login.test");
        assert_eq!(endpoints.scope, expected);
    }
    let endpoints = Endpoints::custom(
        "https://127.0.0.1:8443/arm/",
        "https://127.0.0.1:8443",
        None,
        None,
    )
    .unwrap();
    assert_eq!(endpoints.resource_manager, "https://127.0.0.1:8443/arm");
}

#[test]
fn unusable_addresses_are_refused_in_words() {
    let ok = "https://login.test";
    for (arm, authority, audience, word) in [
        ("http://arm.test", ok, None, "https://"),
        ("arm.test", ok, None, "not a URL"),
        ("", ok, None, "not a URL"),
        ("https://user:pw@arm.test", ok, None, "user name"),
        ("https://arm.test?x=1", ok, None, "query"),
        ("https://arm.test", "https://login.test/adfs", None, "path"),
        ("https://arm.test", "http://login.test", None, "https://"),
        ("https://arm.test", ok, Some("a b"), "white space"),
    ] {
        let error = Endpoints::custom(arm, authority, audience, None).unwrap_err();
        assert!(
            error.to_string().contains(word),
            "{arm} {authority}: {error}"
        );
        assert!(!error.to_string().contains("pw"), "{error}");
    }
}

#[test]
fn a_bundle_needs_one_readable_certificate() {
    let custom = |bundle: &str| {
        Endpoints::custom("https://arm.test", "https://login.test", None, Some(bundle))
    };
    let two = STANDARD.encode(format!("# the root\n{}{}", pem(), pem()));
    let wrapped: String = two
        .chars()
        .enumerate()
        .flat_map(|(i, c)| (i % 76 == 75).then_some('\n').into_iter().chain([c]))
        .collect();
    assert!(custom(&two).unwrap().ca_bundle_pem.is_some());
    assert_eq!(
        custom(&wrapped).unwrap().ca_bundle_pem,
        custom(&two).unwrap().ca_bundle_pem
    );

    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (bundle, word) in [
        (pem(), "not base64"),
        (STANDARD.encode("no PEM in here"), "no PEM certificate"),
        (String::new(), "no PEM certificate"),
        (STANDARD.encode(broken), "cannot be read"),
    ] {
        let error = custom(&bundle).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn the_named_clouds_ask_for_their_own_audience() {
    for endpoints in [
        Endpoints::public(),
        Endpoints::us_government(),
        Endpoints::china(),
    ] {
        assert_eq!(
            endpoints.scope,
            format!("{}/.default", endpoints.resource_manager)
        );
        assert!(endpoints.authority_host.starts_with("https://login."));
    }
}
