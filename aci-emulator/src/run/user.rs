//! Who a container's program runs as: `USER` of the image, `runAsUser` and `runAsGroup`. Pure.

use super::plan::Security;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
}

/// What the image's own files say about users and groups.
#[derive(Debug, Clone, Default)]
pub(super) struct Accounts {
    pub(super) passwd: String,
    pub(super) group: String,
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

impl Accounts {
    fn users(&self) -> impl Iterator<Item = Account<'_>> {
        self.passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            Some(Account {
                name: fields.next()?,
                uid: fields.nth(1)?.parse().ok()?,
                gid: fields.next()?.parse().ok()?,
            })
        })
    }

    /// Name, number and members of the groups.
    fn groups(&self) -> impl Iterator<Item = (&str, u32, &str)> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            Some((
                fields.next()?,
                fields.nth(1)?.parse().ok()?,
                fields.next().unwrap_or_default(),
            ))
        })
    }

    /// The user of `USER` and a security context; the error is what a runtime says.
    pub(super) fn user(&self, image: &str, security: &Security) -> Result<User, String> {
        let (name, group) = image.split_once(':').unwrap_or((image, ""));
        // A user of the security context is another than the image's, and so is its group.
        let name = security
            .user
            .map_or_else(|| name.to_owned(), |uid| uid.to_string());
        let group = if security.user.is_some() { "" } else { group };
        let account = match (name.as_str(), name.parse::<u32>()) {
            ("", _) => self.users().find(|account| account.uid == 0),
            (_, Ok(uid)) => self.users().find(|account| account.uid == uid),
            (name, Err(_)) => Some(
                self.users()
                    .find(|account| account.name == name)
                    .ok_or_else(|| {
                        format!(
                            "unable to find user {name}: no matching entries in the passwd file"
                        )
                    })?,
            ),
        };
        let uid = match &account {
            Some(account) => account.uid,
            None => name.parse().unwrap_or_default(),
        };
        let gid = match (security.group, group, group.parse::<u32>()) {
            (Some(gid), _, _) | (None, _, Ok(gid)) => gid,
            (None, "", _) => account.as_ref().map_or(0, |account| account.gid),
            (None, group, Err(_)) => self
                .groups()
                .find(|(name, _, _)| *name == group)
                .map(|(_, gid, _)| gid)
                .ok_or_else(|| {
                    format!("unable to find group {group}: no matching entries in the group file")
                })?,
        };
        // The first group is one of the others, too, as containerd has it since CVE-2022-36109.
        let mut groups = vec![gid];
        if let Some(account) = account {
            let of = |members: &str| members.split(',').any(|member| member == account.name);
            let more = self.groups().filter(|(_, _, members)| of(members));
            groups.extend(more.map(|(_, gid, _)| gid).filter(|other| *other != gid));
        }
        Ok(User { uid, gid, groups })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_as_a_runtime_finds_them() {
        let accounts = Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\nodd\n"
                .to_owned(),
            group: "root:x:0:\napp:x:1001:\nwheel:x:10:root,app\nextra:x:50:app\n".to_owned(),
        };
        let nobody = Security {
            privileged: false,
            allow_privilege_escalation: true,
            user: None,
            group: None,
            add: Vec::new(),
            drop: Vec::new(),
        };
        let of = |user, group| Security {
            user,
            group,
            ..nobody.clone()
        };
        let is = |uid, gid, groups: &[u32]| {
            Ok(User {
                uid,
                gid,
                groups: groups.to_vec(),
            })
        };
        for (image, security, want) in [
            ("", of(None, None), is(0, 0, &[0, 10])),
            ("app", of(None, None), is(1000, 1001, &[1001, 10, 50])),
            ("1000", of(None, None), is(1000, 1001, &[1001, 10, 50])),
            ("app:wheel", of(None, None), is(1000, 10, &[10, 50])),
            ("1234", of(None, None), is(1234, 0, &[0])),
            ("1234:5", of(None, None), is(1234, 5, &[5])),
            (
                "app:wheel",
                of(Some(1000), None),
                is(1000, 1001, &[1001, 10, 50]),
            ),
            ("app", of(Some(7), Some(8)), is(7, 8, &[8])),
            ("app", of(None, Some(8)), is(1000, 8, &[8, 10, 50])),
        ] {
            assert_eq!(
                accounts.user(image, &security),
                want,
                "{image} {security:?}"
            );
        }
        assert!(accounts.user("nobody", &of(None, None)).is_err());
        assert!(accounts.user("app:nogroup", &of(None, None)).is_err());
        assert_eq!(
            Accounts::default().user("", &of(None, None)),
            is(0, 0, &[0]),
            "an image without /etc"
        );
    }
}
