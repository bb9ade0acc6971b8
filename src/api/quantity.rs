//! Kubernetes resource quantities: `2`, `500m`, `1.5Gi`, `1e3`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, de};

/// The value of a quantity as Kubernetes writes it (`k8s.io/apimachinery` `resource.Quantity`): a decimal number with
/// a binary (`Ki`..`Ei`) or decimal (`n`, `u`, `m`, `k`..`E`) suffix, or an exponent.
///
/// Returns `None` for text that is no quantity. Precision is that of an `f64`, enough for capacities.
pub fn parse_quantity(text: &str) -> Option<f64> {
    let number_end = text
        .find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(number_end);
    // `parse` would also take "inf", "1_0" or "": only digits and one dot are a number here.
    if !number.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let number: f64 = number.parse().ok()?;
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 2f64.powi(10),
        "Mi" => 2f64.powi(20),
        "Gi" => 2f64.powi(30),
        "Ti" => 2f64.powi(40),
        "Pi" => 2f64.powi(50),
        "Ei" => 2f64.powi(60),
        exponent => {
            let digits = exponent.strip_prefix(['e', 'E'])?;
            10f64.powi(digits.parse().ok()?)
        }
    };
    let value = number * factor;
    value.is_finite().then_some(value)
}

/// Reads a map of quantities whose values are strings or, as YAML writers like, plain integers.
pub(super) fn map<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    struct Quantities;
    impl<'de> Visitor<'de> for Quantities {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
            formatter.write_str("a map of quantities")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, Text(value))) = access.next_entry::<String, Text>()? {
                map.insert(key, value);
            }
            Ok(map)
        }
    }
    deserializer.deserialize_map(Quantities)
}

/// A string, or an integer as its text.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl Visitor<'_> for TextVisitor {
            type Value = Text;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("a quantity: a string or an integer")
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Text, E> {
                Ok(Text(value.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_as_kubernetes_reads_them() {
        let cases: &[(&str, Option<f64>)] = &[
            ("2", Some(2.0)),
            ("+2", Some(2.0)),
            ("-2", Some(-2.0)),
            ("0.5", Some(0.5)),
            (".5", Some(0.5)),
            ("2.", Some(2.0)),
            ("500m", Some(0.5)),
            ("100n", Some(1e-7)),
            ("1k", Some(1000.0)),
            ("1Ki", Some(1024.0)),
            ("1.5Gi", Some(1_610_612_736.0)),
            ("400Gi", Some(429_496_729_600.0)),
            ("1e3", Some(1000.0)),
            ("1E3", Some(1000.0)),
            ("1E", Some(1e18)),
            ("12e-1", Some(1.2)),
            ("", None),
            (".", None),
            ("Gi", None),
            ("1gi", None),
            ("1K", None),
            ("1 Gi", None),
            ("1-2", None),
            ("1.2.3", None),
            ("inf", None),
            ("1e999", None),
        ];
        for (text, expected) in cases {
            match (parse_quantity(text), expected) {
                (Some(value), Some(expected)) => {
                    assert!(
                        (value - expected).abs() <= expected.abs() * 1e-12,
                        "{text:?}: {value}"
                    );
                }
                (value, expected) => assert_eq!(value, *expected, "{text:?}"),
            }
        }
    }
}
