use proptest::prelude::*;

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
    let (done, taken) = tokio::join!(run(console, Settings::default(), Some(&orders)), shim);
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
    let (done, lines) = tokio::join!(run(console, Settings::default(), Some(&orders)), shim);
    assert!(matches!(done, Err(ExecError::Lost)), "{done:?}");
    assert_eq!(lines, ON_THEIR_WAY);
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
        let session = run(console, Settings::default(), orders);
        let (done, ()) = tokio::join!(session, shim);
        let told = done.map_or_else(|error| error.to_string(), |()| "Ok".to_owned());
        assert!(told.contains(expected), "{said:?}: {told}");
        assert!(!told.contains('\u{1b}'), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_far_side_that_says_nothing_or_too_much_is_left() {
    let (silent, _far) = console();
    let done = run(silent, Settings::default(), None).await;
    assert!(matches!(done, Err(ExecError::Silent(30))), "{done:?}");

    let (console, far) = console();
    let flood = async {
        let much = Bytes::from(vec![b'x'; 64 * 1024]);
        while far.says.send(much.clone()).await.is_ok() {}
    };
    let (done, ()) = tokio::join!(run(console, Settings::default(), None), flood);
    assert!(matches!(done, Err(ExecError::NoShim(_))), "{done:?}");
}

proptest! {
    #[test]
    fn any_line_is_taken(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = answer(&line);
        let mut own = b"vkc-shim 1 failed ".to_vec();
        own.extend(line);
        if let Some(Answer::Failed(why)) = answer(&own) {
            prop_assert!(!why.contains(char::is_control));
        }
    }
}
