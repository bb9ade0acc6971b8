#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> Result<Spec, String> {
    Spec::parse(text.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn what_is_asked_for_is_written_and_read() {
    let spec = Spec {
        command: vec![Text(vec![
            Part::Text(Zeroizing::new("http://".to_owned())),
            Part::Address {
                address: Which::PodIp,
            },
        ])],
        files: vec![File {
            path: "/etc/app.conf".to_owned(),
            content: Content::From("f0".to_owned()),
            mode: 0o644,
            group: Some(1),
        }],
        ..Spec::new()
    };
    let text = spec.write().unwrap();
    assert_eq!(
        std::str::from_utf8(&text).unwrap(),
        r#"{"version":1,"command":[["http://",{"address":"podIp"}]],"files":[{"path":"/etc/app.conf","content":{"from":"f0"},"mode":420,"group":1}]}"#
    );
    assert_eq!(Spec::parse(&text).unwrap(), spec);
    assert_eq!(parsed(r#"{"version":1}"#).unwrap(), Spec::new());
}

#[test]
fn what_a_shim_does_not_know_it_refuses() {
    for (text, why) in [
        (r#"{"version":2,"new":1}"#, "of version 2"),
        (r#"{"version":1,"new":1}"#, "newer operator"),
        ("{}", "broken"),
        ("", "broken"),
        (r#"["1"]"#, "broken"),
        (
            r#"{"version":1,"env":[{"name":"A=B","value":["x"]}]}"#,
            "equals sign",
        ),
        (
            r#"{"version":1,"env":[{"name":"","value":["x"]}]}"#,
            "empty",
        ),
        (
            r#"{"version":1,"files":[{"path":"/a","content":{"from":"../x"},"mode":0}]}"#,
            "not beside",
        ),
        (
            r#"{"version":1,"files":[{"path":"/a","content":{"from":"x"},"mode":65536}]}"#,
            "a mode",
        ),
        (
            r#"{"version":1,"hosts":[{"ip":"1.2.3.4","names":["a\nb"]}]}"#,
            "blanks",
        ),
    ] {
        let said = parsed(text).unwrap_err();
        assert!(said.contains(why), "{text}: {said}");
    }
}

/// A volume with empty files at `paths`.
fn volume(name: &str, paths: &[&str]) -> Volume {
    let file = |path: &&str| File {
        path: (*path).to_owned(),
        content: Content::Base64(Text::plain("")),
        mode: 0o644,
        group: None,
    };
    Volume {
        name: name.to_owned(),
        mode: 0o755,
        owner: None,
        group: None,
        linked: true,
        files: paths.iter().map(file).collect(),
    }
}

fn with_volumes(volumes: Vec<Volume>) -> Result<Spec, String> {
    let spec = Spec {
        volumes,
        ..Spec::new()
    };
    Spec::parse_update(&spec.write().unwrap()).map_err(|error| error.to_string())
}

#[test]
fn a_volume_is_written_and_read() {
    let text = r#"{"version":1,"volumes":[{"name":"v","mode":1533,"owner":1000,"group":2000,"linked":true,"files":[{"path":"a/b","content":{"base64":["aGk="]},"mode":288}]}]}"#;
    let spec = Spec::parse_update(text.as_bytes()).unwrap();
    assert_eq!(std::str::from_utf8(&spec.write().unwrap()).unwrap(), text);
}

#[test]
fn the_files_of_a_volume_stay_in_it_each_in_its_place() {
    let deep = ["d"; MOST_PARTS].join("/");
    let long = "n".repeat(LONGEST_NAME);
    for paths in [
        &["a", "b/c", "b/d", "b.c", "x/..y", ".a"][..],
        &["a", "a-b", "a-b2/c", "aa/b"],
        &[&deep, &long],
        &[],
    ] {
        with_volumes(vec![volume("v", paths)]).unwrap();
    }
    let (deep, long) = (format!("{deep}/d"), format!("{long}n"));
    for (paths, why) in [
        (&["/a"][..], "stay"),
        (&["../a"], "stay"),
        (&["a/../b"], "stay"),
        (&["a/.."], "stay"),
        (&["./a"], "stay"),
        (&["a//b"], "stay"),
        (&["a/"], "stay"),
        (&["..data"], "stay"),
        (&["..data/a"], "stay"),
        (&[&deep], "too long"),
        (&[&long], "too long"),
        (&[""], "empty"),
        (&["a\0"], "null"),
        (&["a", "a"], "one path"),
        (&["a/b/c", "a-b", "a"], "directory of the other"),
        (&["a/b/c", "a/b"], "directory of the other"),
    ] {
        let said = with_volumes(vec![volume("v", paths)]).unwrap_err();
        assert!(said.contains(why), "{paths:?}: {said}");
    }
    for names in [&["."][..], &[".."], &[""], &["a/b"], &["v", "w", "v"]] {
        let volumes = names.iter().map(|name| volume(name, &[])).collect();
        let said = with_volumes(volumes).unwrap_err();
        assert!(said.contains("name of a volume"), "{names:?}: {said}");
    }
}

#[test]
fn an_update_is_of_volumes_and_has_all_in_it() {
    let mut from = volume("v", &["a"]);
    from.files[0].content = Content::From("f0".to_owned());
    let said = with_volumes(vec![from.clone()]).unwrap_err();
    assert!(said.contains("nothing beside it"), "{said}");
    let spec = Spec {
        volumes: vec![from],
        ..Spec::new()
    };
    assert_eq!(Spec::parse(&spec.write().unwrap()).unwrap(), spec);
    for more in [
        r#""hosts":[{"ip":"1.2.3.4","names":["a"]}]"#,
        r#""files":[{"path":"/a","content":{"text":[]},"mode":0}]"#,
        r#""command":[["a"]]"#,
        r#""env":[{"name":"A","value":["x"]}]"#,
        r#""workingDir":"/""#,
        r#""message":{"path":"/m"}"#,
        r#""user":{"name":"0"}"#,
    ] {
        let text = format!(r#"{{"version":1,{more}}}"#);
        Spec::parse(text.as_bytes()).unwrap();
        let said = Spec::parse_update(text.as_bytes()).unwrap_err().to_string();
        assert!(said.contains("volumes only"), "{more}: {said}");
    }
}

#[test]
fn a_refusal_does_not_say_what_stands_there() {
    let said = parsed(r#"{"version":1,"env":"hunter2"}"#).unwrap_err();
    assert!(!said.contains("hunter2"), "{said}");
    let spec = Spec {
        command: vec![Text::plain("hunter2")],
        ..Spec::new()
    };
    assert!(!format!("{spec:?}").contains("hunter2"));
}

proptest! {
    #[test]
    fn any_text_is_taken(text in "\\PC*") {
        let _ = Spec::parse(text.as_bytes());
        let _ = Spec::parse_update(text.as_bytes());
    }

    #[test]
    fn any_paths_are_taken_and_those_that_lead_out_are_not(paths in proptest::collection::vec("[a./]{0,8}", 0..5)) {
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        if with_volumes(vec![volume("v", &paths)]).is_ok() {
            for part in paths.iter().flat_map(|path| path.split('/')) {
                prop_assert!(!matches!(part, "" | "." | ".."));
            }
        }
    }

    #[test]
    fn any_text_goes_through(words in proptest::collection::vec("\\PC*", 0..4)) {
        let spec = Spec { command: words.into_iter().map(Text::plain).collect(), ..Spec::new() };
        let text = spec.write().unwrap();
        prop_assert_eq!(Spec::parse(&text).unwrap(), spec);
    }
}
