//! What of an error's text is for people with rights on one namespace: no subscription, resource group, principal or address.
//! PURE.

/// Between words that may be an address or an ID.
const EDGES: &[char] = &[
    ' ', '\'', '"', '`', '(', ')', '[', ']', '{', '}', '<', '>', ',', ';',
];
const GROUP: &str = "resource group";

/// `text` without what tells about the subscription: addresses, scopes, IDs and the name of the resource group.
pub(super) fn discreet(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive(EDGES) {
        let word = piece.trim_end_matches(EDGES);
        // A sentence's end is not the word's.
        let bare = word.trim_end_matches(['.', ':']);
        out.push_str(&of_word(bare));
        out.push_str(piece.get(bare.len()..).unwrap_or_default());
    }
    without_groups(&out)
}

fn of_word(word: &str) -> String {
    if word.contains("://") {
        return "[address]".to_owned();
    }
    let lower = word.to_ascii_lowercase();
    let Some(scope) = lower.find("/subscriptions/") else {
        return without_ids(word);
    };
    let before = word.get(..scope).unwrap_or_default();
    // What kind of thing it is, and its own name: a lock, a policy.
    let tail = lower
        .rfind("/providers/")
        .map(|at| at + "/providers/".len());
    let tail = tail.and_then(|at| word.get(at..)).unwrap_or("[scope]");
    without_ids(&format!("{before}{tail}"))
}

/// GUIDs become `[ID]`.
fn without_ids(word: &str) -> String {
    const LENGTH: usize = 36;
    let mut out = String::new();
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        if let Some(candidate) = rest.get(..LENGTH)
            && is_guid(candidate)
        {
            out.push_str("[ID]");
            rest = rest.get(LENGTH..).unwrap_or_default();
            continue;
        }
        out.push(first);
        rest = rest.get(first.len_utf8()..).unwrap_or_default();
    }
    out
}

fn is_guid(text: &str) -> bool {
    let dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    text.bytes().enumerate().all(|(at, byte)| {
        if dash(at) {
            byte == b'-'
        } else {
            byte.is_ascii_hexdigit()
        }
    })
}

/// `Resource group 'NAME'` without its name.
fn without_groups(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut out = String::new();
    let mut from = 0;
    while let Some(found) = lower.get(from..).and_then(|rest| rest.find(GROUP)) {
        let end = from + found + GROUP.len();
        out.push_str(text.get(from..end).unwrap_or_default());
        from = end;
        let rest = text.get(from..).unwrap_or_default();
        let quoted = rest
            .strip_prefix(" '")
            .and_then(|name| name.split_once('\''));
        if let Some((name, _)) = quoted {
            from += name.len() + 3;
        }
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "11111111-2222-3333-4444-55555555abcd";

    #[test]
    fn what_is_about_the_subscription_goes_and_what_helps_stays() {
        let scope = format!("/subscriptions/{ID}/resourceGroups/team-rg");
        for (said, told) in [
            (
                format!(
                    "The client '{ID}' with object id '{ID}' does not have authorization to perform action \
                     'Microsoft.ContainerInstance/containerGroups/write' over scope \
                     '{scope}/providers/Microsoft.ContainerInstance/containerGroups/web-1' or the scope is invalid."
                ),
                "The client '[ID]' with object id '[ID]' does not have authorization to perform action \
                 'Microsoft.ContainerInstance/containerGroups/write' over scope \
                 'Microsoft.ContainerInstance/containerGroups/web-1' or the scope is invalid.",
            ),
            (
                format!(
                    "error sending request for url (https://arm.example/subscriptions/{ID}/x?a=b): refused"
                ),
                "error sending request for url ([address]): refused",
            ),
            (
                format!(
                    "following scope(s) are locked: '{scope}/providers/Microsoft.Authorization/locks/keep'."
                ),
                "following scope(s) are locked: 'Microsoft.Authorization/locks/keep'.",
            ),
            (format!("over scope {scope}."), "over scope [scope]."),
            (format!("scope={scope}, x"), "scope=[scope], x"),
            (
                "Resource group 'team-rg' could not be found.".to_owned(),
                "Resource group could not be found.",
            ),
            (
                format!("The subscription '{ID}' is disabled, app {ID}@{ID}"),
                "The subscription '[ID]' is disabled, app [ID]@[ID]",
            ),
            (
                format!(
                    "[{{\"id\":\"{scope}/providers/Microsoft.Authorization/policyAssignments/p\"}}]"
                ),
                "[{\"id\":\"Microsoft.Authorization/policyAssignments/p\"}]",
            ),
            (
                "The image 'team.azurecr.io/web:1' in container group 'web-1' is not accessible."
                    .to_owned(),
                "The image 'team.azurecr.io/web:1' in container group 'web-1' is not accessible.",
            ),
        ] {
            assert_eq!(discreet(&said), told);
        }
    }

    proptest! {
        #[test]
        fn no_id_and_no_address_survives(text in "(?s).{0,200}", before in "[ '\"(/=]?", after in "[ '\").,/]?") {
            let said = format!("{text}{before}/subscriptions/{ID}/resourceGroups/r{after} https://a.b/c {text}");
            let told = discreet(&said);
            prop_assert!(!told.contains(ID), "{told}");
            prop_assert!(!told.contains("://a.b"), "{told}");
        }
    }
}
