//! From the PUT to the end of the last container.

use serde_json::{Value, json};

use crate::place::{Place, events, one, view, with};

#[tokio::test]
async fn a_group_has_an_address_volumes_variables_and_a_log() {
    let place = Place::start().await;
    let web = "cat /data/x /secret/key; echo $FROM $PLAIN $HIDDEN; echo bad >&2; exec httpd -f -p 80 -h /var/www";
    let body = json!({"location": "eastus", "properties": {
        "osType": "Linux", "restartPolicy": "OnFailure",
        "ipAddress": {"type": "Public", "ports": [{"port": 80, "protocol": "TCP"}]},
        "initContainers": [{"name": "first", "properties": {
            "image": "busybox", "command": ["sh", "-c", "echo first; echo data >/data/x"],
            "volumeMounts": [{"name": "vdata1", "mountPath": "/data"}]}}],
        "containers": [
            {"name": "c", "properties": {
                "image": "busybox", "command": ["sh", "-c", web],
                "ports": [{"port": 80}],
                "environmentVariables": [{"name": "PLAIN", "value": "p"}, {"name": "HIDDEN", "secureValue": "h"}],
                "resources": {"requests": {"cpu": 1, "memoryInGB": 1}},
                "volumeMounts": [
                    {"name": "vdata1", "mountPath": "/data", "readOnly": true},
                    {"name": "secrets", "mountPath": "/secret"},
                    {"name": "share1", "mountPath": "/share"}]}},
            {"name": "beside", "properties": {
                "image": "busybox",
                "command": ["sh", "-c", "until wget -q -O - http://127.0.0.1/; do sleep 0.1; done; hostname -i"],
                "resources": {"requests": {"cpu": 0.1, "memoryInGB": 0.1}}}}],
        "volumes": [
            {"name": "vdata1", "emptyDir": {}},
            {"name": "secrets", "secret": {"key": "c2VjcmV0Cg=="}},
            {"name": "share1", "azureFile": {"shareName": "s", "storageAccountName": "a", "storageAccountKey": "a2V5"}}],
    }});
    place.running("g", &body).await;
    place.says("g", "c", "bad").await;
    let log = place.log("g", "c").await;
    for line in ["data\n", "secret\n", "image p h\n", "bad\n"] {
        assert!(log.contains(line), "{line:?} is not in {log}");
    }
    assert_eq!(place.log("g", "first").await, "first\n");
    let group = place
        .until("g", |group| {
            group["properties"]["containers"][1]["properties"]["instanceView"]["currentState"]
                ["state"]
                == "Terminated"
        })
        .await;
    let ip = group["properties"]["ipAddress"]["ip"].as_str().unwrap();
    let log = place.log("g", "beside").await;
    assert!(log.ends_with(&format!("a real page\n{ip}\n")), "{log}");
    let page = place.page(ip).await.text().await;
    assert_eq!(page.unwrap(), "a real page\n");
    assert_eq!(group["properties"]["instanceView"]["state"], "Running");
    let init = &group["properties"]["initContainers"][0]["properties"]["instanceView"];
    assert_eq!(init["currentState"]["detailStatus"], "Completed");
    let names: Vec<String> = events(&group).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["Pulling", "Pulled", "Created", "Started"]);
    place.stop().await;
}

#[tokio::test]
async fn ends_and_what_follows() {
    let place = Place::start().await;
    for (name, script, policy, code, state) in [
        ("well", "exit 0", "Never", 0, "Succeeded"),
        ("badly", "exit 3", "Never", 3, "Failed"),
        (
            "signal",
            "sh -c 'kill -9 $$; :'; exit $?",
            "Never",
            137,
            "Failed",
        ),
        ("once", "exit 0", "OnFailure", 0, "Succeeded"),
    ] {
        let group = place.ended(name, &one(script, policy)).await;
        let current = &view(&group)["currentState"];
        assert_eq!(
            group["properties"]["instanceView"]["state"], state,
            "{name}"
        );
        assert_eq!(current["exitCode"], code, "{name}");
        assert_eq!(
            current["detailStatus"],
            if code == 0 { "Completed" } else { "Error" },
            "{name}"
        );
        assert!(current["finishTime"].is_string() && current["startTime"].is_string());
    }
    let flag = "[ -e /share/done ] && exit 0; touch /share/done; exit 5";
    let mut body = with(
        flag,
        "OnFailure",
        json!({"volumeMounts": [{"name": "share1", "mountPath": "/share"}]}),
    );
    body["properties"]["volumes"] = json!([{"name": "share1", "azureFile":
        {"shareName": "flags", "storageAccountName": "a", "storageAccountKey": "a2V5"}}]);
    let group = place.ended("again", &body).await;
    assert_eq!(view(&group)["restartCount"], 1);
    assert_eq!(view(&group)["previousState"]["exitCode"], 5);
    assert_eq!(view(&group)["currentState"]["exitCode"], 0);

    place.put("loop", &one("exit 1", "Always")).await;
    let group = place
        .until("loop", |group| {
            view(group)["restartCount"].as_u64() >= Some(2)
                && view(group)["currentState"]["state"] == "Waiting"
        })
        .await;
    assert_eq!(
        view(&group)["currentState"]["detailStatus"],
        "CrashLoopBackOff: Back-off restarting failed"
    );
    assert!(events(&group).iter().any(|(name, _)| name == "BackOff"));
    place.stop().await;
}

