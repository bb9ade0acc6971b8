use std::time::Duration;

use super::*;
use crate::api::conditions::ORPHANS_FOUND;
use crate::connector::validate::tests::spec;
use crate::pods::engine::{Held, Hold};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

struct Case {
    spec: VirtualKubeletConnectorSpec,
    previous: Option<VirtualKubeletConnectorStatus>,
    deleting: bool,
    resolved: Result<IdentityStatus, Problem>,
    workspace: Option<Problem>,
    findings: Option<Vec<ConditionUpdate>>,
    fresh: bool,
    region: Region,
    requested_at: Option<String>,
    scope: Option<AzureScope>,
    reach: Reach,
    nodes: Vec<NodeFacts>,
    arriving: bool,
}

impl Case {
    /// Two nodes, all well.
    fn good() -> Self {
        Self {
            spec: spec(&json!({"publicIP": true})),
            previous: None,
            deleting: false,
            resolved: Ok(IdentityStatus::default()),
            workspace: None,
            findings: Some(vec![
                finding(CREDENTIALS_READY, false, false),
                finding(PROVIDER_REGISTERED, false, false),
            ]),
            fresh: true,
            region: Region::default(),
            requested_at: None,
            scope: None,
            reach: Reach::Reachable,
            nodes: vec![node(Os::Linux, true), node(Os::Windows, true)],
            arriving: false,
        }
    }

    fn status(&self, second: i64) -> VirtualKubeletConnectorStatus {
        let facts = Facts {
            generation: 3,
            spec: &self.spec,
            previous: self.previous.as_ref(),
            requested_at: self.requested_at.clone(),
            deleting: self.deleting,
            resolved: self.resolved.as_ref(),
            scope: self.scope.clone(),
            reach: self.reach.clone(),
            workspace: self.workspace.as_ref(),
            findings: self.findings.as_deref(),
            fresh: self.fresh,
            region: &self.region,
            nodes: &self.nodes,
            arriving: self.arriving,
        };
        status(&facts, &Time(Timestamp::from_second(second).unwrap()))
    }

    /// `Ready` and its reason, and the abnormal condition.
    fn summary(&self) -> (String, String, Option<String>) {
        let status = self.status(1);
        let ready = conditions::find(&status.conditions, READY).unwrap();
        let abnormal = status
            .conditions
            .iter()
            .find(|c| c.type_ == STALLED || c.type_ == RECONCILING);
        (
            ready.status.clone(),
            ready.reason.clone(),
            abnormal.map(|c| c.type_.clone()),
        )
    }

    fn message(&self) -> String {
        conditions::find(&self.status(1).conditions, READY)
            .unwrap()
            .message
            .clone()
    }
}

fn finding(condition: &'static str, blocks: bool, stalled: bool) -> ConditionUpdate {
    ConditionUpdate {
        condition,
        status: if blocks { Status::False } else { Status::True },
        reason: if blocks {
            reason::NOT_REGISTERED
        } else {
            reason::REGISTERED
        },
        message: "m".to_owned(),
        blocks,
        stalled,
    }
}

fn node(os: Os, ready: bool) -> NodeFacts {
    let agent = AgentStatus {
        registered: true,
        ready,
        synced: true,
        pods: 2,
        container_groups: 2,
        ..AgentStatus::default()
    };
    NodeFacts {
        name: format!("node-{}", os.label()),
        os,
        agent: Some(agent),
        start_error: None,
        settling: false,
        retiring: None,
    }
}

fn expect(case: &Case, ready: &str, reason: &str, abnormal: Option<&str>) {
    assert_eq!(
        case.summary(),
        (
            ready.to_owned(),
            reason.to_owned(),
            abnormal.map(ToOwned::to_owned)
        )
    );
}

#[test]
fn all_nodes_ready() {
    let case = Case::good();
    expect(&case, "True", "NodesReady", None);
    let status = case.status(1);
    assert_eq!(status.node_summary.as_deref(), Some("2/2"));
    assert_eq!(
        (status.pods, status.observed_generation),
        (Some(4), Some(3))
    );
    assert_eq!(status.capacity["cpu"], "200");
    assert_eq!(status.capacity["memory"], "800Gi");
    assert_eq!(case.message(), "2/2 nodes are ready in eastus");
}

#[test]
fn an_idle_connector_writes_nothing() {
    let mut case = Case::good();
    let first = case.status(1);
    case.previous = Some(first.clone());
    assert_eq!(case.status(999), first);
}

