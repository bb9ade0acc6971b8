use crate::translate::testing::resolved;
use serde_json::{Value, json};

use super::{container, pod};
use crate::api::Os;
use crate::translate::group::review::Review;

/// What ARM gets and the fields of the notes, or the fields that are refused.
fn arm(of_pod: &Value, own: &Value, os: Os) -> Result<(Value, Vec<String>), Vec<String>> {
    arm_of("unread", of_pod, own, os)
}

fn arm_of(
    image: &str,
    of_pod: &Value,
    own: &Value,
    os: Os,
) -> Result<(Value, Vec<String>), Vec<String>> {
    let of_pod = serde_json::from_value(of_pod.clone()).unwrap();
    let own = serde_json::from_value(own.clone()).unwrap();
    let resolved = resolved();
    let mut review = Review::new(os, &resolved);
    pod(&of_pod, true, &mut review);
    let context = container(Some(&own), Some(&of_pod), image, 1, &mut review);
    match review.finish() {
        Ok((notes, _)) => Ok((
            serde_json::to_value(context).unwrap(),
            notes.into_iter().map(|note| note.field).collect(),
        )),
        Err(refusals) => Err(refusals.0.into_iter().map(|it| it.field).collect()),
    }
}

#[test]
fn what_aci_has_goes_along() {
    let table = [
        (json!({}), json!({}), json!(null)),
        (
            json!({"runAsNonRoot": false, "seccompProfile": {"type": "Unconfined"}}),
            json!({"capabilities": {}, "procMount": "Default", "readOnlyRootFilesystem": false}),
            json!(null),
        ),
        (
            json!({}),
            json!({"privileged": true, "allowPrivilegeEscalation": true}),
            json!({"privileged": true, "allowPrivilegeEscalation": true}),
        ),
        (
            json!({}),
            json!({"capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}}),
            json!({"capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}}),
        ),
        (
            json!({"runAsUser": 1000, "runAsGroup": 3000, "runAsNonRoot": true}),
            json!({}),
            json!({"runAsUser": 1000, "runAsGroup": 3000}),
        ),
        (
            json!({"runAsUser": 0, "runAsGroup": 0, "runAsNonRoot": true}),
            json!({"runAsUser": 7}),
            json!({"runAsUser": 7, "runAsGroup": 0}),
        ),
        (
            json!({"runAsNonRoot": true}),
            json!({"runAsNonRoot": false, "runAsUser": 0}),
            json!({"runAsUser": 0}),
        ),
    ];
    for (of_pod, own, expected) in table {
        let got = arm(&of_pod, &own, Os::Linux);
        assert_eq!(got, Ok((expected, Vec::new())), "{of_pod} {own}");
    }
}

#[test]
fn a_pod_of_the_restricted_standard_runs() {
    let own = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    let of_pod = json!({"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}});
    let expected = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "runAsUser": 1000,
    });
    let notes = [
        "spec.securityContext.seccompProfile",
        "spec.containers[1].securityContext.seccompProfile",
    ]
    .map(str::to_owned);
    assert_eq!(
        arm(&of_pod, &own, Os::Linux),
        Ok((expected, notes.to_vec()))
    );
}

#[test]
fn what_would_weaken_the_pod_is_refused() {
    let pods = "spec.securityContext";
    let own = "spec.containers[1].securityContext";
    let table = [
        (
            json!({"runAsNonRoot": true}),
            json!({"runAsUser": 0}),
            pods,
            "runAsNonRoot",
        ),
        (
            json!({"runAsUser": 5}),
            json!({"runAsNonRoot": true, "runAsUser": 0}),
            own,
            "runAsNonRoot",
        ),
        (
            json!({"runAsUser": 2_147_483_648_i64}),
            json!({}),
            pods,
            "runAsUser",
        ),
        (json!({}), json!({"runAsGroup": -1}), own, "runAsGroup"),
        (
            json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "p"}}),
            json!({}),
            pods,
            "seccompProfile",
        ),
    ];
    for (of_pod, context, place, member) in table {
        let got = arm(&of_pod, &context, Os::Linux);
        assert_eq!(got, Err(vec![format!("{place}.{member}")]), "{context}");
    }
}

#[test]
fn an_image_s_user_is_looked_at_as_a_kubelet_does() {
    let pods = json!({"runAsNonRoot": true});
    let own = json!({"runAsNonRoot": true});
    let (at_pod, at_own) = (
        "spec.securityContext.runAsNonRoot",
        "spec.containers[1].securityContext.runAsNonRoot",
    );
    for (image, expected) in [
        // What was looked at is said, so that no other image that gets the same tag runs as root.
        ("numeric", Ok(json!({"runAsUser": 1001}))),
        ("both", Ok(json!({"runAsUser": 65532, "runAsGroup": 65533}))),
        ("unread", Ok(json!(null))),
        ("named", Err(())),
        ("root", Err(())),
        ("bare", Err(())),
    ] {
        let expect = |at: &str| {
            expected
                .clone()
                .map(|arm| (arm, Vec::new()))
                .map_err(|()| vec![at.to_owned()])
        };
        assert_eq!(
            arm_of(image, &pods, &json!({}), Os::Linux),
            expect(at_pod),
            "{image}"
        );
        assert_eq!(
            arm_of(image, &json!({}), &own, Os::Linux),
            expect(at_own),
            "{image}"
        );
    }
    let group = arm_of("both", &json!({"runAsGroup": 7}), &own, Os::Linux);
    assert_eq!(
        group.unwrap().0,
        json!({"runAsUser": 65532, "runAsGroup": 7})
    );
    let number = arm_of("root", &json!({"runAsUser": 5}), &own, Os::Linux);
    assert_eq!(number.unwrap().0, json!({"runAsUser": 5}));
    let off = arm_of("root", &pods, &json!({"runAsNonRoot": false}), Os::Linux);
    assert_eq!(off.unwrap().0, json!(null));
    let resolved = resolved();
    let mut review = Review::new(Os::Linux, &resolved);
    container(
        None,
        Some(&serde_json::from_value(pods).unwrap()),
        "named",
        0,
        &mut review,
    );
    let refusals = review.finish().unwrap_err();
    assert!(refusals.is_retryable(), "the image may change");
    assert_eq!(refusals.reason(), "CreateContainerConfigError");
    let message = refusals.to_string();
    assert!(
        message.contains("image has non-numeric user (app), cannot verify user is non-root"),
        "{message}"
    );
}

#[test]
fn windows_has_no_security_context() {
    let table = [
        ("allowPrivilegeEscalation", json!(false)),
        ("capabilities.add", json!(["A"])),
        ("capabilities.drop", json!(["ALL"])),
        ("privileged", json!(true)),
        ("runAsGroup", json!(1)),
        ("runAsNonRoot", json!(true)),
        ("runAsUser", json!(1)),
        ("seccompProfile", json!({"type": "RuntimeDefault"})),
        ("windowsOptions", json!({"runAsUserName": "a"})),
    ];
    for (member, value) in table {
        let own = match member.split_once('.') {
            Some((outer, inner)) => json!({outer: {inner: value}}),
            None => json!({member: value}),
        };
        let expected = format!("spec.containers[1].securityContext.{member}");
        assert_eq!(arm(&json!({}), &own, Os::Windows), Err(vec![expected]));
    }
    let nothing = json!({"privileged": false, "allowPrivilegeEscalation": true});
    assert_eq!(
        arm(&json!({}), &nothing, Os::Windows),
        Ok((json!(null), Vec::new()))
    );
}
