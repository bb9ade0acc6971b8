//! A tiny shell: enough to test a client's exec against.
//!
//! Commands: `[` (`=` only), `cat`, `cd`, `echo`, `env`, `exit`, `export`, `false`, `kill`, `ls`, `printf`, `pwd`,
//! `sh`, `sleep`, `stty`, `true`. No pipes; the only redirections are those to `/dev/null`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{
    tty::{Read, Tty, Wire},
    words::{Command, Piece, When, parse},
};

const NOT_FOUND: i32 = 127;
const INTERRUPTED: i32 = 130;

/// How a command leaves the shell.
enum Flow {
    Status(i32),
    Exit,
}

/// One process on a terminal.
pub(crate) struct Shell<'a, W> {
    tty: Tty<'a, W>,
    environment: BTreeMap<String, String>,
    files: BTreeMap<String, Vec<u8>>,
    directory: String,
    status: i32,
    /// Sends SIGTERM to process 1; false when it does not run.
    sigterm: &'a (dyn Fn() -> bool + Sync),
}

impl<'a, W: Wire> Shell<'a, W> {
    pub(crate) fn new(
        tty: Tty<'a, W>,
        environment: BTreeMap<String, String>,
        files: BTreeMap<String, Vec<u8>>,
        sigterm: &'a (dyn Fn() -> bool + Sync),
    ) -> Self {
        Self {
            tty,
            environment,
            files,
            directory: "/".to_owned(),
            status: 0,
            sigterm,
        }
    }

