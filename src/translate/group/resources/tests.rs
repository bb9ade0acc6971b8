use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use proptest::prelude::*;

use super::{Amounts, Ceiling, nano, need, size, steps};
use crate::api::Os;
use crate::azure::model::Resources;
use crate::translate::Resolved;
use crate::translate::group::review::Review;
use crate::translate::testing::defaults;

#[test]
fn quantities_are_read_exactly() {
    let table = [
        ("0", Some(0)),
        ("1", Some(1_000_000_000)),
        ("+1", Some(1_000_000_000)),
        ("0.1", Some(100_000_000)),
        (".5", Some(500_000_000)),
        ("5.", Some(5_000_000_000)),
        ("100m", Some(100_000_000)),
        ("1n", Some(1)),
        ("0.1n", Some(1)),
        ("1u", Some(1_000)),
        ("1k", Some(1_000_000_000_000)),
        ("1e3", Some(1_000_000_000_000)),
        ("1E3", Some(1_000_000_000_000)),
        ("12e-1", Some(1_200_000_000)),
        ("1E", Some(1_000_000_000_000_000_000_000_000_000)),
        ("1Ki", Some(1_024_000_000_000)),
        ("1.5Gi", Some(1_610_612_736_000_000_000)),
        ("", None),
        ("-1", None),
        (".", None),
        ("1.2.3", None),
        ("1x", None),
        ("lots", None),
        ("1e", None),
        ("1e99", None),
        ("99999999999999999999999999999999999999999", None),
        ("1 ", None),
    ];
    for (text, expected) in table {
        assert_eq!(nano(text), expected, "{text:?}");
    }
}

#[test]
fn defaults_have_no_decimal_dust() {
    for (value, per, expected) in [
        (1.0, 100.0, 100),
        (0.29, 100.0, 29),
        (2.3, 10.0, 23),
        (1.001, 100.0, 101),
        (0.0, 10.0, 1),
    ] {
        assert_eq!(steps(value, per), expected, "{value}");
    }
    assert_eq!(steps(f64::NAN, 10.0), 1);
}

fn requirements(limits: &[(&str, &str)], requests: &[(&str, &str)]) -> ResourceRequirements {
    let map = |list: &[(&str, &str)]| {
        let entries = list
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Quantity((*value).to_owned())));
        Some(entries.collect::<BTreeMap<_, _>>())
    };
    ResourceRequirements {
        claims: None,
        limits: map(limits),
        requests: map(requests),
    }
}

/// The resources as JSON text, so that what goes over the wire is what is compared.
fn sized(containers: &[ResourceRequirements]) -> Result<Vec<String>, String> {
    let resolved = Resolved::default();
    let mut review = Review::new(Os::Linux, &resolved);
    let defaults = defaults(Os::Linux);
    let needs: Vec<_> = containers
        .iter()
        .enumerate()
        .map(|(n, it)| need(Some(it), n, &defaults, &mut review))
        .collect();
    let sized: Vec<Resources> = size(&needs, Amounts::default(), Ceiling::STANDARD, &mut review);
    review.finish().map_err(|refusals| refusals.to_string())?;
    Ok(sized
        .iter()
        .map(|resources| serde_json::to_string(resources).unwrap())
        .collect())
}

