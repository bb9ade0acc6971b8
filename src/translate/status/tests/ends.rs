//! Statuses that no group gives: before it, without it, after it.

use super::*;

#[test]
fn waiting_says_why() {
    let status = status_waiting(
        &web_facts(&[]),
        "NotSupportedOnAci",
        "spec.hostPID: no host",
        Some("10.1.2.3"),
        at(NOW),
    );
    let expected =
        json!({"waiting": {"reason": "NotSupportedOnAci", "message": "spec.hostPID: no host"}});
    assert_eq!(
        short(&status),
        ("Pending".to_owned(), expected, "False".to_owned())
    );
    assert_eq!(status.host_ip.as_deref(), Some("10.1.2.3"));
    assert_eq!(status.reason, None);
}

#[test]
fn an_image_that_aci_cannot_pull_is_shown_as_a_kubelet_shows_it() {
    let containers = json!([
        {"name": "a", "image": "r.azurecr.io/a:v1"},
        {"name": "b", "image": "r.azurecr.io/b:v1"},
    ]);
    let facts = web_facts(&[("/spec/containers", containers)]);
    let shown = |again: bool, message: &str| {
        let status = status_unpulled(&facts, again, message, None, at(NOW));
        assert_eq!(status.phase.as_deref(), Some("Pending"));
        let waits = status.container_statuses.unwrap().into_iter().map(|it| {
            let waiting = it.state.unwrap().waiting.unwrap();
            (waiting.reason.unwrap(), waiting.message)
        });
        waits.collect::<Vec<_>>()
    };
    let creating = ("ContainerCreating".to_owned(), None);
    let accessible = "The image 'r.azurecr.io/a:v1' in container group 'cg' is not accessible.";
    let err = |message: &str| ("ErrImagePull".to_owned(), Some(message.to_owned()));
    assert_eq!(
        shown(false, accessible),
        [err(accessible), creating.clone()]
    );
    let message =
        format!("Back-off pulling image \"r.azurecr.io/a:v1\": ErrImagePull: {accessible}");
    let back_off = ("ImagePullBackOff".to_owned(), Some(message));
    assert_eq!(shown(true, accessible), [back_off, creating]);
    // It names no image.
    let registry = "An error response is received from the docker registry 'index.docker.io'.";
    assert_eq!(shown(false, registry), [err(registry), err(registry)]);
}

#[test]
fn what_cannot_be_started_is_shown_of_the_containers_that_it_is_about() {
    let containers = json!([{"name": "a", "image": "a"}, {"name": "b", "image": "b"}]);
    let inits = json!([{"name": "i", "image": "i"}]);
    let facts = web_facts(&[
        ("/spec/containers", containers),
        ("/spec/initContainers", inits),
    ]);
    let fault = |index: usize, message: &str| ContainerFault {
        init: false,
        index,
        reason: "CreateContainerConfigError",
        message: message.to_owned(),
    };
    let faults = [fault(1, "secret \"x\" not found"), fault(1, "another")];
    let status = status_not_started(&facts, &faults, None, at(NOW));
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    let inits = status.init_container_statuses.into_iter().flatten();
    let all = inits.chain(status.container_statuses.into_iter().flatten());
    let waits = all.map(|it| {
        let waiting = it.state.unwrap().waiting.unwrap();
        (waiting.reason.unwrap(), waiting.message)
    });
    let nothing = || ("PodInitializing".to_owned(), None);
    let fault = (
        "CreateContainerConfigError".to_owned(),
        Some("secret \"x\" not found".to_owned()),
    );
    assert_eq!(waits.collect::<Vec<_>>(), [nothing(), nothing(), fault]);
}

#[test]
fn failed_ends_what_may_have_run() {
    let pending = status_failed(
        &web_facts(&[]),
        None,
        "DeadlineExceeded",
        "too late",
        None,
        at(NOW),
    );
    assert_eq!(
        (pending.phase.as_deref(), pending.reason.as_deref()),
        (Some("Failed"), Some("DeadlineExceeded"))
    );
    assert_eq!(pending.message.as_deref(), Some("too late"));
    assert!(first(&pending).state.as_ref().unwrap().waiting.is_some());
    let running = status_failed(
        &web_facts(&[("/status/phase", json!("Running"))]),
        None,
        "R",
        "m",
        None,
        at(NOW),
    );
    assert_eq!(
        first(&running)
            .state
            .clone()
            .unwrap()
            .terminated
            .unwrap()
            .exit_code,
        137
    );
}

#[test]
fn a_vanished_group_fails_the_pod_and_keeps_what_was_known() {
    let facts = web_facts(&[("/status/podIP", json!("13.83.249.21"))]);
    let running = observed(&facts, &group(RUNNING, &[]));
    let gone = status_group_gone(&facts, Some(&running), None, at(NOW));
    assert_eq!(
        (gone.phase.as_deref(), gone.reason.as_deref()),
        (Some("Failed"), Some("ContainerGroupDeleted"))
    );
    let end = first(&gone).state.clone().unwrap().terminated.unwrap();
    assert_eq!(
        (end.exit_code, end.reason.as_deref()),
        (137, Some("ContainerStatusUnknown"))
    );
    assert_eq!(end.started_at.unwrap().0, at("2019-10-21T11:43:06Z"));
    assert_eq!(first(&gone).container_id, first(&running).container_id);
    assert_eq!(gone.pod_ip.as_deref(), Some("13.83.249.21"));

    let ended = observed(&never(), &group(TERMINATED, &[]));
    let gone = status_group_gone(&never(), Some(&ended), None, at(NOW));
    assert_eq!(first(&gone).state, first(&ended).state);
    let blind = status_group_gone(&facts, None, None, at(NOW));
    assert_eq!(
        first(&blind)
            .state
            .clone()
            .unwrap()
            .terminated
            .unwrap()
            .exit_code,
        137
    );
}

#[test]
fn the_last_status_of_a_deleted_pod() {
    let now = at(NOW);
    let code = |status: &PodStatus| {
        first(status)
            .state
            .clone()
            .unwrap()
            .terminated
            .map(|end| end.exit_code)
    };
    let running = status_terminated(&web_facts(&[]), Some(&group(RUNNING, &[])), None, now);
    assert_eq!(
        (running.phase.as_deref(), code(&running)),
        (Some("Failed"), Some(137))
    );
    let end = first(&running).state.clone().unwrap().terminated.unwrap();
    assert_eq!(end.finished_at.unwrap().0, at("2026-09-01T10:05:00Z"));
    let failed = status_terminated(&never(), Some(&group(TERMINATED, &[])), None, now);
    assert_eq!(
        (failed.phase.as_deref(), code(&failed)),
        (Some("Failed"), Some(2))
    );
    let zero = json!({"state": "Terminated", "exitCode": 0});
    for facts in [never(), web_facts(&[])] {
        let done = status_terminated(
            &facts,
            Some(&group(TERMINATED, &[(STATE, zero.clone())])),
            None,
            now,
        );
        assert_eq!(
            (done.phase.as_deref(), code(&done)),
            (Some("Succeeded"), Some(0))
        );
    }
    let unstarted = status_terminated(&web_facts(&[]), None, None, now);
    assert_eq!(
        (unstarted.phase.as_deref(), code(&unstarted)),
        (Some("Failed"), None)
    );
    let unseen = status_terminated(
        &web_facts(&[("/status/phase", json!("Running"))]),
        None,
        None,
        now,
    );
    assert_eq!(
        (unseen.phase.as_deref(), code(&unseen)),
        (Some("Failed"), Some(137))
    );
}