    /// Runs the command of an exec call to its end.
    pub(crate) async fn exec(&mut self, command: &str) {
        let commands = parse(command).unwrap_or_default();
        let words = commands
            .first()
            .map(|first| self.expand(first))
            .unwrap_or_default();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            [shell] if is_shell(shell) => self.interactive().await,
            [shell, "-c", script, ..] if is_shell(shell) => {
                self.script(script).await;
            }
            _ => {
                self.script(command).await;
            }
        }
    }

    /// Reads and runs lines until `exit` or the end of input.
    async fn interactive(&mut self) {
        let mut pending = String::new();
        loop {
            if self.tty.echo {
                let prompt = if pending.is_empty() {
                    format!("{} # ", self.directory)
                } else {
                    "> ".to_owned()
                };
                self.tty.write(prompt.as_bytes()).await;
            }
            match self.tty.read().await {
                Read::Gone | Read::End => return,
                Read::Interrupt => {
                    pending.clear();
                    self.status = INTERRUPTED;
                }
                Read::Line(line) => {
                    pending.push_str(&line);
                    if parse(&pending).is_err() {
                        pending.push('\n');
                        continue;
                    }
                    let script = std::mem::take(&mut pending);
                    if self.script(&script).await {
                        return;
                    }
                }
            }
        }
    }

    /// Runs a script; true when it ended the shell.
    async fn script(&mut self, script: &str) -> bool {
        let Ok(commands) = parse(script) else {
            self.tty
                .write(b"sh: syntax error: unterminated quoted string\n")
                .await;
            self.status = 2;
            return false;
        };
        for command in &commands {
            let run = match command.when {
                When::Always => true,
                When::Success => self.status == 0,
                When::Failure => self.status != 0,
            };
            if !run {
                continue;
            }
            let words = self.expand(command);
            match self.run(&words).await {
                Flow::Status(status) => self.status = status,
                Flow::Exit => return true,
            }
        }
        false
    }

    fn expand(&self, command: &Command) -> Vec<String> {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Variable(name) if name == "?" => self.status.to_string(),
            // Whoever was put into a container from outside has no parent there.
            Piece::Variable(name) if name == "PPID" => "0".to_owned(),
            Piece::Variable(name) => self.environment.get(name).cloned().unwrap_or_default(),
        };
        command
            .words
            .iter()
            .map(|word| word.iter().map(piece).collect())
            .collect()
    }

    async fn run(&mut self, words: &[String]) -> Flow {
        let quiet = words
            .iter()
            .any(|word| word == ">/dev/null" || word == "1>/dev/null");
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        words.retain(|word| {
            !matches!(
                *word,
                "2>&1" | ">/dev/null" | "1>/dev/null" | "2>/dev/null" | "</dev/null"
            )
        });
        if words.first() == Some(&"exec") {
            words.remove(0);
        }
        let Some((name, arguments)) = words.split_first() else {
            return Flow::Status(0);
        };
        if let (Some((variable, value)), true) = (name.split_once('='), arguments.is_empty()) {
            self.environment
                .insert(variable.to_owned(), value.to_owned());
            return Flow::Status(0);
        }
        let base = name.rsplit('/').next().unwrap_or(name);
        let (status, output) = match (base, arguments) {
            ("exit", _) => {
                self.status = arguments
                    .first()
                    .and_then(|code| code.parse().ok())
                    .unwrap_or(self.status);
                return Flow::Exit;
            }
            ("sleep", _) => return Flow::Status(self.sleep(arguments).await),
            ("cat", []) => return Flow::Status(self.copy().await),
            ("sh" | "bash" | "ash", ["-c", script, ..]) => {
                let (directory, environment) = (self.directory.clone(), self.environment.clone());
                Box::pin(self.script(script)).await;
                (self.directory, self.environment) = (directory, environment);
                return Flow::Status(self.status);
            }
            _ => self.simple(base, name, arguments),
        };
        if !quiet {
            self.tty.write(&output).await;
        }
        Flow::Status(status)
    }

    async fn sleep(&mut self, arguments: &[&str]) -> i32 {
        let seconds = arguments.first().and_then(|text| text.parse::<f64>().ok());
        let Some(time) = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        else {
            return 1;
        };
        if self.tty.sleep(time).await {
            0
        } else {
            INTERRUPTED
        }
    }

    /// `cat` of the terminal.
    async fn copy(&mut self) -> i32 {
        loop {
            match self.tty.read().await {
                Read::Line(line) => self.tty.write(format!("{line}\n").as_bytes()).await,
                Read::Interrupt => return INTERRUPTED,
                Read::End | Read::Gone => return 0,
            }
        }
    }

    /// Commands that only write.
    fn simple(&mut self, base: &str, name: &str, arguments: &[&str]) -> (i32, Vec<u8>) {
        match base {
            "true" | ":" => (0, Vec::new()),
            "false" => (1, Vec::new()),
            "echo" => match arguments.split_first() {
                Some((&"-n", rest)) => (0, rest.join(" ").into_bytes()),
                _ => (0, format!("{}\n", arguments.join(" ")).into_bytes()),
            },
            "printf" => (0, printf(arguments).into_bytes()),
            "[" => match arguments {
                [left, "=", right, "]"] => (i32::from(left != right), Vec::new()),
                _ => (2, b"sh: [: not understood\n".to_vec()),
            },
            "kill" => match arguments {
                ["-TERM" | "-15", "1"] | ["-s", "TERM", "1"] | ["1"] if (self.sigterm)() => {
                    (0, Vec::new())
                }
                _ => (1, b"sh: kill: no such process\n".to_vec()),
            },
            "pwd" => (0, format!("{}\n", self.directory).into_bytes()),
            "cd" => {
                self.directory = self.path(arguments.first().copied().unwrap_or("/root"));
                (0, Vec::new())
            }
            "env" => {
                let lines = self
                    .environment
                    .iter()
                    .flat_map(|(name, value)| [name, "=", value, "\n"]);
                (0, lines.collect::<String>().into_bytes())
            }
            "export" => {
                for (name, value) in arguments.iter().filter_map(|word| word.split_once('=')) {
                    self.environment.insert(name.to_owned(), value.to_owned());
                }
                (0, Vec::new())
            }
            "stty" => {
                for word in arguments {
                    match *word {
                        "-echo" => self.tty.echo = false,
                        "echo" | "sane" => self.tty.echo = true,
                        _ => {}
                    }
                }
                (0, Vec::new())
            }
            "ls" => self.list(arguments),
            "cat" => self.show(arguments),
            _ => (NOT_FOUND, format!("sh: {name}: not found\n").into_bytes()),
        }
    }

    fn path(&self, path: &str) -> String {
        let full = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("{}/{path}", self.directory)
        };
        let mut parts = Vec::new();
        for part in full.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop();
                }
                part => parts.push(part),
            }
        }
        format!("/{}", parts.join("/"))
    }

    fn show(&self, arguments: &[&str]) -> (i32, Vec<u8>) {
        let (mut status, mut out) = (0, Vec::new());
        for name in arguments {
            if let Some(content) = self.files.get(&self.path(name)) {
                out.extend_from_slice(content);
            } else {
                status = 1;
                out.extend_from_slice(
                    format!("cat: can't open '{name}': No such file or directory\n").as_bytes(),
                );
            }
        }
        (status, out)
    }

    fn list(&self, arguments: &[&str]) -> (i32, Vec<u8>) {
        let wanted = arguments
            .iter()
            .find(|word| !word.starts_with('-'))
            .copied()
            .unwrap_or(".");
        let directory = self.path(wanted);
        let prefix = if directory == "/" {
            directory.clone()
        } else {
            format!("{directory}/")
        };
        let mut names: Vec<&str> = self
            .files
            .keys()
            .filter_map(|file| file.strip_prefix(&prefix)?.split('/').next())
            .collect();
        if directory == "/" {
            names.extend([
                "bin", "dev", "etc", "home", "proc", "root", "tmp", "usr", "var",
            ]);
        }
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return (
                1,
                format!("ls: {wanted}: No such file or directory\n").into_bytes(),
            );
        }
        (0, format!("{}\n", names.join("\n")).into_bytes())
    }
}

