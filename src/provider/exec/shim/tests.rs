use super::*;

/// The far side: what it is sent, and what it says.
struct Far {
    typed: mpsc::Receiver<Bytes>,
    says: mpsc::Sender<Bytes>,
}

fn console() -> (Console, Far) {
    let (input, typed) = mpsc::channel(1);
    let (says, output) = mpsc::channel(64);
    (Console { input, output }, Far { typed, says })
}

impl Far {
    async fn say(&self, text: &str) {
        let _ = self
            .says
            .send(Bytes::copy_from_slice(text.as_bytes()))
            .await;
    }

    /// The next line that is typed.
    async fn line(&mut self) -> String {
        let mut line = String::new();
        while !line.ends_with('\n') {
            let message = self.typed.recv().await.unwrap();
            assert!(message.len() <= Settings::default().message);
            line.push_str(std::str::from_utf8(&message).unwrap());
        }
        line.trim_end().to_owned()
    }
}

#[tokio::test(start_paused = true)]
async fn orders_arrive_whole_and_the_end_is_told() {
    let (console, mut far) = console();
    let orders: Vec<u8> = (0..60_000_u32).map(|n| (n % 251) as u8).collect();
    let shim = async {
        far.say("some prompt\r\nvkc-shim 1 rea").await;
        far.say("dy\r\n").await;
        let mut taken = Vec::new();
        loop {
            let line = far.line().await;
            if line == "." {
                break;
            }
            taken.extend(STANDARD.decode(line).unwrap());
            far.say("vkc-shim 1 more\r\n").await;
        }
        far.say("vkc-shim 1 done\r\n").await;
        taken
    };
    let (done, taken) = tokio::join!(run_task(console, Settings::default(), Some(&orders)), shim);
    done.unwrap();
    assert_eq!(taken, orders);
}

#[tokio::test(start_paused = true)]
async fn no_more_is_typed_than_is_taken() {
    let (console, mut far) = console();
    let orders = vec![0; 100_000];
    let shim = async {
        far.say("vkc-shim 1 ready\n").await;
        let mut lines = 0;
        while tokio::time::timeout(Duration::from_secs(1), far.line())
            .await
            .is_ok()
        {
            lines += 1;
        }
        drop(far);
        lines
    };
    let (done, lines) = tokio::join!(run_task(console, Settings::default(), Some(&orders)), shim);
    assert!(matches!(done, Err(ExecError::Lost)), "{done:?}");
    assert_eq!(lines, WINDOW);
}

