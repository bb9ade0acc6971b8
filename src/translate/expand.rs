//! `$(NAME)` references in environment values, command and args, as a kubelet expands them
//! (Kubernetes API reference, `Container.command`): `$(NAME)` of a known variable becomes its value, of an unknown one
//! stays as it is, and `$$` becomes `$`, so that `$$(NAME)` stands for the text `$(NAME)`.

/// Expands `text`; `lookup` knows the variables.
pub(super) fn expand<'a>(text: &'a str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from_dollar) = rest.split_at(at);
        out.push_str(before);
        let (taken, replacement) = one(from_dollar, &lookup);
        out.push_str(replacement);
        rest = from_dollar.get(taken..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// What the `$…` at the start of `text` stands for, and how many bytes it takes.
fn one<'t>(text: &'t str, lookup: &impl Fn(&str) -> Option<&'t str>) -> (usize, &'t str) {
    let Some(after) = text.get(1..) else {
        return (text.len(), text);
    };
    if after.starts_with('$') {
        return (2, "$");
    }
    if let Some(body) = after.strip_prefix('(')
        && let Some(end) = body.find(')')
        && let (Some(name), Some(whole)) = (body.get(..end), text.get(..end + 3))
    {
        return (end + 3, lookup(name).unwrap_or(whole));
    }
    (1, "$")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::expand;

    fn lookup(name: &str) -> Option<&'static str> {
        match name {
            "A" => Some("1"),
            "B.c-d" => Some("two"),
            "EMPTY" => Some(""),
            "REF" => Some("$(A)"),
            _ => None,
        }
    }

    #[test]
    fn expands_as_a_kubelet_does() {
        let table = [
            ("", ""),
            ("plain", "plain"),
            ("$(A)", "1"),
            ("x$(A)y$(A)z", "x1y1z"),
            ("$(B.c-d)", "two"),
            ("[$(EMPTY)]", "[]"),
            ("$(NOPE)", "$(NOPE)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$$$$(A)", "$$(A)"),
            ("$A", "$A"),
            ("$", "$"),
            ("100$", "100$"),
            ("$$", "$"),
            ("$(A", "$(A"),
            ("$(A$(A)", "$(A$(A)"),
            ("$()", "$()"),
            ("$(REF)", "$(A)"),
            ("$é$(A)é", "$é1é"),
        ];
        for (text, expected) in table {
            assert_eq!(expand(text, lookup), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_without_a_dollar_stays(text in "[^$]*") {
            prop_assert_eq!(expand(&text, lookup), text);
        }

        #[test]
        fn doubled_dollars_give_the_text_back(text in "\\PC*") {
            prop_assert_eq!(expand(&text.replace('$', "$$"), lookup), text);
        }

        #[test]
        fn any_text_is_taken(text in "[$()A-C]*") {
            expand(&text, lookup);
        }
    }
}
