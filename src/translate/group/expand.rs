//! `$(NAME)` references in environment values, command and args, as a kubelet expands them
//! (Kubernetes API reference, `Container.command`): `$(NAME)` of a known variable becomes its value, of an unknown one
//! stays as it is, and `$$` becomes `$`, so that `$$(NAME)` stands for the text `$(NAME)`.

use super::budget::{Amount, written};

/// What a variable gives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'v> {
    pub(super) text: &'v str,
    /// Its bytes in a request.
    pub(super) amount: Amount,
}

/// Expands `text`; `lookup` knows the variables. Every part is paid for before it is added, and nothing more is added when
/// `pay` fails.
pub(super) fn expand<'v, E>(
    text: &str,
    lookup: impl Fn(&str) -> Option<Piece<'v>>,
    mut pay: impl FnMut(Amount) -> Result<(), E>,
) -> Result<String, E> {
    let mut out = String::new();
    let mut add = |part: &str, amount: Amount| {
        pay(amount)?;
        out.push_str(part);
        Ok(())
    };
    let own = |part: &str| Amount::own(written(part));
    // Without another `)` there is no other name: else each `$(` would look for one until the end.
    let closes = text.rfind(')').unwrap_or_default();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        add(before, own(before))?;
        rest = after;
        let open = text.len() - rest.len() < closes;
        if let Some(after) = rest.strip_prefix('$') {
            add("$", own("$"))?;
            rest = after;
        } else if let Some((name, after)) = rest
            .strip_prefix('(')
            .filter(|_| open)
            .and_then(|body| body.split_once(')'))
        {
            if let Some(Piece { text, amount }) = lookup(name) {
                add(text, amount)?;
            } else {
                for part in ["$(", name, ")"] {
                    add(part, own(part))?;
                }
            }
            rest = after;
        } else {
            add("$", own("$"))?;
        }
    }
    add(rest, own(rest))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::{Amount, Piece, written};

    fn lookup(name: &str) -> Option<&'static str> {
        match name {
            "A" => Some("1"),
            "B.c-d" => Some("two"),
            "EMPTY" => Some(""),
            "REF" => Some("$(A)"),
            _ => None,
        }
    }

    fn piece(text: &str) -> Piece<'_> {
        Piece {
            text,
            amount: Amount::foreign(written(text)),
        }
    }

    fn expand<'v>(text: &str, lookup: impl Fn(&str) -> Option<&'v str>) -> String {
        let mut paid = Amount::default();
        let done = super::expand(
            text,
            |name| lookup(name).map(piece),
            |amount| {
                paid = paid.and(amount);
                Ok::<(), Infallible>(())
            },
        );
        let Ok(done) = done;
        // What is paid for is what is made.
        assert_eq!(paid.all, written(&done));
        done
    }

    #[test]
    fn nothing_is_added_that_is_not_paid_for() {
        let mut left = 10_usize;
        let text = "$(A)".repeat(1_000);
        let mut asked = 0;
        let done = super::expand(
            &text,
            |_| Some(piece("four")),
            |amount| {
                if amount == Amount::foreign(4) {
                    asked += 1;
                    left = left.checked_sub(4).ok_or("spent")?;
                }
                Ok(())
            },
        );
        assert_eq!((done, asked), (Err("spent"), 3));
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
