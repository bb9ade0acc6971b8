//! What has to answer before a program starts: sidecars, as their startup probes ask them.

use std::io::{self, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use signal_hook::iterator::Signals;

use super::session::line;
use crate::spec::Wait;

/// From one attempt to the next.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest first line of an answer, with its end.
const ANSWER: u64 = 64;

/// Waits for all of `waits`; the container's exit code when a signal ended that.
pub(super) fn all(waits: &[Wait], signals: &mut Signals) -> Option<i32> {
    for wait in waits {
        let first = Instant::now() + Duration::from_secs(wait.delay.into());
        while Instant::now() < first || attempt(wait).is_err() {
            if let Some(signal) = ends(signals) {
                return Some(128 + signal);
            }
            thread::sleep(PAUSE);
        }
    }
    None
}

/// A signal that would have ended the program, which does not run yet.
fn ends(signals: &mut Signals) -> Option<i32> {
    const ENDS: [Signal; 4] = [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP];
    let mut pending = signals.pending();
    pending.find(|it| ENDS.iter().any(|signal| signal.as_raw() == *it))
}

fn attempt(wait: &Wait) -> io::Result<()> {
    let timeout = Duration::from_secs(wait.timeout.max(1).into());
    let address = (Ipv4Addr::LOCALHOST, wait.port).into();
    let mut connection = TcpStream::connect_timeout(&address, timeout)?;
    let Some(path) = &wait.path else {
        return Ok(());
    };
    connection.set_read_timeout(Some(timeout))?;
    connection.set_write_timeout(Some(timeout))?;
    let has = |name: &str| {
        let mut headers = wait.headers.iter();
        headers.any(|(it, _)| it.eq_ignore_ascii_case(name))
    };
    let mut request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n");
    let host = format!("localhost:{}", wait.port);
    for (name, value) in [
        ("Host", host.as_str()),
        ("User-Agent", "kube-probe/1.36"),
        ("Accept", "*/*"),
    ] {
        if !has(name) {
            request.extend([name, ": ", value, "\r\n"]);
        }
    }
    for (name, value) in &wait.headers {
        request.extend([name, ": ", value, "\r\n"]);
    }
    request.push_str("\r\n");
    connection.write_all(request.as_bytes())?;
    let answer = line(&mut BufReader::new(connection), ANSWER)?;
    let status = status(&answer).ok_or(io::ErrorKind::InvalidData)?;
    if (200..400).contains(&status) {
        Ok(())
    } else {
        Err(io::ErrorKind::Other.into())
    }
}

/// That of an HTTP answer whose first line this is.
fn status(line: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split(' ');
    words.next().filter(|word| word.starts_with("HTTP/1."))?;
    words.next()?.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_in_the_first_line() {
        for (line, expected) in [
            ("HTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.0 404\r\n", Some(404)),
            ("HTTP/1.1 \r\n", None),
            ("HTTP/1.1\n", None),
            ("SSH-2.0 200\n", None),
        ] {
            assert_eq!(status(line.as_bytes()), expected, "{line:?}");
        }
    }
}
