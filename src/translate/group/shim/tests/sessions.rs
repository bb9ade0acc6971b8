//! Programs that people attach to, and that wait for others.

use super::*;

#[test]
fn people_attach_to_a_program_with_an_input_or_a_terminal() {
    for (container, expected) in [
        (
            json!({"command": ["cat"], "stdin": true, "stdinOnce": true}),
            json!({"input": true, "once": true}),
        ),
        (
            json!({"command": ["sh"], "stdin": true, "tty": true}),
            json!({"input": true, "terminal": true}),
        ),
        (
            json!({"command": ["top"], "tty": true, "stdinOnce": true}),
            json!({"terminal": true}),
        ),
    ] {
        let spec = one(&container, json!({"securityContext": {"runAsUser": 1000}}));
        let made = translate(&spec);
        let properties = properties(&made);
        let (orders, _) = orders(&properties, "/containers/0");
        assert_eq!(json_of(&orders)["attach"], expected);
        // The place where people attach is made by root.
        assert_eq!(orders.user.unwrap().name, "1000");
        assert!(
            made.notes
                .iter()
                .any(|note| note.reason == super::super::SHIM)
        );
        let refused = translate_as(ShimMode::Never, &spec, &resolved()).unwrap_err();
        let refused = refused.to_string();
        assert!(refused.contains("spec.shim.mode: Never"), "{refused}");
    }
    let plain = json!({"command": ["cat"], "stdin": false, "tty": false, "stdinOnce": true});
    let made = translate(&one(&plain, json!({})));
    assert_eq!(made.group.properties.init_containers.len(), 0);
}

#[test]
fn what_comes_after_a_sidecar_waits_until_it_has_started() {
    let probe = |handler: Value| {
        let mut probe = json!({"initialDelaySeconds": 2, "timeoutSeconds": 3});
        probe
            .as_object_mut()
            .unwrap()
            .extend(handler.as_object().unwrap().clone());
        probe
    };
    let http = probe(
        json!({"httpGet": {"port": "health", "path": "ready", "httpHeaders": [
            {"name": "X-A", "value": "b"}, {"name": "X-Bad", "value": "a\r\nb"},
        ]}}),
    );
    let sidecar = |name: &str, probe: Value| {
        json!({"name": name, "image": "e", "command": [name], "restartPolicy": "Always",
            "ports": [{"name": "health", "containerPort": 15021}], "startupProbe": probe})
    };
    let spec = json!({
        "initContainers": [
            {"name": "first", "image": "e", "command": ["true"]},
            sidecar("proxy", http),
            sidecar("by-command", probe(json!({"exec": {"command": ["true"]}}))),
            sidecar("secure", probe(json!({"grpc": {"port": 9000}}))),
        ],
        "containers": [{"name": "c", "image": "e", "command": ["app"]}],
    });
    let made = translate(&spec);
    let properties = properties(&made);
    let proxy = json!({"port": 15021, "path": "/ready", "headers": [["X-A", "b"]], "delay": 2, "timeout": 3});
    let secure = json!({"port": 9000, "delay": 2, "timeout": 3});
    let after = |name: &str| {
        let containers = properties["containers"].as_array().unwrap();
        let at = containers.iter().position(|it| it["name"] == name).unwrap();
        let command = &containers[at]["properties"]["command"];
        if command[0] != "/.vkc/bin/vkc-shim" {
            return Value::Null;
        }
        json_of(&orders(&properties, &format!("/containers/{at}")).0)["after"].clone()
    };
    assert_eq!(after("c"), json!([proxy, secure]));
    assert_eq!(after("proxy"), Value::Null);
    assert_eq!(after("by-command"), json!([proxy]));
    assert_eq!(after("secure"), json!([proxy]));
    // Init containers that end run before all sidecars on ACI.
    let inits = properties["initContainers"].as_array().unwrap();
    let first = inits.iter().find(|it| it["name"] == "first").unwrap();
    assert_eq!(first["properties"]["command"], json!(["true"]));
    // Whom nobody waits for needs nothing, and without the shim it is said.
    let field = "spec.initContainers[1].startupProbe";
    let told = |made: &Translation| {
        made.notes
            .iter()
            .any(|note| note.message.contains("nobody waits") && note.field == field)
    };
    assert!(!told(&made));
    let never = translate_as(ShimMode::Never, &spec, &resolved()).unwrap();
    assert!(told(&never));
    assert_eq!(never.group.properties.init_containers.len(), 1);
}