#[test]
fn a_node_that_is_not_ready() {
    let mut case = Case::good();
    case.nodes[1] = node(Os::Windows, false);
    case.nodes[1].agent.as_mut().unwrap().problem = Some("the lease is not renewed".to_owned());
    expect(&case, "False", "NodesNotReady", Some(RECONCILING));
    assert_eq!(
        case.message(),
        "1/2 nodes are ready in eastus; node-windows: the lease is not renewed"
    );
}

#[test]
fn a_node_that_two_processes_write_has_a_reason_of_its_own() {
    let mut case = Case::good();
    case.nodes[1] = node(Os::Windows, false);
    case.nodes[1].agent.as_mut().unwrap().contested = true;
    expect(&case, "False", "NodeStatusContested", Some(RECONCILING));
}

#[test]
fn a_registered_node_is_needed() {
    let mut case = Case::good();
    case.nodes[0].agent.as_mut().unwrap().registered = false;
    expect(&case, "False", "NodesNotReady", Some(RECONCILING));
    assert_eq!(case.status(1).node_summary.as_deref(), Some("1/2"));
}

#[test]
fn findings_decide_over_nodes() {
    let mut case = Case::good();
    case.findings = Some(vec![
        finding(CREDENTIALS_READY, false, false),
        finding(PROVIDER_REGISTERED, true, true),
    ]);
    expect(&case, "False", "ProviderNotRegistered", Some(STALLED));
    let status = case.status(1);
    let provider = conditions::find(&status.conditions, PROVIDER_REGISTERED).unwrap();
    assert_eq!(
        (provider.status.as_str(), provider.reason.as_str()),
        ("False", "NotRegistered")
    );
    case.findings = Some(vec![finding(PROVIDER_REGISTERED, true, false)]);
    expect(&case, "False", "ProviderNotRegistered", Some(RECONCILING));
}

#[test]
fn old_findings_never_stall_a_changed_connector() {
    let mut case = Case::good();
    case.findings = Some(vec![finding(PROVIDER_REGISTERED, true, true)]);
    case.fresh = false;
    expect(&case, "False", "ProviderNotRegistered", Some(RECONCILING));
    case.findings = Case::good().findings;
    expect(&case, "True", "NodesReady", Some(RECONCILING));
}

#[test]
fn before_the_first_answer() {
    let mut case = Case::good();
    case.findings = None;
    case.nodes = vec![];
    expect(&case, "Unknown", "Progressing", Some(RECONCILING));
    let status = case.status(1);
    for type_ in [CREDENTIALS_READY, PROVIDER_REGISTERED, RESOURCE_GROUP_READY] {
        assert_eq!(
            conditions::find(&status.conditions, type_).unwrap().status,
            "Unknown",
            "{type_}"
        );
    }
}

#[test]
fn problems_of_spec_and_secret() {
    for (stalled, abnormal) in [(true, STALLED), (false, RECONCILING)] {
        let mut case = Case::good();
        case.resolved = Err(Problem {
            condition: CREDENTIALS_READY,
            reason: reason::SECRET_NOT_FOUND,
            message: "create it".to_owned(),
            stalled,
        });
        expect(&case, "False", "SecretNotFound", Some(abnormal));
        let status = case.status(1);
        let credentials = conditions::find(&status.conditions, CREDENTIALS_READY).unwrap();
        assert_eq!(credentials.message, "create it");
        assert_eq!(
            credentials.status,
            if stalled { "False" } else { "Unknown" }
        );
    }
}

#[test]
fn a_node_that_we_may_not_be() {
    let mut case = Case::good();
    case.nodes[0].agent = None;
    case.nodes[0].start_error = Some(StartError::ImpersonationForbidden(
        "add the rule".to_owned(),
    ));
    expect(&case, "False", "NodeIdentityForbidden", Some(STALLED));
    case.nodes[0].start_error = Some(StartError::IdentityUnscoped("add the flag".to_owned()));
    expect(&case, "False", "NodeIdentityUnscoped", Some(STALLED));
    case.nodes[0].start_error = Some(StartError::Failed("no answer".to_owned()));
    expect(&case, "False", "NodesNotReady", Some(RECONCILING));
    assert!(case.message().contains("node-linux: no answer"));
}

