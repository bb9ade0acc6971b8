//! The right that a refusal names. PURE.

/// An action that the principal has no role for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lacking<'m> {
    /// `Microsoft.ContainerInstance/containerGroups/write`.
    pub action: &'m str,
    /// ARM ID of what it is missing on; absent when ARM does not say.
    pub scope: Option<&'m str>,
}

impl<'m> Lacking<'m> {
    /// Reads ARM's message of the codes `AuthorizationFailed` ("… to perform action 'A' over scope 'S' …") and
    /// `LinkedAuthorizationFailed`, where the last action and scope are the missing ones: "… has permission to perform
    /// action … however … does not have permission to perform action 'A' on the linked scope(s) 'S' …".
    pub(super) fn read(message: &'m str) -> Option<Self> {
        let (_, rest) = message.rsplit_once("perform action ")?;
        let (action, rest) = quoted(rest)?;
        // An action is a type and a verb: `Provider/type/verb`.
        if !action.contains('/') {
            return None;
        }
        let scope = rest.split_once("scope").and_then(|(_, rest)| quoted(rest));
        let scope = scope.map(|(scope, _)| scope);
        Some(Self {
            action,
            scope: scope.filter(|scope| scope.starts_with('/')),
        })
    }
}

/// The first text in single quotes, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    text.split_once('\'')?.1.split_once('\'')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_in_a_refusal() {
        let plain = "The client 'oid' with object id 'oid' does not have authorization to perform action \
            'Microsoft.ContainerInstance/containerGroups/write' over scope '/subscriptions/s/resourceGroups/rg' or the \
            scope is invalid. If access was recently granted, please refresh your credentials.";
        let linked = "The client has permission to perform action 'Microsoft.ContainerInstance/containerGroups/write' on \
            scope '/subscriptions/s/x', however the current tenant 't' is not authorized / does not have permission to \
            perform action 'Microsoft.Network/virtualNetworks/subnets/join/action' on the linked scope(s) '/subscriptions/s/n' \
            or the linked scope(s) are invalid.";
        let cut = "does not have authorization to perform action 'A/read' over scope '/subscriptions/s/reso…";
        for (message, found) in [
            (
                plain,
                Some((
                    "Microsoft.ContainerInstance/containerGroups/write",
                    Some("/subscriptions/s/resourceGroups/rg"),
                )),
            ),
            (
                linked,
                Some((
                    "Microsoft.Network/virtualNetworks/subnets/join/action",
                    Some("/subscriptions/s/n"),
                )),
            ),
            (cut, Some(("A/read", None))),
            ("perform action 'nothing'", None),
            ("disallowed by policy 'p'", None),
            ("", None),
        ] {
            let read = Lacking::read(message).map(|it| (it.action, it.scope));
            assert_eq!(read, found, "{message}");
        }
    }
}
