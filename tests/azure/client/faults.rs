//! Servers and networks that fail, and what is and is not tried again.

use vkc::azure::monitor::Metric;

use super::*;

#[tokio::test]
async fn a_write_is_never_sent_twice() {
    for (answer, class, may_have) in [
        (
            Answer::error(503, "ServerTimeout"),
            ErrorClass::Unavailable,
            true,
        ),
        (
            Answer::error(500, "InternalServerError"),
            ErrorClass::Unavailable,
            true,
        ),
        (
            Answer::text(502, "text/html", "<html>"),
            ErrorClass::Unavailable,
            true,
        ),
        (Answer::Drop, ErrorClass::Connection, true),
        (Answer::Cut, ErrorClass::Connection, true),
        (
            Answer::text(200, "text/html", "<html>"),
            ErrorClass::Protocol,
            true,
        ),
        (
            Answer::error(429, "TooManyRequests").with("retry-after", "17"),
            ErrorClass::Throttled,
            false,
        ),
        (
            Answer::error(409, "ServiceUnavailable"),
            ErrorClass::Capacity,
            false,
        ),
        (
            Answer::empty(302).with("location", "/elsewhere"),
            ErrorClass::Protocol,
            false,
        ),
    ] {
        let server = answering(vec![answer.clone()]).await;
        let error = client(&server)
            .put_group("rg", "g", &ContainerGroup::default())
            .await
            .unwrap_err();
        assert_eq!(error.class, class, "{answer:?}: {error}");
        assert_eq!(
            error.may_have_taken_effect(),
            may_have,
            "{answer:?}: {error}"
        );
        assert_eq!(server.calls().len(), 1, "{answer:?}");
        if class == ErrorClass::Throttled {
            assert_eq!(error.retry_after, Some(Duration::from_secs(17)));
        }
    }
}

#[tokio::test]
async fn a_get_survives_a_short_failure() {
    for failure in [
        Answer::error(503, "ServerTimeout"),
        Answer::Drop,
        Answer::Cut,
    ] {
        let server = answering(vec![
            failure.clone(),
            failure,
            Answer::json(200, &group("g")),
        ])
        .await;
        let started = Instant::now();
        assert!(
            client(&server)
                .get_group("rg", "g")
                .await
                .unwrap()
                .is_some()
        );
        assert_eq!(server.calls().len(), 3);
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "{:?}",
            started.elapsed()
        );
    }
    for (failure, sent) in [
        (Answer::error(503, "ServerTimeout"), 3),
        (
            Answer::error(503, "ServerTimeout").with("retry-after", "5"),
            1,
        ),
        (
            Answer::error(429, "TooManyRequests").with("retry-after", "1"),
            1,
        ),
        (Answer::error(500, "InternalServerError"), 1),
    ] {
        let server = answering(vec![failure.clone()]).await;
        client(&server).get_group("rg", "g").await.unwrap_err();
        assert_eq!(server.calls().len(), sent, "{failure:?}");
    }
}

#[tokio::test]
async fn a_hostile_retry_after_is_neither_slept_nor_believed() {
    for (value, believed) in [
        ("1800", Some(300)),
        ("86400", Some(300)),
        ("99999999999999999999", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", Some(300)),
        ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
        ("-1", None),
        ("soon", None),
    ] {
        let server = answering(vec![
            Answer::error(429, "TooManyRequests").with("retry-after", value),
        ])
        .await;
        let started = Instant::now();
        for write in [false, true] {
            let error = if write {
                let group = ContainerGroup::default();
                client(&server).put_group("rg", "g", &group).await.err()
            } else {
                client(&server).get_group("rg", "g").await.err()
            };
            let asked = error.unwrap().retry_after;
            assert_eq!(asked, believed.map(Duration::from_secs), "{value}");
        }
        assert!(started.elapsed() < Duration::from_secs(2), "{value}");
        assert_eq!(server.calls().len(), 2, "{value}");
    }
}

#[tokio::test]
async fn a_slow_answer_is_waited_for_and_a_hanging_one_given_up() {
    let server = Server::start(|seen| match seen.path().rsplit('/').next() {
        Some("slow") => Answer::json(200, &group("slow")).after(Duration::from_millis(100)),
        _ => Answer::Hang,
    })
    .await;
    let client = client(&server);
    assert!(client.get_group("rg", "slow").await.unwrap().is_some());
    // From here on a connection is open, and only the time-outs are left to wait for.
    tokio::time::pause();
    let started = Instant::now();
    let error = client.get_group("rg", "hang").await.unwrap_err();
    assert_eq!(
        (error.class, started.elapsed().as_secs()),
        (ErrorClass::Timeout, 30),
        "{error}"
    );
}

#[tokio::test]
async fn a_hanging_write_may_have_happened() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "GET" => Answer::json(200, &group("g")),
        _ => Answer::Hang,
    })
    .await;
    let client = client(&server);
    client.get_group("rg", "g").await.unwrap();
    tokio::time::pause();
    let started = Instant::now();
    let error = client
        .put_group("rg", "g", &ContainerGroup::default())
        .await
        .unwrap_err();
    assert_eq!(
        (error.class, started.elapsed().as_secs()),
        (ErrorClass::Timeout, 60),
        "{error}"
    );
    assert!(error.may_have_taken_effect());
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let padding = " ".repeat(9 << 20);
    let server = answering(vec![Answer::text(200, "application/json", &padding)]).await;
    let error = client(&server).get_group("rg", "g").await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Protocol);
    assert!(error.message.contains("longer than"), "{error}");
}

