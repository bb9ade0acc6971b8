//! `--chart-url` and `--image-tag`: the operator, by the helm that the person has.

use super::Fixture;
use crate::support::site;

#[test]
fn helm_installs_the_operator_before_the_connector() {
    site::run(async {
        let fixture = Fixture::new("cmd-helm").await;
        let flags = fixture.install_flags();
        let ran = fixture
            .vkc("install-connector --image-tag 1.2.3", &flags)
            .await;
        ran.refused(&["helm cannot be run", "https://helm.sh"]);
        fixture.nothing_is_there("a missing helm").await;

        fixture.put("helm", "echo no such chart >&2; exit 1\n");
        let ran = fixture
            .vkc("install-connector --chart-url ./none", &flags)
            .await;
        ran.refused(&["no such chart", "helm has failed"]);
        fixture.nothing_is_there("a failed helm").await;

        let log = fixture.path.path().join("log");
        fixture.put("helm", &format!("echo \"$@\" >> {}\n", log.display()));
        fixture
            .vkc("install-connector --image-tag 1.2.3", &flags)
            .await
            .ok();
        let line = std::fs::read_to_string(&log).unwrap();
        for wanted in [
            "upgrade vkc oci://",
            "--set-string=image.tag=1.2.3",
            "--install",
            "--namespace=vkc-system",
        ] {
            assert!(line.contains(wanted), "{line}");
        }
        assert!(
            !line.contains(&fixture.config.client_secret),
            "a secret is never a value"
        );

        let name = fixture.name_flag();
        fixture
            .vkc_with("upgrade-connector --image-tag 1.2.4", &name, &[])
            .await
            .ok();
        let line = std::fs::read_to_string(&log).unwrap();
        let line = line.lines().last().unwrap();
        assert!(
            line.contains("image.tag=1.2.4") && !line.contains("--install"),
            "{line}"
        );
        fixture.vkc("remove-connector", &name).await.ok();
    });
}
