//! What of Azure's texts is for people with rights on one namespace: no subscription, resource group, principal or address of
//! ARM's. PURE.

/// Between words that may be an address or an ID.
const EDGES: &[char] = &[
    ' ', '\'', '"', '`', '(', ')', '[', ']', '{', '}', '<', '>', ',', ';',
];
const GROUP: &str = "resource group";
/// Where a scope begins.
const SCOPES: [&str; 2] = ["/subscriptions/", "/resourcegroups/"];
/// Length of a GUID, and of its part up to the first dash, by which one is known that was cut off.
const GUID: usize = 36;
const GUIDS_BEGIN: usize = 9;

/// The text of an error without what tells about the subscription: addresses, scopes, IDs and the name of the resource group.
pub(super) fn discreet(text: &str) -> String {
    without(text, |_| true)
}

/// What Azure tells about a container group, such as an event, without what tells about the subscription. Other addresses may be
/// the pod's own, of its image or its repository.
pub fn without_scopes(text: &str) -> String {
    without(text, |address| {
        address.to_ascii_lowercase().contains("subscriptions")
    })
}

fn without(text: &str, hides: impl Fn(&str) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut pieces = text.split_inclusive(EDGES).peekable();
    while let Some(piece) = pieces.next() {
        let word = piece.trim_end_matches(EDGES);
        // A sentence's end is not the word's.
        let bare = word.trim_end_matches(['.', ':']);
        let cut = pieces.peek().is_none();
        out.push_str(&of_word(bare, cut, &hides));
        out.push_str(piece.get(bare.len()..).unwrap_or_default());
    }
    without_groups(&out)
}

/// `cut`: the text ends with the word, which may have been longer.
fn of_word(word: &str, cut: bool, hides: impl Fn(&str) -> bool) -> String {
    let lower = word.to_ascii_lowercase();
    if lower.contains("%2fsubscriptions%2f") || word.contains("://") && hides(word) {
        return "[address]".to_owned();
    }
    let scope = SCOPES.iter().filter_map(|scope| lower.find(scope)).min();
    let Some(scope) = scope else {
        return without_ids(word, cut);
    };
    let before = word.get(..scope).unwrap_or_default();
    // What kind of thing it is, and its own name: a lock, a policy.
    let tail = lower
        .rfind("/providers/")
        .map(|at| at + "/providers/".len());
    let tail = tail.and_then(|at| word.get(at..)).unwrap_or("[scope]");
    without_ids(&format!("{before}{tail}"), cut)
}

/// GUIDs become `[ID]`.
fn without_ids(word: &str, cut: bool) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        if let Some(candidate) = rest.get(..GUID)
            && is_guid(candidate)
        {
            out.push_str("[ID]");
            rest = rest.get(GUID..).unwrap_or_default();
            continue;
        }
        if cut && (GUIDS_BEGIN..GUID).contains(&rest.len()) && is_guid(rest) {
            out.push_str("[ID]");
            break;
        }
        out.push(first);
        rest = rest.get(first.len_utf8()..).unwrap_or_default();
    }
    out
}

/// Whether `text` is a GUID, or as much of one as its length allows.
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
        if let Some(name) = rest.strip_prefix(" '") {
            // One that was cut off has no end.
            let name = name.find('\'').map_or(name.len(), |end| end + 1);
            from += name + 2;
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

    #[test]
    fn the_pods_own_addresses_stay_in_what_azure_tells_of_a_group() {
        let portal = format!(
            "https://portal.azure.com/#resource%2Fsubscriptions%2F{ID}%2FresourceGroups%2Fteam-rg"
        );
        for (said, told) in [
            (
                "Get \"https://r.io/v2/a/manifests/1\": unauthorized".to_owned(),
                "Get \"https://r.io/v2/a/manifests/1\": unauthorized",
            ),
            (format!("see {portal}."), "see [address]."),
            (
                format!("see id={}", portal.rsplit('#').next().unwrap()),
                "see [address]",
            ),
            (
                format!("no token for https://vault.example/{ID}"),
                "no token for https://vault.example/[ID]",
            ),
            (
                "in /resourceGroups/team-rg/providers/A.B/c/d, /resourceGroups/team-rg".to_owned(),
                "in A.B/c/d, [scope]",
            ),
        ] {
            assert_eq!(without_scopes(&said), told);
        }
    }

    #[test]
    fn what_was_cut_off_is_known_by_its_beginning() {
        let said = format!("The client {ID}");
        for length in "The client 11111111-".len()..=said.len() {
            assert_eq!(discreet(&said[..length]), "The client [ID]");
        }
        assert_eq!(discreet("container web-deadbeef"), "container web-deadbeef");
        assert_eq!(discreet("Resource group 'team-r"), "Resource group");
    }

    proptest! {
        #[test]
        fn no_id_and_no_address_survives(text in "(?s).{0,200}", before in "[ '\"(/=]?", after in "[ '\").,/]?") {
            let said = format!("{text}{before}/subscriptions/{ID}/resourceGroups/r{after} https://a.b/c {text}");
            let told = discreet(&said);
            prop_assert!(!told.contains(ID), "{told}");
            prop_assert!(!told.contains("://a.b"), "{told}");
            let told = without_scopes(&said);
            prop_assert!(!told.contains(ID), "{told}");
        }
    }
}