#[tokio::test]
async fn nobody_listening_is_a_connection_that_was_never_made() {
    let server = answering(vec![Answer::empty(200)]).await;
    let mut gone = answering(vec![Answer::empty(200)]).await;
    gone.stop().await;
    let client = client_with(&gone.address, &server, Arc::new(()));
    let error = client
        .put_group("rg", "g", &ContainerGroup::default())
        .await
        .unwrap_err();
    assert_eq!(
        (error.class, error.may_have_taken_effect()),
        (ErrorClass::Connection, false),
        "{error}"
    );
    assert!(error.is_retryable());
    assert!(error.message.contains("refused"), "{error}");
}

#[tokio::test]
async fn an_unknown_ca_is_named() {
    let server = answering(vec![Answer::empty(200)]).await;
    let endpoints = Endpoints::custom(&server.address, &server.address, None, None).unwrap();
    let client = ArmClient::new(
        endpoints,
        "sub".to_owned(),
        credential(SECRET),
        &Limiters::new(),
        Arc::new(()),
    )
    .unwrap();
    let error = client.check_token().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Identity);
    assert!(error.message.contains("certificate"), "{error}");
}

#[tokio::test]
async fn one_429_on_one_get_is_noticed_by_nobody_else() {
    let server = Server::start(|seen| match seen.path().rsplit('/').next() {
        Some("odd") => Answer::error(429, "TooManyRequests").with("retry-after", "20"),
        Some(name) => Answer::json(200, &group(name))
            .with("x-ms-ratelimit-remaining-subscription-reads", "240"),
        None => Answer::empty(404),
    })
    .await;
    let log = Arc::new(Log::default());
    let client = client_with(&server.address, &server, Arc::<Log>::clone(&log));
    let odd = client.get_group("rg", "odd").await.unwrap_err();
    assert_eq!(
        (odd.class, odd.retry_after),
        (ErrorClass::Throttled, Some(Duration::from_secs(20)))
    );
    let names: Vec<String> = (0..20).map(|i| format!("g{i}")).collect();
    let others =
        futures::future::join_all(names.iter().map(|name| client.get_group("rg", name))).await;
    assert!(others.into_iter().all(|group| group.unwrap().is_some()));
    assert!(
        log.0.lock().iter().all(|(name, _)| *name != "read"),
        "nobody waited"
    );
}

#[tokio::test]
async fn figures_wait_for_turns_of_their_own_while_a_pod_is_read_at_once() {
    let server = Server::start(|seen| match seen.path().rsplit('/').next() {
        Some("metrics") => Answer::json(200, &json!({"value": []})),
        Some(name) => Answer::json(200, &group(name)),
        None => Answer::empty(404),
    })
    .await;
    let client = client(&server);
    client.plan_metrics("node", 2.0);
    let read = AtomicUsize::new(0);
    let figures = (0..80).map(|_| async {
        let answer = client.metrics("rg", "g", &Metric::ALL, false, 0, 60).await;
        read.fetch_add(1, Ordering::Relaxed);
        answer.unwrap()
    });
    let pod = async {
        // All of the figures have been asked for by then, and as many sent as the plan has saved up.
        while read.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(client.get_group("rg", "g").await.unwrap().is_some());
        read.load(Ordering::Relaxed)
    };
    let begun = Instant::now();
    let (_, before) = tokio::join!(futures::future::join_all(figures), pod);
    assert!(before < 80, "{before} figures were read before the pod");
    // Fifty-one at once, then eight a second: four fifths of ten, when nobody else reads.
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(3), "{took:?}");
}