#[test]
fn what_is_missing_is_work_while_it_may_still_come_and_what_is_wrong_is_not() {
    let problem = |reason| Problem {
        condition: CREDENTIALS_READY,
        reason,
        message: "m".to_owned(),
        stalled: true,
    };
    for (reason, arriving, abnormal) in [
        (reason::SECRET_NOT_FOUND, true, RECONCILING),
        (reason::SECRET_NOT_FOUND, false, STALLED),
        (reason::SECRET_INVALID, true, STALLED),
    ] {
        let case = Case {
            resolved: Err(problem(reason)),
            arriving,
            ..Case::good()
        };
        expect(&case, "False", reason, Some(abnormal));
        // Its reason is the same: what is looked for is what lacks.
        let status = case.status(1);
        let abnormal = conditions::find(&status.conditions, abnormal).unwrap();
        assert_eq!(abnormal.reason, reason);
    }
}

#[test]
fn pods_without_an_address_are_announced() {
    let mut case = Case::good();
    case.spec = spec(&json!({}));
    expect(&case, "True", "NodesReady", None);
    assert!(
        case.message()
            .contains("pods have no IP address: set spec.subnetID or spec.publicIP")
    );
}

#[test]
fn a_node_on_its_way_out_does_not_count() {
    let mut case = Case::good();
    case.nodes[1].retiring = Some(Retiring {
        message: "2 pods left".to_owned(),
        blocked: false,
        spent: Duration::from_secs(95),
    });
    expect(&case, "True", "NodesReady", Some(RECONCILING));
    let status = case.status(1);
    assert_eq!(status.node_summary.as_deref(), Some("1/1"));
    assert_eq!(status.nodes.len(), 2);
    let written: Vec<_> = status.nodes.iter().map(|node| node.drain_seconds).collect();
    assert_eq!(written, [None, Some(90)], "every half minute");
    assert_eq!(status.capacity["cpu"], "100");
    assert_eq!(
        case.message(),
        "1/1 nodes are ready in eastus; removing node-windows: 2 pods left"
    );
}

#[test]
fn deletion_names_each_node() {
    let mut case = Case::good();
    case.deleting = true;
    for node in &mut case.nodes {
        node.retiring = Some(Retiring {
            message: "1 pods left".to_owned(),
            blocked: false,
            spent: Duration::ZERO,
        });
    }
    expect(&case, "False", "Deleting", Some(RECONCILING));
    assert_eq!(
        case.message(),
        "removing node-linux: 1 pods left; removing node-windows: 1 pods left"
    );
    case.nodes[0].retiring.as_mut().unwrap().blocked = true;
    expect(&case, "False", "DeletionBlocked", Some(RECONCILING));
}

#[test]
fn suspended_connectors_keep_their_last_word() {
    let mut case = Case::good();
    case.previous = Some(case.status(1));
    case.spec.suspend = true;
    case.nodes[0] = node(Os::Linux, false);
    expect(&case, "True", "NodesReady", None);
    let status = case.status(5);
    assert_eq!(
        conditions::find(&status.conditions, SUSPENDED)
            .unwrap()
            .status,
        "True"
    );
    assert_eq!(status.observed_generation, Some(3));
    case.previous = None;
    expect(&case, "False", "NodesNotReady", Some(RECONCILING));
}

#[test]
fn the_list_is_sorted_and_names_the_generation() {
    let status = Case::good().status(1);
    let types: Vec<&str> = status.conditions.iter().map(|c| c.type_.as_str()).collect();
    assert_eq!(
        types,
        [
            READY,
            AZURE_REACHABLE,
            CREDENTIALS_READY,
            NODES_READY,
            ORPHANS_FOUND,
            PROVIDER_REGISTERED,
            QUOTA_SUFFICIENT,
            RESOURCE_GROUP_READY
        ]
    );
    assert!(
        status
            .conditions
            .iter()
            .all(|c| c.observed_generation == Some(3))
    );
}

#[test]
fn quantities_are_added_in_the_users_unit() {
    for (one, other, both) in [
        ("200", "200", "400"),
        ("400Gi", "400Gi", "800Gi"),
        ("500m", "250m", "750m"),
        ("1.5Gi", "1.5Gi", "3221225472"),
        ("1Gi", "1", "1073741825"),
    ] {
        assert_eq!(sum(one, other), both);
    }
}

#[test]
fn the_capacity_is_that_of_both_nodes() {
    let mut case = Case::good();
    case.spec = spec(&json!({
        "publicIP": true,
        "node": {"capacity": {"cpu": "10", "memory": "1.5Gi"}},
        "windows": {"node": {"capacity": {"cpu": "4", "memory": "1Gi"}}},
    }));
    let capacity = case.status(1).capacity;
    assert_eq!(capacity["cpu"], "14");
    assert_eq!(capacity["memory"], "2684354560");
    assert_eq!(capacity["pods"], "200");
}