fn is_shell(word: &str) -> bool {
    matches!(word.rsplit('/').next(), Some("sh" | "bash" | "ash"))
}

/// `%s`, `%d`, `%%`, `\n`, `\t`, `\\`.
fn printf(arguments: &[&str]) -> String {
    let Some((format, values)) = arguments.split_first() else {
        return String::new();
    };
    let (mut values, mut chars, mut out) = (values.iter(), format.chars(), String::new());
    while let Some(c) = chars.next() {
        match (c, c == '%' || c == '\\') {
            (_, false) => out.push(c),
            ('%', _) => match chars.next() {
                Some('s' | 'd') => out.push_str(values.next().copied().unwrap_or_default()),
                Some(other) => out.push(other),
                None => out.push('%'),
            },
            _ => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Gives its input message by message and keeps what is written.
    struct Memory {
        input: VecDeque<&'static str>,
        output: Vec<u8>,
    }

    impl Wire for Memory {
        async fn recv(&mut self) -> Option<Vec<u8>> {
            self.input.pop_front().map(|text| text.as_bytes().to_vec())
        }

        async fn send(&mut self, bytes: Vec<u8>) -> bool {
            self.output.extend(bytes);
            true
        }
    }

    async fn run(command: &str, input: &[&'static str]) -> String {
        let mut wire = Memory {
            input: input.iter().copied().collect(),
            output: Vec::new(),
        };
        let environment = BTreeMap::from([("NAME".to_owned(), "world".to_owned())]);
        let files = BTreeMap::from([("/etc/web/conf".to_owned(), b"a: 1\n".to_vec())]);
        Shell::new(Tty::new(&mut wire), environment, files, &|| true)
            .exec(command)
            .await;
        String::from_utf8(wire.output).unwrap()
    }

    #[tokio::test]
    async fn process_1_is_signalled_by_who_has_no_parent() {
        for (line, status) in [
            ("[ \"$PPID\" = 0 ] && kill -TERM 1; echo s$?\n", "s0\r\n"),
            ("[ \"$PPID\" = 1 ] && kill -TERM 1; echo s$?\n", "s1\r\n"),
            ("kill -TERM 2; echo s$?\n", "s1\r\n"),
        ] {
            let said = run("sh", &[line]).await;
            assert!(said.contains(status), "{line}: {said:?}");
        }
    }

    #[tokio::test]
    async fn single_commands() {
        for (command, want) in [
            ("echo hi $NAME", "hi world\r\n"),
            ("sh -c 'echo a; exit 3; echo b'", "a\r\n"),
            (
                "/bin/sh -c \"false || echo no && echo yes\"",
                "no\r\nyes\r\n",
            ),
            ("pwd", "/\r\n"),
            ("env", "NAME=world\r\n"),
            ("cat /etc/web/conf", "a: 1\r\n"),
            ("ls /etc/web", "conf\r\n"),
            (
                "cat nothing",
                "cat: can't open 'nothing': No such file or directory\r\n",
            ),
            ("printf '%s-%d\\n' a 1", "a-1\r\n"),
            ("nmap", "sh: nmap: not found\r\n"),
        ] {
            assert_eq!(run(command, &[]).await, want, "{command}");
        }
    }

    #[tokio::test]
    async fn an_interactive_shell_echoes_and_gives_the_status_away() {
        let out = run("/bin/sh", &["echo h", "i\n", "exit\n"]).await;
        assert_eq!(out, "/ # echo hi\r\nhi\r\n/ # exit\r\n");
        let out = run(
            "/bin/sh",
            &[
                "stty -echo\n",
                "'sh' '-c' 'exit 7'; echo nonce:$?\n",
                "exit\n",
                "echo never\n",
            ],
        )
        .await;
        assert_eq!(out, "/ # stty -echo\r\nnonce:7\r\n");
        let out = run("/bin/sh", &["stty -echo\necho 'a\nb'\n\u{4}"]).await;
        assert_eq!(out, "/ # stty -echo\r\na\r\nb\r\n");
    }

    #[tokio::test]
    async fn interrupt_erase_and_end_of_file() {
        assert_eq!(
            run("cat", &["ab\u{7f}c\n\u{4}"]).await,
            "ab\u{8} \u{8}c\r\nac\r\n"
        );
        assert_eq!(run("sleep 1000", &["\u{3}"]).await, "^C\r\n");
        assert_eq!(run("cat", &["\u{3}"]).await, "^C\r\n");
    }
}