#[test]
fn one_container_asks_for_its_limit_rounded_up_and_is_padded_to_the_least_group() {
    let table = [
        (
            requirements(&[], &[]),
            r#"{"requests":{"cpu":1.0,"memoryInGB":1.5}}"#,
        ),
        (
            requirements(&[("cpu", "2"), ("memory", "4Gi")], &[("cpu", "1")]),
            r#"{"requests":{"cpu":2.0,"memoryInGB":4.3}}"#,
        ),
        (
            requirements(&[], &[("cpu", "1999m"), ("memory", "1Gi")]),
            r#"{"requests":{"cpu":2.0,"memoryInGB":1.1}}"#,
        ),
        (
            requirements(&[], &[("cpu", "1.981"), ("memory", "3.97Gi")]),
            r#"{"requests":{"cpu":1.99,"memoryInGB":4.3}}"#,
        ),
        (
            requirements(&[("cpu", "250m"), ("memory", "128Mi")], &[]),
            r#"{"requests":{"cpu":1.0,"memoryInGB":1.0}}"#,
        ),
        (
            requirements(&[("cpu", "0"), ("memory", "0")], &[]),
            r#"{"requests":{"cpu":1.0,"memoryInGB":1.0}}"#,
        ),
        (
            requirements(&[("memory", "2.3G")], &[("cpu", "2300m")]),
            r#"{"requests":{"cpu":2.3,"memoryInGB":2.3}}"#,
        ),
    ];
    for (requirements, expected) in table {
        assert_eq!(
            sized(std::slice::from_ref(&requirements)),
            Ok(vec![expected.to_owned()]),
            "{requirements:?}"
        );
    }
}

#[test]
fn several_containers_may_burst_into_the_group_unless_the_pod_bounds_them() {
    let bounded = requirements(
        &[("cpu", "2"), ("memory", "2G")],
        &[("cpu", "1"), ("memory", "1G")],
    );
    let free = requirements(&[], &[("cpu", "500m"), ("memory", "500M")]);
    let expected = [
        r#"{"requests":{"cpu":2.0,"memoryInGB":2.0},"limits":{"cpu":2.0,"memoryInGB":2.0}}"#,
        r#"{"requests":{"cpu":0.5,"memoryInGB":0.5},"limits":{"cpu":2.5,"memoryInGB":2.5}}"#,
    ];
    assert_eq!(
        sized(&[bounded, free]),
        Ok(expected.map(str::to_owned).to_vec())
    );
    let tiny = requirements(&[("cpu", "10m"), ("memory", "1M")], &[]);
    let expected = [
        r#"{"requests":{"cpu":0.99,"memoryInGB":0.9},"limits":{"cpu":0.99,"memoryInGB":0.9}}"#,
        r#"{"requests":{"cpu":0.01,"memoryInGB":0.1},"limits":{"cpu":0.01,"memoryInGB":0.1}}"#,
    ];
    assert_eq!(
        sized(&[tiny.clone(), tiny]),
        Ok(expected.map(str::to_owned).to_vec())
    );
}

#[test]
fn too_large_a_group_says_what_it_asked_for() {
    let half = requirements(&[("cpu", "16"), ("memory", "100G")], &[]);
    let why = sized(&[half.clone(), half]).unwrap_err();
    assert_eq!(
        why,
        "spec.containers: the containers ask for 32 cores and 200 GB together; a container group has at most 31 cores and 240 GB"
    );
}

proptest! {
    #[test]
    fn what_is_asked_for_is_given_and_little_more(milli in 1_u64..30_000, mega in 1_u64..200_000) {
        let container = requirements(&[("cpu", &format!("{milli}m")), ("memory", &format!("{mega}M"))], &[]);
        let resolved = Resolved::default();
let mut review = Review::new(Os::Linux, &resolved);
        let needs = [need(Some(&container), 0, &defaults(Os::Linux), &mut review)];
        let sized = size(&needs, Amounts::default(), Ceiling::STANDARD, &mut review);
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let (cpu, memory) = (milli as f64 / 1000.0, mega as f64 / 1000.0);
        let got = sized[0].requests;
        prop_assert!(got.cpu >= cpu - 1e-9 && (got.cpu < cpu + 0.01 || got.cpu <= 1.0));
        prop_assert!(got.memory_in_gb >= memory - 1e-9 && (got.memory_in_gb < memory + 0.1 || got.memory_in_gb <= 1.0));
        let text = serde_json::to_string(&sized[0]).unwrap();
        prop_assert!(text.len() <= r#"{"requests":{"cpu":30.00,"memoryInGB":200.0}}"#.len(), "{}", text);
    }

    #[test]
    fn no_text_makes_a_quantity_panic(text in "[-+.0-9eEkMGiKnumTP]{0,50}|\\PC*") {
        nano(&text);
    }
}