#[tokio::test(start_paused = true)]
async fn how_a_session_ends_is_told() {
    for (said, orders, expected) in [
        (vec!["vkc-shim 1 ready\n", "vkc-shim 1 done\n"], None, "Ok"),
        (vec!["vkc-shim 1 done\n"], None, "Ok"),
        (vec!["vkc-shim 1 ready\n"], None, "the connection"),
        (vec![], None, "did not answer"),
        (
            vec!["OCI runtime exec failed: no such file"],
            None,
            "no such file",
        ),
        (
            vec!["vkc-shim 1 failed \u{1b}[31mno\u{7} room\n"],
            Some(b"x".as_slice()),
            "no room",
        ),
        (
            vec![
                "vkc-shim 1 ready\n",
                "vkc-shim 1 more\n",
                "vkc-shim 1 failed no\n",
            ],
            Some(b"x".as_slice()),
            "no",
        ),
        (
            vec!["vkc-shim 1 done\n"],
            Some(b"x".as_slice()),
            "did not answer",
        ),
        (
            vec!["vkc-shim 2 done\n", "vkc-shim 1 donee\n"],
            None,
            "did not answer",
        ),
    ] {
        let (console, mut far) = console();
        let shim = async {
            for text in &said {
                far.say(text).await;
            }
            far.says = mpsc::channel(1).0;
            while far.typed.recv().await.is_some() {}
        };
        let session = run_task(console, Settings::default(), orders);
        let (done, ()) = tokio::join!(session, shim);
        let told = done.map_or_else(|error| error.to_string(), |()| "Ok".to_owned());
        assert!(told.contains(expected), "{said:?}: {told}");
        assert!(!told.contains('\u{1b}'), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_far_side_that_says_nothing_or_too_much_is_left() {
    let (silent, _far) = console();
    let done = run_task(silent, Settings::default(), None).await;
    assert!(matches!(done, Err(ExecError::Silent(30))), "{done:?}");

    let (console, far) = console();
    let flood = async {
        let much = Bytes::from(vec![b'x'; 64 * 1024]);
        while far.says.send(much.clone()).await.is_ok() {}
    };
    let (done, ()) = tokio::join!(run_task(console, Settings::default(), None), flood);
    assert!(matches!(done, Err(ExecError::NoShim(_))), "{done:?}");
}

/// A client of the session.
struct Client {
    streams: Streams,
    typed: mpsc::Sender<Bytes>,
    sizes: mpsc::Sender<TerminalSize>,
    seen: mpsc::Receiver<(Output, Bytes)>,
}

fn client() -> Client {
    let (output, seen) = mpsc::channel(16);
    let (typed, stdin) = mpsc::channel(8);
    let (sizes, resize) = mpsc::channel(4);
    Client {
        streams: Streams {
            stdin: Some(stdin),
            output,
            resize: Some(resize),
            gone: CancellationToken::new(),
        },
        typed,
        sizes,
        seen,
    }
}

fn cat() -> What {
    What::Program {
        argv: vec!["cat".to_owned(), "a b\n".to_owned()],
        input: true,
        terminal: None,
    }
}

impl Far {
    /// Takes the orders, and says that the program has begun.
    async fn begin(&mut self) -> Request {
        self.say(&Said::Ready.write()).await;
        let mut orders = Vec::new();
        loop {
            let line = self.line().await;
            if line == END {
                break;
            }
            orders.extend(STANDARD.decode(line).unwrap());
            self.say(&Said::More.write()).await;
        }
        self.say(&Said::Begun.write()).await;
        Request::parse(&orders).unwrap()
    }

    async fn told(&mut self) -> Told {
        let line = self.line().await;
        Told::read(line.as_bytes()).unwrap_or_else(|| panic!("{line:?}"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_gets_its_input_and_its_outputs_are_kept_apart() {
    let (console, mut far) = console();
    let Client {
        mut streams,
        typed,
        sizes,
        mut seen,
    } = client();
    let shim = async {
        assert!(far.begin().await.what == cat());
        far.say("some other text\r\n").await;
        typed.send(Bytes::from_static(b"\0in")).await.unwrap();
        assert_eq!(far.told().await, Told::Input(b"\0in".to_vec().into()));
        far.say(&Said::More.write()).await;
        let (rows, columns) = (9, 8);
        sizes.send(TerminalSize { rows, columns }).await.unwrap();
        assert_eq!(far.told().await, Told::Size(Size { rows, columns }));
        for (source, output, bytes) in [
            (Source::Output, Output::Stdout, &b"\0out\r\n"[..]),
            (Source::Error, Output::Stderr, b"err"),
        ] {
            far.say(&Said::Bytes(source, bytes.to_vec()).write()).await;
            assert_eq!(seen.recv().await, Some((output, Bytes::from_static(bytes))));
            assert_eq!(far.told().await, Told::More);
        }
        drop(typed);
        assert_eq!(far.told().await, Told::EndOfInput);
        let last = Said::Bytes(Source::Output, b"last".to_vec()).write();
        far.say(&(last + &Said::Ended(7).write())).await;
        assert_eq!(seen.recv().await.unwrap().1, "last");
    };
    let session = run(console, Settings::default(), cat(), &mut streams);
    let (ended, ()) = tokio::join!(session, shim);
    assert_eq!(ended.unwrap(), Exit::Code(7));
}

#[tokio::test(start_paused = true)]
async fn no_more_input_is_on_its_way_than_the_program_takes() {
    let (console, mut far) = console();
    let mut client = client();
    let shim = async {
        far.begin().await;
        for _ in 0..4 {
            let much = Bytes::from(vec![b'x'; WINDOW * PIECE / 2]);
            client.typed.send(much).await.unwrap();
        }
        let mut lines = 0;
        while tokio::time::timeout(Duration::from_secs(1), far.line())
            .await
            .is_ok()
        {
            lines += 1;
        }
        assert_eq!(lines, WINDOW);
        far.say(&Said::More.write()).await;
        far.line().await;
        far.say(&Said::Ended(0).write()).await;
    };
    let session = run(console, Settings::default(), cat(), &mut client.streams);
    let (ended, ()) = tokio::join!(session, shim);
    assert_eq!(ended.unwrap(), Exit::Code(0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_interrupts_the_program() {
    let (console, mut far) = console();
    let mut client = client();
    let gone = client.streams.gone.clone();
    let shim = async {
        far.begin().await;
        far.say(&Said::Bytes(Source::Output, b"x".to_vec()).write())
            .await;
        assert_eq!(far.told().await, Told::More);
        gone.cancel();
        assert_eq!(far.line().await, "");
        assert_eq!(far.told().await, Told::Interrupt);
    };
    let session = run(console, Settings::default(), cat(), &mut client.streams);
    let (ended, ()) = tokio::join!(session, shim);
    assert!(matches!(ended, Err(ExecError::Lost)), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_program_that_cannot_be_started_is_told() {
    let (console, mut far) = console();
    let mut client = client();
    let shim = async {
        far.say("vkc-shim 1 ready\nvkc-shim 1 failed no \u{1b}[31mpts\n")
            .await;
        while far.typed.recv().await.is_some() {}
    };
    let session = run(console, Settings::default(), cat(), &mut client.streams);
    let (ended, ()) = tokio::join!(session, shim);
    let Err(ExecError::Task(why)) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(why, "no [31mpts");
    // What was typed is nobody's: another way to run the command may still be found.
    assert!(client.streams.stdin.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_breaks_off_is_no_end() {
    let (console, mut far) = console();
    let mut client = client();
    let shim = async {
        far.begin().await;
        drop(far);
    };
    let session = run(console, Settings::default(), cat(), &mut client.streams);
    let (ended, ()) = tokio::join!(session, shim);
    assert!(matches!(ended, Err(ExecError::Lost)), "{ended:?}");
}