#[test]
fn groups_without_a_pod_are_counted() {
    let mut case = Case::good();
    let found = |case: &Case| {
        conditions::find(&case.status(1).conditions, ORPHANS_FOUND)
            .map(|c| (c.status.clone(), c.message.clone()))
    };
    assert_eq!(found(&case).unwrap().0, "False");
    case.nodes[0].agent.as_mut().unwrap().orphans = 3;
    let (status, message) = found(&case).unwrap();
    assert_eq!(
        (status.as_str(), message.contains("3 container groups")),
        ("True", true)
    );
    expect(&case, "True", "NodesReady", None);
    // Too many at once: what would go, when, and how to agree.
    case.nodes[0].agent.as_mut().unwrap().held = Some(Held {
        why: Hold::TooMany,
        groups: (0..12).map(|n| format!("web-{n:02}")).collect(),
        token: "a1b2".to_owned(),
    });
    let condition = conditions::find(&case.status(1).conditions, ORPHANS_FOUND).cloned();
    let condition = condition.unwrap();
    assert_eq!(
        (condition.status.as_str(), condition.reason.as_str()),
        ("True", "TooMany")
    );
    for part in [
        "12 container groups",
        "30 minutes",
        "web-00, web-01",
        "web-09 and 2 more",
        "virtual-kubelet.io/delete-orphans=a1b2",
    ] {
        assert!(
            condition.message.contains(part),
            "{part}: {}",
            condition.message
        );
    }
    for (why, reason, says) in [
        (
            Hold::AnotherControlPlane,
            "AnotherControlPlane",
            "If this cluster is the copy, stop the operator here",
        ),
        (
            Hold::Predecessor,
            "OfPredecessor",
            "a connector of this name that no longer exists",
        ),
    ] {
        let held = case.nodes[0].agent.as_mut().unwrap().held.as_mut();
        held.unwrap().why = why;
        let condition = conditions::find(&case.status(1).conditions, ORPHANS_FOUND).cloned();
        let condition = condition.unwrap();
        assert_eq!(condition.reason, reason);
        for part in [says, "web-00", "virtual-kubelet.io/delete-orphans=a1b2"] {
            assert!(
                condition.message.contains(part),
                "{part}: {}",
                condition.message
            );
        }
    }
    case.nodes
        .iter_mut()
        .for_each(|node| node.agent.as_mut().unwrap().synced = false);
    assert_eq!(found(&case), None, "not known yet");
}

#[test]
fn without_the_key_of_the_workspace_the_connector_is_not_ready() {
    let problem = |reason, stalled| Problem {
        condition: READY,
        reason,
        message: "Secret a/b does not exist".to_owned(),
        stalled,
    };
    for (problem, abnormal) in [
        (problem(reason::SECRET_NOT_FOUND, true), STALLED),
        (problem(reason::API_SERVER_ERROR, false), RECONCILING),
    ] {
        let reason = problem.reason.to_owned();
        let case = Case {
            workspace: Some(problem),
            ..Case::good()
        };
        let expected = ("False".to_owned(), reason, Some(abnormal.to_owned()));
        assert_eq!(case.summary(), expected);
        assert_eq!(case.message(), "Secret a/b does not exist");
        let status = case.status(1);
        let credentials = conditions::find(&status.conditions, CREDENTIALS_READY).unwrap();
        assert_eq!(
            credentials.status, "True",
            "Azure has nothing to do with it"
        );
    }
}

#[test]
fn a_request_is_handled_when_azure_has_answered_it() {
    let mut case = Case::good();
    case.requested_at = Some("now".to_owned());
    case.fresh = false;
    let mut before = case.status(1);
    before.last_handled_reconcile_at = Some("before".to_owned());
    case.previous = Some(before);
    let handled = |case: &Case| case.status(1).last_handled_reconcile_at;
    assert_eq!(handled(&case).as_deref(), Some("before"));
    case.fresh = true;
    assert_eq!(handled(&case).as_deref(), Some("now"));
    // What cannot be asked is handled, too: the connector says what it lacks.
    case.fresh = false;
    case.resolved = Err(Problem::spec("wrong"));
    assert_eq!(handled(&case).as_deref(), Some("now"));
    case.requested_at = None;
    assert_eq!(handled(&case).as_deref(), Some("before"));
}

