//! Volumes that are kept up to date.

use super::*;

/// A pod of one container that mounts one volume at `/v`.
fn with_volume(volume: &Value) -> Value {
    let mut volume = volume.clone();
    volume["name"] = json!("v");
    let container = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    one(&container, json!({"volumes": [volume]}))
}

fn is_updated(made: &Translation) -> bool {
    let tagged = made.group.tags.contains_key("vkc-volumes");
    assert_eq!(
        tagged,
        crate::translate::volume_updates(&made.group).is_some()
    );
    tagged
}

#[test]
fn volumes_are_brought_up_to_date_where_programs_wait_for_it() {
    let labels =
        json!({"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels['a']"}}]});
    let name = json!({"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]});
    let token = |seconds: i64, audience: Option<&str>| {
        let mut token = json!({"path": "t", "expirationSeconds": seconds});
        if let Some(audience) = audience {
            token["audience"] = json!(audience);
        }
        json!({"sources": [{"serviceAccountToken": token}]})
    };
    let map = json!({"name": "c"});
    for (volume, needed, always) in [
        (json!({"downwardAPI": labels}), true, true),
        (json!({"downwardAPI": name}), false, true),
        (json!({"projected": token(600, Some("vault"))}), true, true),
        (json!({"projected": token(3607, None)}), false, false),
        (json!({"configMap": map}), false, true),
        (
            json!({"configMap": {"name": "c", "defaultMode": 0o400}}),
            true,
            true,
        ),
        (json!({"secret": {"secretName": "s"}}), false, true),
        (json!({"emptyDir": {}}), false, false),
    ] {
        let spec = with_volume(&volume);
        assert_eq!(is_updated(&translate(&spec)), needed, "{volume}");
        let mut defaults = with(ShimMode::WhenNeeded);
        defaults.shim.volume_updates = crate::api::VolumeUpdates::Always;
        let mut pod = pod(HELLO, &[("/spec", spec.clone())]);
        pod.spec.as_mut().unwrap().node_name = Some("n".to_owned());
        let made = container_group(&pod, &defaults, &owner(&pod), &resolved()).unwrap();
        assert_eq!(is_updated(&made), always, "{volume}");
        let never = translate_as(ShimMode::Never, &spec, &resolved()).unwrap();
        assert!(!is_updated(&never), "{volume}");
    }
}

#[test]
fn another_version_of_an_object_is_another_version_of_the_volumes() {
    let spec = with_volume(&json!({"configMap": {"name": "c", "defaultMode": 0o400}}));
    let version = |of: &str| {
        let mut resolved = resolved();
        let reference = crate::translate::Reference::ConfigMap("c".to_owned());
        let object = resolved.objects.get_mut(&reference).unwrap();
        let object = std::sync::Arc::make_mut(object.as_mut().unwrap());
        object.version = of.into();
        let made = translate_as(ShimMode::WhenNeeded, &spec, &resolved).unwrap();
        made.group.tags["vkc-volumes"].clone()
    };
    assert_eq!(version("7"), version("7"));
    assert_ne!(version("7"), version("8"));
}

#[test]
fn an_update_has_what_the_first_container_writes() {
    let container = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}], "securityContext": {"runAsUser": 1001}});
    let other = json!({"name": "other", "image": "e"});
    let volume = json!({"name": "v", "configMap": {"name": "c", "defaultMode": 0o400}});
    let mut spec = one(&container, json!({"volumes": [volume]}));
    spec["containers"].as_array_mut().unwrap().push(other);
    let made = translate(&spec);
    let updates = crate::translate::volume_updates(&made.group).unwrap();
    let names = updates.names();
    assert_eq!(updates.by.len(), 1);
    assert_eq!(
        (&*updates.by[0].container, &updates.by[0].volumes),
        ("c", &names)
    );
    let (filled, beside) = orders(&properties(&made), "/initContainers/0");
    let update = Spec::parse(&updates.orders(&names).unwrap()).unwrap();
    assert_eq!(update.volumes.len(), 1);
    assert_eq!(update.volumes[0].owner, Some(1001));
    let (update, filled) = (json_of(&update), json_of(&filled));
    let files = filled["volumes"][0]["files"].as_array().unwrap();
    assert!(files.len() > 1);
    for (n, file) in files.iter().enumerate() {
        let written = &update["volumes"][0]["files"][n];
        assert_eq!(written["path"], file["path"]);
        let base64 = written["content"]["base64"][0].as_str().unwrap();
        let from = file["content"]["from"].as_str().unwrap();
        assert_eq!(STANDARD.decode(base64).unwrap(), beside[from]);
    }
}

#[test]
fn a_group_without_room_runs_without_updates_and_says_so() {
    let items = json!([{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]);
    let pod_with = |others: usize| {
        let mut mounts = vec![json!({"name": "v", "mountPath": "/v"})];
        let mut volumes = vec![json!({"name": "v", "downwardAPI": {"items": items}})];
        for n in 0..others {
            let name = format!("e{n}");
            mounts.push(json!({"name": name, "mountPath": format!("/{name}")}));
            volumes.push(json!({"name": name, "emptyDir": {}}));
        }
        one(
            &json!({"volumeMounts": mounts}),
            json!({"volumes": volumes}),
        )
    };
    assert!(is_updated(&translate(&pod_with(16))));
    let made = translate(&pod_with(17));
    assert!(!is_updated(&made));
    let notes: Vec<_> = made.notes.iter().map(|it| &*it.message).collect();
    assert!(notes.iter().any(|it| it.contains("no room")), "{notes:?}");
}
