use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::Os;
use crate::translate::testing::{HELLO, defaults, owner, pod, resolved};
use crate::translate::{Resolved, Service, Translation, container_group};

/// The Linux fixture with these containers; it has the label `app: web`.
fn translate(containers: &Value, resolved: &Resolved) -> Translation {
    let changes = [
        ("/spec/containers", containers.clone()),
        ("/metadata/labels", json!({"app": "web"})),
    ];
    let pod = pod(HELLO, &changes);
    container_group(&pod, &defaults(Os::Linux), &owner(&pod), resolved)
        .unwrap_or_else(|why| panic!("{why}"))
}

/// The ports that each container declares, those that the address opens, and the fields of what is told.
fn ports(made: &Translation) -> (Vec<Vec<i32>>, Vec<i32>, Vec<&str>) {
    let properties = &made.group.properties;
    let of = |ports: &[crate::azure::model::Port]| {
        ports.iter().map(|port| port.port).collect::<Vec<_>>()
    };
    let own = properties
        .containers
        .iter()
        .map(|it| of(&it.properties.ports));
    let open = properties.ip_address.iter().flat_map(|it| of(&it.ports));
    let told = made.notes.iter().map(|note| {
        assert_eq!(note.reason, "ApproximatedOnAci");
        note.field.as_str()
    });
    (own.collect(), open.collect(), told.collect())
}

fn declared(numbers: &[i32]) -> Value {
    numbers
        .iter()
        .map(|number| json!({"containerPort": number}))
        .collect()
}

fn service(selector: &Value, ports: &Value) -> Service {
    let service = json!({"metadata": {"name": "s"}, "spec": {"clusterIP": "10.0.0.1", "selector": selector, "ports": ports}});
    Service::of(&serde_json::from_value(service).unwrap()).unwrap()
}

fn with(services: Vec<Service>) -> Resolved {
    Resolved {
        services: Some(Arc::from(services)),
        ..resolved()
    }
}

#[test]
fn a_port_is_the_first_container_s_that_declares_it() {
    let containers = json!([
        {"name": "a", "image": "i", "ports": [{"containerPort": 80}, {"containerPort": 53}, {"containerPort": 53, "protocol": "UDP"}]},
        {"name": "b", "image": "i", "ports": [{"containerPort": 80, "protocol": "UDP"}, {"containerPort": 81}]},
    ]);
    let made = translate(&containers, &resolved());
    let expected = (
        vec![vec![80, 53, 53], vec![81]],
        vec![80, 53, 53, 81],
        vec!["spec.containers[1].ports[80]"],
    );
    assert_eq!(ports(&made), expected);
}

#[test]
fn ports_that_aci_keeps_are_not_opened() {
    let containers =
        json!([{"name": "a", "image": "i", "ports": declared(&[22, 80, 27017, 60000])}]);
    let made = translate(&containers, &resolved());
    let field = |n: usize| format!("spec.containers[0].ports[{n}].containerPort");
    let told = [field(0), field(2), field(3)];
    let (own, open, notes) = ports(&made);
    assert_eq!((own, open), (vec![vec![80]], vec![80]));
    assert_eq!(notes, told);
}

#[test]
fn of_more_ports_than_an_address_opens_those_that_services_send_to_come_first() {
    let mut main = declared(&[8000, 8001, 8002, 8003]);
    main[3]["name"] = json!("web");
    let containers = json!([
        {"name": "a", "image": "i", "ports": main},
        {"name": "b", "image": "i", "ports": declared(&[8004, 8005, 8006])},
    ]);
    let all = vec![vec![8000, 8001, 8002, 8003], vec![8004, 8005, 8006]];
    let left = |numbers: &[(usize, i32)]| {
        let field = |(n, port): &(usize, i32)| format!("spec.containers[{n}].ports[{port}]");
        numbers.iter().map(field).collect::<Vec<_>>()
    };
    let cases = [
        (
            vec![],
            vec![8000, 8001, 8002, 8003, 8004],
            left(&[(1, 8005), (1, 8006)]),
        ),
        (
            vec![
                service(
                    &json!({"app": "web"}),
                    &json!([{"port": 80, "targetPort": "web"}, {"port": 8006}]),
                ),
                // Of other pods.
                service(&json!({"app": "db"}), &json!([{"port": 8005}])),
                service(&json!({}), &json!([{"port": 8005}])),
            ],
            vec![8003, 8006, 8000, 8001, 8002],
            left(&[(1, 8004), (1, 8005)]),
        ),
    ];
    for (services, expected, told) in cases {
        let made = translate(&containers, &with(services));
        let (own, open, notes) = ports(&made);
        assert_eq!((own, open), (all.clone(), expected));
        assert_eq!(notes, told);
    }
    // Services are asked for also where the pod wants no variables of them.
    let changes = [
        ("/spec/containers", containers),
        ("/spec/enableServiceLinks", json!(false)),
    ];
    let pod = pod(HELLO, &changes);
    let made = container_group(
        &pod,
        &defaults(Os::Linux),
        &owner(&pod),
        &Resolved::default(),
    );
    assert!(
        made.unwrap()
            .references
            .contains(&crate::translate::Reference::Services)
    );
}
