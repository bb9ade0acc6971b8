//! Ready by what probes have shown.

use serde_json::{Value, json};

use super::{condition, observed, web_facts};
use crate::api::{ProbedBy, Probes};
use crate::translate::status::{Probing, probe_target};
use crate::translate::testing::{RUNNING, group};

#[test]
fn until_the_address_is_there_nothing_is_ready_by_a_probe_that_dials_it() {
    let probe = json!({"httpGet": {"port": 80}});
    let mut facts = web_facts(&[("/spec/containers/0/readinessProbe", probe)]);
    facts.probing = Probing::new(Probes {
        network: ProbedBy::Operator,
        exec: ProbedBy::Azure,
    });
    let address = |address: Value| group(RUNNING, &[("/properties/ipAddress", address)]);
    for (given, ready, dialled) in [
        (json!({"type": "Private", "ports": []}), "False", false),
        (
            json!({"type": "Private", "ports": [], "ip": "10.0.0.4"}),
            "False",
            true,
        ),
        // Without an address Azure's word is all there is.
        (json!(null), "True", false),
    ] {
        let group = address(given.clone());
        let status = observed(&facts, &group);
        assert_eq!(condition(&status, "Ready").status, ready, "{given}");
        let target = probe_target(&facts, &group, &status);
        assert_eq!(target.is_some(), dialled, "{given}");
    }
}
