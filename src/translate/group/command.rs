//! The command of a container: ACI's replaces the image's entry point and its arguments, and knows no directory to start in.

use k8s_openapi::api::core::v1::Container;
use zeroize::Zeroizing;

use super::budget::{Amount, Exceeded, Of};
use super::env::{Environment, Words};
use super::review::Review;
use super::shim::Part;

const ELSEWHERE: &str = "spec.containers[].workingDir";
/// What a shell is told in front of a directory and a command.
const CHANGE: [&str; 3] = ["/bin/sh", "-c", "cd -- \"$0\" && exec \"$@\""];

const NOTHING: &str = "neither the pod nor the image says what to run; set command";

/// The words that container `index` is to run; none for those of its image, and none where the shim has them in `part`.
pub(super) fn command(
    container: &Container,
    index: usize,
    environment: &Environment<'_>,
    part: &mut Part,
    review: &mut Review,
) -> Vec<String> {
    let args = container.args.as_deref().unwrap_or_default();
    let command = container.command.as_deref().unwrap_or_default();
    let name = container.image.as_deref().unwrap_or_default();
    let directory = container.working_dir.as_deref().unwrap_or_default();
    let own = environment.command(command.iter().chain(args), index, review);
    if own.hidden {
        part.need();
    }
    if part.is_needed() {
        by_shim(container, index, own, part, review);
        return Vec::new();
    }
    let asks_image = !directory.is_empty() || (command.is_empty() && !args.is_empty());
    let image = if asks_image && !name.is_empty() {
        review.image(name)
    } else {
        None
    };
    let elsewhere = image.is_some_and(|image| {
        !directory.is_empty() && normal(directory) != normal(&image.working_dir)
    });
    let change = elsewhere && review.field(ELSEWHERE, true, &[index]);
    let mut words: Vec<String> = Vec::new();
    if change {
        words.extend(CHANGE.map(str::to_owned));
        words.push(directory.to_owned());
    }
    let before = words.len();
    if let Some(image) = image
        && command.is_empty()
    {
        let path = format_args!("spec.containers[{index}].image");
        if !args.is_empty() || change {
            let _ = add(&image.entry_point, &mut words, &path, review);
        }
        if args.is_empty() && change {
            let _ = add(&image.command, &mut words, &path, review);
        }
    }
    words.extend(own.all.iter().map(|word| (**word).clone()));
    if change && words.len() == before {
        let path = format!("spec.containers[{index}].command");
        review.refuse(path, NOTHING.to_owned());
    }
    words
}

/// Gives the shim what container `index` is to run, `own` and what the image says, and where.
fn by_shim(container: &Container, index: usize, own: Words, part: &mut Part, review: &mut Review) {
    let some = |words: &Option<Vec<String>>| words.as_ref().is_some_and(|it| !it.is_empty());
    let name = container.image.as_deref().unwrap_or_default();
    let mut words = Vec::new();
    if !some(&container.command) && !name.is_empty() {
        let path = format_args!("spec.containers[{index}].image");
        let Some(image) = review.image(name) else {
            return;
        };
        let _ = add(&image.entry_point, &mut words, &path, review);
        if !some(&container.args) {
            let _ = add(&image.command, &mut words, &path, review);
        }
    }
    let hidden = own.hidden;
    let words: Vec<_> = words
        .into_iter()
        .map(Zeroizing::new)
        .chain(own.all)
        .collect();
    if words.is_empty() {
        let path = format!("spec.containers[{index}].command");
        review.refuse(path, NOTHING.to_owned());
    }
    if let Some(directory) = container.working_dir.as_deref().filter(|it| !it.is_empty()) {
        part.start_in(directory, index, review);
    }
    part.command(&words, hidden);
}

/// Adds what an image says, which is paid for.
fn add(
    said: &[String],
    words: &mut Vec<String>,
    path: &dyn std::fmt::Display,
    review: &mut Review,
) -> Result<(), Exceeded> {
    let size = said.iter().map(String::len).sum();
    review.spend(Of::Bytes, Amount::foreign(size), "the command", path)?;
    words.extend_from_slice(said);
    Ok(())
}

/// `directory` without a slash at its end; the root when an image says nothing.
fn normal(directory: &str) -> &str {
    directory.trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::api::Os;
    use crate::translate::testing::{HELLO, defaults, owner, pod, resolved};
    use crate::translate::{Translation, container_group};

    fn translate(container: &Value, os: Os) -> Result<Translation, Vec<(String, String)>> {
        let pod = pod(HELLO, &[("/spec/containers", json!([container]))]);
        let made = container_group(&pod, &defaults(os), &owner(&pod), &resolved());
        made.map_err(|refusals| {
            let all = refusals.0.into_iter();
            all.map(|it| (it.field, it.message)).collect()
        })
    }

    #[test]
    fn a_shell_changes_to_a_directory_that_is_not_the_image_s() {
        let shell = |directory: &str, words: &[&str]| {
            let mut all = vec!["/bin/sh", "-c", "cd -- \"$0\" && exec \"$@\"", directory];
            all.extend(words);
            json!(all)
        };
        let table = [
            // The image `e` starts in /srv.
            (
                json!({"image": "e", "workingDir": "/srv/", "command": ["a"]}),
                json!(["a"]),
                0,
            ),
            (json!({"image": "e", "workingDir": "/srv"}), Value::Null, 0),
            (
                json!({"image": "e", "workingDir": "", "command": ["a"]}),
                json!(["a"]),
                0,
            ),
            (
                json!({"image": "bare", "workingDir": "/", "command": ["a"]}),
                json!(["a"]),
                0,
            ),
            (
                json!({"image": "e", "workingDir": "/a b", "command": ["c", "$(X)"], "args": ["d"], "env": [{"name": "X", "value": "x"}]}),
                shell("/a b", &["c", "x", "d"]),
                1,
            ),
            (
                json!({"image": "e", "workingDir": "/a", "args": ["d"]}),
                shell("/a", &["/entry", "$(HOME)", "d"]),
                1,
            ),
            (
                json!({"image": "e", "workingDir": "/a"}),
                shell("/a", &["/entry", "$(HOME)", "cmd"]),
                1,
            ),
            // Nothing is known of it yet.
            (
                json!({"image": "unread", "workingDir": "/a", "command": ["c"]}),
                json!(["c"]),
                0,
            ),
        ];
        for (mut container, expected, notes) in table {
            container["name"] = json!("c");
            let made = translate(&container, Os::Linux).unwrap();
            let body = serde_json::to_value(&made.group).unwrap();
            let command = &body["properties"]["containers"][0]["properties"]["command"];
            assert_eq!(*command, expected, "{container}");
            assert_eq!(made.notes.len(), notes, "{container}");
        }
        let silent = json!({"name": "c", "image": "bare", "workingDir": "/a"});
        let refused = translate(&silent, Os::Linux).unwrap_err();
        assert_eq!(refused[0].0, "spec.containers[0].command");
    }

    #[test]
    fn windows_has_no_such_shell() {
        let pod = |directory: &str| json!({"name": "c", "image": "e", "workingDir": directory, "command": ["a"]});
        let refused = translate(&pod("/a"), Os::Windows).unwrap_err();
        assert_eq!(refused[0].0, "spec.containers[0].workingDir");
        assert!(translate(&pod("/srv"), Os::Windows).is_ok());
    }
}
