//! What a principal may do on a scope, as ARM tells it ("Permissions - List For Resource Group"). PURE.

use serde::{Deserialize, Serialize};

use super::model::null_as_default;

/// What one role assignment permits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Permission {
    /// Actions it permits; `*` stands for any text.
    #[serde(default, deserialize_with = "null_as_default")]
    pub actions: Vec<String>,
    /// Those among them that it does not.
    #[serde(default, deserialize_with = "null_as_default")]
    pub not_actions: Vec<String>,
}

impl Permission {
    /// Whether it permits `action`. Actions are compared without regard to case.
    pub fn permits(&self, action: &str) -> bool {
        let among = |patterns: &[String]| patterns.iter().any(|pattern| covers(pattern, action));
        among(&self.actions) && !among(&self.not_actions)
    }
}

/// Whether `action` is what `pattern` stands for.
fn covers(pattern: &str, action: &str) -> bool {
    let (pattern, action) = (pattern.to_ascii_lowercase(), action.to_ascii_lowercase());
    let mut parts = pattern.split('*');
    let Some(mut rest) = action.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_and_their_patterns() {
        let write = "Microsoft.ContainerInstance/containerGroups/write";
        for (pattern, covered) in [
            ("*", true),
            (write, true),
            ("microsoft.containerinstance/containergroups/WRITE", true),
            ("Microsoft.ContainerInstance/*", true),
            ("Microsoft.ContainerInstance/containerGroups/*", true),
            ("*/write", true),
            ("Microsoft.*/containerGroups/*", true),
            ("*/read", false),
            ("Microsoft.ContainerInstance/containerGroups", false),
            ("Microsoft.ContainerInstance/containerGroups/write/*", false),
            ("Microsoft.Network/*", false),
            ("*/containerGroups/*/write", false),
            ("", false),
        ] {
            assert_eq!(covers(pattern, write), covered, "{pattern}");
        }
        let permission = |actions: &[&str], not_actions: &[&str]| Permission {
            actions: actions.iter().map(|it| (*it).to_owned()).collect(),
            not_actions: not_actions.iter().map(|it| (*it).to_owned()).collect(),
        };
        assert!(permission(&["*"], &["Microsoft.Authorization/*"]).permits(write));
        assert!(!permission(&["*"], &["*/write"]).permits(write));
        assert!(!permission(&[], &[]).permits(write));
    }
}
