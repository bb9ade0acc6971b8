//! Splitting a line of shell into commands and words.

/// A piece of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    /// `$NAME`, `${NAME}` or `$?`.
    Variable(String),
}

/// When a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    /// After `&&`.
    Success,
    /// After `||`.
    Failure,
}

/// One command of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) when: When,
    pub(crate) words: Vec<Vec<Piece>>,
}

/// Why a line cannot be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfinished {
    /// A quote is open: more lines are needed.
    Quote,
}

/// Splits a script.
pub(crate) fn parse(script: &str) -> Result<Vec<Command>, Unfinished> {
    let mut commands = Vec::new();
    let mut current = Command {
        when: When::Always,
        words: Vec::new(),
    };
    let mut word: Option<Vec<Piece>> = None;
    let mut chars = script.chars().peekable();
    let mut end = |current: &mut Command, when: When| {
        let done = std::mem::replace(
            current,
            Command {
                when,
                words: Vec::new(),
            },
        );
        if done.words.is_empty() {
            // An empty command passes its condition on only when the next one has none of its own.
            if when == When::Always {
                current.when = When::Always;
            }
        } else {
            commands.push(done);
        }
    };
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let mut text = String::new();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => text.push(c),
                        None => return Err(Unfinished::Quote),
                    }
                }
                push(&mut word, Piece::Text(text));
            }
            '"' => {
                push(&mut word, Piece::Text(String::new()));
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some(c @ ('"' | '\\' | '$' | '`')) => {
                                push(&mut word, Piece::Text(c.into()));
                            }
                            Some(c) => push(&mut word, Piece::Text(format!("\\{c}"))),
                            None => return Err(Unfinished::Quote),
                        },
                        Some('$') => push(&mut word, variable(&mut chars)),
                        Some(c) => push(&mut word, Piece::Text(c.into())),
                        None => return Err(Unfinished::Quote),
                    }
                }
            }
            '\\' => match chars.next() {
                Some('\n') => {}
                Some(c) => push(&mut word, Piece::Text(c.into())),
                None => return Err(Unfinished::Quote),
            },
            '$' => push(&mut word, variable(&mut chars)),
            '#' if word.is_none() => while chars.next_if(|c| *c != '\n').is_some() {},
            ';' | '\n' => {
                current.words.extend(word.take());
                end(&mut current, When::Always);
            }
            '&' | '|' if chars.next_if_eq(&c).is_some() => {
                current.words.extend(word.take());
                end(
                    &mut current,
                    if c == '&' {
                        When::Success
                    } else {
                        When::Failure
                    },
                );
            }
            c if c.is_whitespace() => current.words.extend(word.take()),
            c => push(&mut word, Piece::Text(c.into())),
        }
    }
    current.words.extend(word.take());
    end(&mut current, When::Always);
    Ok(commands)
}

fn push(word: &mut Option<Vec<Piece>>, piece: Piece) {
    let pieces = word.get_or_insert_default();
    if let (Some(Piece::Text(before)), Piece::Text(text)) = (pieces.last_mut(), &piece) {
        before.push_str(text);
    } else {
        pieces.push(piece);
    }
}

fn variable(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Piece {
    if chars.next_if_eq(&'?').is_some() {
        return Piece::Variable("?".to_owned());
    }
    let braces = chars.next_if_eq(&'{').is_some();
    let mut name = String::new();
    while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
        name.push(c);
    }
    if braces {
        chars.next_if_eq(&'}');
    }
    if name.is_empty() {
        Piece::Text("$".to_owned())
    } else {
        Piece::Variable(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(script: &str) -> Vec<Vec<String>> {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Variable(name) => format!("<{name}>"),
        };
        let word = |word: &Vec<Piece>| word.iter().map(text).collect::<String>();
        parse(script)
            .unwrap()
            .iter()
            .map(|command| command.words.iter().map(word).collect())
            .collect()
    }

    #[test]
    fn quoting_variables_and_separators() {
        for (script, want) in [
            ("echo a b", vec![vec!["echo", "a", "b"]]),
            (
                "echo 'a  b' \"c $X\"; exit 3",
                vec![vec!["echo", "a  b", "c <X>"], vec!["exit", "3"]],
            ),
            (r"'it'\''s' ''", vec![vec!["it's", ""]]),
            (
                "echo n:$? ${HOME}x $",
                vec![vec!["echo", "n:<?>", "<HOME>x", "$"]],
            ),
            ("a\nb # c\n;;d", vec![vec!["a"], vec!["b"], vec!["d"]]),
            (r#"echo "\$x \n""#, vec![vec!["echo", r"$x \n"]]),
            ("", vec![]),
        ] {
            assert_eq!(words(script), want, "{script}");
        }
        assert_eq!(parse("echo 'a"), Err(Unfinished::Quote));
        let when: Vec<When> = parse("a && b || c; d")
            .unwrap()
            .iter()
            .map(|command| command.when)
            .collect();
        assert_eq!(
            when,
            [When::Always, When::Success, When::Failure, When::Always]
        );
    }
}
