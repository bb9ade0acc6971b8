//! Programs that wait for others.

use vkc_shim::spec::Wait;

use super::*;

/// What waits for a page of a sidecar at `port`.
fn waits_for(port: u16, path: Option<&str>) -> Container {
    Container::new(&Spec {
        after: vec![Wait {
            port,
            path: path.map(str::to_owned),
            headers: vec![("X-Probe".to_owned(), "yes".to_owned())],
            delay: 0,
            timeout: 1,
        }],
        ..Spec::new()
    })
}

#[test]
fn a_program_starts_when_what_it_waits_for_answers() {
    for path in [None, Some("/ready?x=1")] {
        // None of those that the system gives to others meanwhile.
        let mut ports =
            (21_000..30_000).filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
        let listener = ports.next().unwrap();
        let port = listener.local_addr().unwrap().port();
        let container = waits_for(port, path);
        let marker = container.path("started");
        // Nobody listens there yet: not even a connection that waits is taken.
        drop(listener);
        let mut child = container
            .command("run", &["touch", &marker])
            .spawn()
            .unwrap();
        let early = Instant::now();
        while early.elapsed() < Duration::from_millis(400) {
            assert!(child.try_wait().unwrap().is_none() && !Path::new(&marker).exists());
        }
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let mut answers = ["503 Service Unavailable", "200 OK"].iter();
        if let Some(path) = path {
            for answer in answers.by_ref() {
                let (mut connection, _) = listener.accept().unwrap();
                let mut asked = BufReader::new(connection.try_clone().unwrap()).lines();
                let asked: Vec<String> = asked
                    .by_ref()
                    .map_while(Result::ok)
                    .take_while(|it| !it.is_empty())
                    .collect();
                assert_eq!(asked[0], format!("GET {path} HTTP/1.1"));
                assert!(asked.contains(&"X-Probe: yes".to_owned()), "{asked:?}");
                assert!(
                    asked.contains(&format!("Host: localhost:{port}")),
                    "{asked:?}"
                );
                assert!(!Path::new(&marker).exists());
                write!(connection, "HTTP/1.1 {answer}\r\n\r\n").unwrap();
            }
        }
        assert!(child.wait().unwrap().success());
        assert!(Path::new(&marker).exists());
    }
}

#[test]
fn what_waits_is_ended_by_a_signal() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let container = waits_for(listener.local_addr().unwrap().port(), Some("/"));
    let marker = container.path("started");
    let mut child = container
        .command("run", &["touch", &marker])
        .spawn()
        .unwrap();
    // It asks, and is not answered.
    drop(listener.accept().unwrap());
    signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
    assert!(!Path::new(&marker).exists());
}