#[tokio::test]
async fn memory_is_bounded() {
    let place = Place::start().await;
    let script = "dd if=/dev/zero of=/dev/null bs=1500M count=1";
    let mut body = one(script, "Never");
    body["properties"]["containers"][0]["properties"]["command"] =
        json!(["dd", "if=/dev/zero", "of=/dev/null", "bs=1500M", "count=1"]);
    let group = place.ended("g", &body).await;
    let current = &view(&group)["currentState"];
    assert_eq!(
        (&current["exitCode"], &current["detailStatus"]),
        (&json!(137), &json!("OOMKilled"))
    );
    place.stop().await;
}

#[tokio::test]
async fn an_init_container_that_fails_keeps_the_others_from_running() {
    let place = Place::start().await;
    let mut body = one("echo never", "Never");
    body["properties"]["initContainers"] = json!([
        {"name": "bad", "properties": {"image": "busybox", "command": ["sh", "-c", "exit 4"]}},
        {"name": "after", "properties": {"image": "busybox", "command": ["true"]}}]);
    let group = place.ended("g", &body).await;
    assert_eq!(group["properties"]["instanceView"]["state"], "Failed");
    let init = |number: usize| {
        &group["properties"]["initContainers"][number]["properties"]["instanceView"]["currentState"]
    };
    assert_eq!(init(0)["exitCode"], 4);
    assert_eq!(init(1)["state"], "Waiting");
    assert_eq!(view(&group)["currentState"]["state"], "Waiting");
    place.stop().await;
}

#[tokio::test]
async fn probes_condemn_and_tell() {
    let place = Place::start().await;
    let probe = |command: Value| json!({"exec": {"command": command}, "periodSeconds": 1, "failureThreshold": 2});
    let body = with(
        "trap 'exit 9' TERM; touch /ok; sleep 2; rm /ok; while :; do sleep 0.1; done",
        "Always",
        json!({
            "livenessProbe": probe(json!(["cat", "/ok"])),
            "readinessProbe": probe(json!(["sh", "-c", "echo not ready; exit 1"])),
        }),
    );
    place.put("g", &body).await;
    let group = place
        .until("g", |group| view(group)["restartCount"].as_u64() >= Some(1))
        .await;
    assert_eq!(view(&group)["previousState"]["exitCode"], 9);
    let events = events(&group);
    let has = |name: &str, part: &str| {
        events
            .iter()
            .any(|(event, message)| event == name && message.contains(part))
    };
    assert!(has("Killing", "failed liveness probe"), "{events:?}");
    assert!(
        has("Unhealthy", "Liveness probe failed: cat:"),
        "{events:?}"
    );
    assert!(
        has("Unhealthy", "Readiness probe failed: not ready"),
        "{events:?}"
    );

    let body = with(
        "httpd -f -p 80 -h /var/www",
        "Never",
        json!({"livenessProbe": {"httpGet": {"path": "/missing", "port": 80}, "initialDelaySeconds": 1, "periodSeconds": 1, "failureThreshold": 1}}),
    );
    let group = place.ended("http", &body).await;
    assert_eq!(view(&group)["restartCount"], 0);
    assert_eq!(group["properties"]["instanceView"]["state"], "Failed");
    place.stop().await;
}

#[tokio::test]
async fn redirects_of_probes_lead_on_within_the_group() {
    let place = Place::start().await;
    let web = r#"mkdir -p /var/www/cgi-bin
cat >/var/www/cgi-bin/to <<'END'
#!/bin/sh
printf 'HTTP/1.0 302 Found\r\nLocation: %s\r\n\r\nfound' "$QUERY_STRING"
END
chmod +x /var/www/cgi-bin/to; httpd -p 80 -h /var/www
trap 'exit 9' TERM; while :; do sleep 0.1; done"#;
    let probed = |to: &str| {
        let get = json!({"path": format!("/cgi-bin/to?{to}"), "port": 80});
        with(
            web,
            "Never",
            json!({"livenessProbe": {"httpGet": get, "initialDelaySeconds": 1, "periodSeconds": 1, "failureThreshold": 1}}),
        )
    };
    place.put("away", &probed("http://192.0.2.1/")).await;
    let warning = "Liveness probe warning: Probe terminated redirects, Response body: found";
    let warned = |group: &Value| {
        let has = |(event, text): &(String, String)| event == "ProbeWarning" && text == warning;
        events(group).iter().any(has)
    };
    place.until("away", warned).await;
    // What it leads to is not there.
    let group = place.ended("here", &probed("/missing")).await;
    assert_eq!(view(&group)["currentState"]["exitCode"], 9);
    place.stop().await;
}

#[tokio::test]
async fn a_log_ends_as_the_program_has_ended_it() {
    let place = Place::start().await;
    place.ended("g", &one("printf 'one\\ntwo'", "Never")).await;
    assert_eq!(place.log("g", "c").await, "one\ntwo");
    place.stop().await;
}