#[test]
fn the_quota_bounds_the_capacity_of_both_nodes_together() {
    use crate::connector::capacity::{Amounts, Room};
    let mut case = Case::good();
    let all = Amounts {
        millicores: Some(6_500),
        pods: Some(6),
    };
    let room = Room {
        all,
        ..Room::default()
    };
    case.region.quota = Quota::Left(room);
    assert_eq!(case.status(1).capacity["cpu"], "200", "static");
    case.spec = spec(&json!({"publicIP": true, "node": {"capacitySource": "Quota"}}));
    let capacity = case.status(1).capacity;
    assert_eq!(
        (
            capacity["cpu"].as_str(),
            capacity["pods"].as_str(),
            capacity["memory"].as_str()
        ),
        ("6500m", "6", "800Gi")
    );
    case.region.quota = Quota::NotAsked;
    assert_eq!(case.status(1).capacity["cpu"], "200");
}

#[test]
fn a_restart_of_the_operator_writes_nothing_and_ready_does_not_flap() {
    let mut case = Case::good();
    case.previous = Some(case.status(1));
    for stage in ["no agent yet", "agents start", "lists arrive"] {
        for node in &mut case.nodes {
            node.settling = true;
            node.agent = match stage {
                "no agent yet" => None,
                "agents start" => Some(AgentStatus::default()),
                _ => Some(AgentStatus {
                    synced: true,
                    pods: 2,
                    container_groups: 2,
                    ..AgentStatus::default()
                }),
            };
        }
        assert_eq!(Some(case.status(9)), case.previous, "{stage}");
    }
    for node in &mut case.nodes {
        node.settling = false;
        node.agent = Some(AgentStatus::default());
    }
    let (ready, word, _) = case.summary();
    assert_eq!(
        (ready.as_str(), word.as_str()),
        ("False", "NodesNotReady"),
        "the seconds are over"
    );
}

#[test]
fn a_node_that_was_not_ready_or_whose_identity_is_refused_is_not_taken_for_ready() {
    let mut case = Case::good();
    case.previous = Some(case.status(1));
    for node in &mut case.nodes {
        node.settling = true;
        node.agent = Some(AgentStatus {
            refused: Some("the operator may not act as node n".to_owned()),
            ..AgentStatus::default()
        });
    }
    assert_eq!(case.summary().1, "NodeIdentityForbidden");
    case.previous = None;
    for node in &mut case.nodes {
        node.agent = None;
    }
    assert_eq!(case.summary().1, "NodesNotReady");
}

#[test]
fn the_scope_is_pinned_at_the_first_success_and_stays() {
    let scope = |subscription: &str| {
        Some(AzureScope {
            subscription_id: subscription.to_owned(),
            ..AzureScope::default()
        })
    };
    let mut case = Case::good();
    case.scope = scope("one");
    case.fresh = false;
    assert_eq!(case.status(1).azure_scope, None, "not asked yet");
    case.fresh = true;
    case.findings = Some(vec![finding(PROVIDER_REGISTERED, true, true)]);
    assert_eq!(case.status(1).azure_scope, None, "no success");
    case.findings = Some(vec![finding(PROVIDER_REGISTERED, false, false)]);
    assert_eq!(case.status(1).azure_scope, scope("one"));
    case.previous = Some(case.status(1));
    case.scope = scope("two");
    assert_eq!(case.status(2).azure_scope, scope("one"));
}

#[test]
fn azure_that_is_away_is_a_condition_and_a_sentence_and_no_reason_to_be_not_ready() {
    let mut case = Case::good();
    case.reach = Reach::Away {
        since: chrono::DateTime::UNIX_EPOCH,
        cause: Cause::Tokens,
        error: "Identity: no answer".to_owned(),
    };
    let status = case.status(1);
    let condition = conditions::find(&status.conditions, AZURE_REACHABLE).unwrap();
    assert_eq!(
        (condition.status.as_str(), condition.reason.as_str()),
        ("False", "TokenUnavailable")
    );
    assert!(
        condition
            .message
            .contains("Microsoft Entra ID has not answered since 1970-01-01T00:00:00Z")
    );
    assert_eq!(case.summary().0, "True");
    assert!(case.message().contains("Azure has not answered since 1970"));
    case.previous = Some(status);
    case.reach = Reach::Unknown;
    let kept = case.status(2);
    let kept = conditions::find(&kept.conditions, AZURE_REACHABLE).unwrap();
    assert_eq!(kept.status, "False", "a restart knows nothing new");
    case.reach = Reach::Reachable;
    let back = case.status(3);
    assert_eq!(
        conditions::find(&back.conditions, AZURE_REACHABLE)
            .unwrap()
            .status,
        "True"
    );
}
