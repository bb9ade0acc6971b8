//! Users and groups of an image: its `/etc/passwd` and `/etc/group`, read as a container runtime reads them. PURE.
//!
//! The files are the image's, so they may say anything; a line that is none is passed over.

use serde::{Deserialize, Serialize};

use crate::spec::User;

/// Further groups of a user that are taken: Linux takes 65,536.
const MOST_GROUPS: usize = 1024;

/// Whom a process is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub user: u32,
    pub group: u32,
    /// Sorted, each once.
    pub groups: Vec<u32>,
    /// Where the user is at home, and where root is: a runtime says that to who begins as root.
    pub home: String,
    pub home_of_root: String,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UserError {
    /// In a runtime's words.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    NoUser(String),
    #[error("unable to find group {0}: no matching entries in group file")]
    NoGroup(String),
}

/// Who `user` is by the image's `passwd` and `group` files, which are empty where the image has none.
///
/// # Errors
/// It is a name, or in a group, that they do not know.
pub fn resolve(user: &User, passwd: &[u8], group: &[u8]) -> Result<Identity, UserError> {
    let (name, of) = match user.name.split_once(':') {
        Some((name, of)) => (name, Some(of).filter(|of| !of.is_empty())),
        None => (user.name.as_str(), None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let number: Option<u32> = name.parse().ok();
    let known = lines(passwd).find_map(|line| {
        let (login, uid, gid, home) = entry(&line)?;
        // A name of digits is a name first.
        (login == name || Some(uid) == number)
            .then(|| (login.to_owned(), uid, gid, home.to_owned()))
    });
    let root = lines(passwd).find_map(|line| {
        let (_, uid, _, home) = entry(&line)?;
        (uid == 0).then(|| home.to_owned())
    });
    let (login, uid, own, home) = match (known, number) {
        (Some((login, uid, gid, home)), _) => (Some(login), uid, gid, home),
        (None, Some(uid)) => (None, uid, 0, String::new()),
        (None, None) => return Err(UserError::NoUser(shown(name))),
    };
    let gid = match (user.group, of) {
        (Some(gid), _) => gid,
        (None, Some(of)) => group_of(of, group)?,
        (None, None) => own,
    };
    let mut groups = user.groups.clone();
    if let (Some(login), false) = (login, user.strict) {
        let of_image = lines(group).filter_map(|line| {
            let [_, _, gid, members, ..] = line.as_slice() else {
                return None;
            };
            let is_in = members.split(',').any(|it| it == login);
            is_in.then(|| gid.parse::<u32>().ok())?
        });
        groups.extend(of_image.take(MOST_GROUPS));
    }
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    Ok(Identity {
        user: uid,
        group: gid,
        groups,
        home: or_root(home),
        home_of_root: or_root(root.unwrap_or_default()),
    })
}

/// Name, number, group and home of a line of `/etc/passwd`.
fn entry<'l>(line: &[&'l str]) -> Option<(&'l str, u32, u32, &'l str)> {
    let [login, _, uid, gid, more @ ..] = line else {
        return None;
    };
    let home = more.get(1).copied().unwrap_or_default();
    Some((login, uid.parse().ok()?, gid.parse().ok()?, home))
}

/// As a runtime has it where nothing is said.
fn or_root(home: String) -> String {
    if home.is_empty() {
        "/".to_owned()
    } else {
        home
    }
}

fn group_of(name: &str, group: &[u8]) -> Result<u32, UserError> {
    let found = lines(group).find_map(|line| match line.as_slice() {
        [known, _, gid, ..] if *known == name => gid.parse().ok(),
        _ => None,
    });
    found
        .or_else(|| name.parse().ok())
        .ok_or_else(|| UserError::NoGroup(shown(name)))
}

fn lines(file: &[u8]) -> impl Iterator<Item = Vec<&str>> {
    let lines = file.split(|byte| *byte == b'\n');
    let lines = lines.filter_map(|line| std::str::from_utf8(line).ok());
    lines.map(|line| line.trim_end().split(':').collect())
}

fn shown(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nbroken\n\xff\xfe\napp:x:1001:1002::/:/bin/false\n7:x:70:71::/:\n";
    const GROUP: &[u8] =
        b"root:x:0:\napp:x:1002:\naudio:x:29:other,app\nlogs:x:40:app\nbad:x:x:app\n";

    fn who(
        name: &str,
        group: Option<u32>,
        groups: &[u32],
        strict: bool,
    ) -> Result<Identity, UserError> {
        let user = User {
            name: name.to_owned(),
            group,
            groups: groups.to_vec(),
            strict,
            ..User::default()
        };
        resolve(&user, PASSWD, GROUP)
    }

    #[test]
    fn a_user_is_found_as_a_runtime_finds_it() {
        for (name, group, groups, strict, expected) in [
            ("", None, &[][..], false, (0, 0, vec![0])),
            ("0", None, &[], false, (0, 0, vec![0])),
            ("1001", None, &[], false, (1001, 1002, vec![29, 40, 1002])),
            (
                "app",
                Some(5),
                &[2000],
                false,
                (1001, 5, vec![5, 29, 40, 2000]),
            ),
            ("app", None, &[2000], true, (1001, 1002, vec![1002, 2000])),
            ("app:logs", None, &[], true, (1001, 40, vec![40])),
            ("app:99", None, &[], true, (1001, 99, vec![99])),
            ("app:", None, &[], true, (1001, 1002, vec![1002])),
            // One that the image does not know.
            ("65532", None, &[], false, (65532, 0, vec![0])),
            ("65532:65532", None, &[], false, (65532, 65532, vec![65532])),
            ("7", None, &[], false, (70, 71, vec![71])),
        ] {
            let found = who(name, group, groups, strict).unwrap();
            assert_eq!((found.user, found.group, found.groups), expected, "{name}");
        }
        assert_eq!(
            who("nobody", None, &[], false),
            Err(UserError::NoUser("nobody".to_owned()))
        );
        assert_eq!(
            who("app:nobody", None, &[], false),
            Err(UserError::NoGroup("nobody".to_owned()))
        );
    }

    #[test]
    fn a_user_is_at_home_where_the_image_says() {
        let home = |name: &str, passwd: &[u8]| {
            let user = User {
                name: name.to_owned(),
                ..User::default()
            };
            let found = resolve(&user, passwd, b"").unwrap();
            (found.home, found.home_of_root)
        };
        let pair = |home: &str, root: &str| (home.to_owned(), root.to_owned());
        let passwd = b"root:x:0:0:root:/root:/bin/sh\napp:x:1:1:An app:/home/app:\nbare:x:2:2\n";
        assert_eq!(home("app", passwd), pair("/home/app", "/root"));
        assert_eq!(home("bare", passwd), pair("/", "/root"));
        assert_eq!(home("9", b""), pair("/", "/"));
    }

    #[test]
    fn an_image_without_these_files_has_numbers() {
        let user = |name: &str| User {
            name: name.to_owned(),
            ..User::default()
        };
        assert_eq!(resolve(&user("1001"), b"", b"").unwrap().user, 1001);
        assert!(resolve(&user("app"), b"", b"").is_err());
    }

    proptest! {
        #[test]
        fn any_file_is_taken(name in "[a-z0-9:]{0,8}", passwd in proptest::collection::vec(any::<u8>(), 0..256)) {
            let user = User { name, ..User::default() };
            let _ = resolve(&user, &passwd, &passwd);
        }
    }
}
