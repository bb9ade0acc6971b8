use super::*;

#[path = "tests/two_writers.rs"]
mod two_writers;

fn node(uid: &str, version: &str) -> Node {
    let mut node = Node::default();
    node.metadata.uid = Some(uid.to_owned());
    node.metadata.resource_version = Some(version.to_owned());
    node
}

#[test]
fn late_news_are_no_news() {
    let mut state = State {
        live: Some(node("a", "10")),
        ..State::default()
    };
    assert!(!state.see(watcher::Event::Apply(node("a", "9"))));
    assert!(!state.see(watcher::Event::Apply(node("a", "10"))));
    assert!(state.see(watcher::Event::Apply(node("a", "11"))));
    assert!(
        !state.see(watcher::Event::Delete(node("older", "8"))),
        "we have recreated it since"
    );
    assert!(state.live.is_some());
    assert!(state.see(watcher::Event::Delete(node("a", "12"))));
    assert!(state.live.is_none());
}

#[test]
fn a_list_without_the_node_means_it_is_gone() {
    let mut state = State {
        live: Some(node("a", "10")),
        ..State::default()
    };
    assert!(!state.see(watcher::Event::Init));
    assert!(state.see(watcher::Event::InitDone));
    assert!(!state.see(watcher::Event::Init));
    assert!(state.see(watcher::Event::InitApply(node("b", "12"))));
    assert!(!state.see(watcher::Event::InitDone));
    assert!(state.live.is_some());
}

#[test]
fn a_predecessors_ready_stands_while_the_agent_starts() {
    let want = |starting: bool| NodeWanted {
        spec: crate::node::spec::tests::spec(),
        ready: false,
        starting,
        reason: "Starting".to_owned(),
        message: "waiting".to_owned(),
        azure: None,
        endpoint: Endpoint::default(),
    };
    let left = |status: &str| {
        let condition = NodeCondition {
            type_: "Ready".to_owned(),
            status: status.to_owned(),
            reason: Some("VirtualNodeReady".to_owned()),
            ..NodeCondition::default()
        };
        let mut node = node("a", "1");
        node.status.get_or_insert_default().conditions = Some(vec![condition]);
        node
    };
    for (starting, status, expected) in [
        (true, "True", true),
        // What the controller manager writes when nobody renews the lease.
        (true, "Unknown", false),
        (true, "False", false),
        (false, "True", false),
    ] {
        let node = left(status);
        let stood = stands(&want(starting), Some(&node));
        assert_eq!(stood.is_some(), expected, "{starting} {status}");
    }
    assert!(stands(&want(true), None).is_none(), "a new Node");
}
