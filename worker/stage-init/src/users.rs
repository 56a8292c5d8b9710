//! Looks up the user of a command in the image's own `/etc/passwd` and `/etc/group`.
//!
//! Follows the rules of container engines, for example for numbers that no file lists. A name that
//! is not listed is an error with a text for the user.

use std::fs;
use std::path::Path;

/// The user and groups that a command runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

/// Looks up `name`, `uid`, `name:group` or `uid:gid` under the root directory `root`.
///
/// A user id that no file lists is valid and has group 0, unless a group is given. The error is a
/// text for the user.
pub fn lookup(root: &Path, wanted: &str) -> Result<CommandUser, String> {
    // An image without these files has no user names, and ids still work.
    let passwd = fs::read_to_string(root.join("etc/passwd")).unwrap_or_default();
    let group = fs::read_to_string(root.join("etc/group")).unwrap_or_default();
    find(wanted, &passwd, &group)
}

/// A line of `/etc/passwd`.
struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// A line of `/etc/group`; `members` are names separated by commas.
struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// Returns the valid lines of `/etc/passwd`.
fn users(passwd: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).unwrap_or_default();
        Some(PasswdEntry { name, uid, gid, home })
    })
}

/// Returns the valid lines of `/etc/group`.
fn groups(group: &str) -> impl Iterator<Item = GroupEntry<'_>> {
    group.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        let members = fields.next().unwrap_or_default();
        Some(GroupEntry { name, gid, members })
    })
}

fn find(wanted: &str, passwd: &str, group: &str) -> Result<CommandUser, String> {
    let (user, group_name) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|g| !g.is_empty())),
        None => (wanted, None),
    };
    // Container engines take an empty user with a group (":staff") as root.
    let user = if user.is_empty() { "0" } else { user };
    let number = user.parse::<u32>().ok();
    let entry = users(passwd)
        .find(|u| u.name == user)
        .or_else(|| users(passwd).find(|u| Some(u.uid) == number));
    let uid = match (&entry, number) {
        (Some(entry), _) => entry.uid,
        (None, Some(uid)) => uid,
        (None, None) => {
            return Err(format!(
                "user {user:?} is not listed in the image's /etc/passwd; add it there or give its number"
            ));
        }
    };
    let home = entry
        .as_ref()
        .map(|u| u.home)
        .filter(|home| !home.is_empty())
        .unwrap_or("/")
        .to_owned();
    if let Some(wanted) = group_name {
        let number = wanted.parse::<u32>().ok();
        let gid = groups(group)
            .find(|g| g.name == wanted)
            .map(|g| g.gid)
            .or(number)
            .ok_or_else(|| {
                format!("group {wanted:?} is not listed in the image's /etc/group; add it there or give its number")
            })?;
        return Ok(CommandUser {
            uid,
            gid,
            groups: vec![gid],
            home,
        });
    }
    let gid = entry.as_ref().map_or(0, |u| u.gid);
    let mut all = vec![gid];
    if let Some(entry) = &entry {
        let more = groups(group)
            .filter(|g| g.members.split(',').any(|m| m.trim() == entry.name))
            .map(|g| g.gid);
        for gid in more {
            if !all.contains(&gid) {
                all.push(gid);
            }
        }
    }
    Ok(CommandUser {
        uid,
        gid,
        groups: all,
        home,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment\nbroken:line\n\
        web:x:33:34:web server:/srv/web:/bin/false\n1000:x:7:7::/odd:/bin/sh\nbare:x:50:51\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nshared:x:900:bare, web\nlog:x:901:web\n";

    fn ids(wanted: &str) -> (u32, u32, Vec<u32>, String) {
        let id = find(wanted, PASSWD, GROUP).unwrap();
        (id.uid, id.gid, id.groups, id.home)
    }

    #[test]
    fn a_name_has_its_groups_and_home() {
        assert_eq!(ids("web"), (33, 34, vec![34, 900, 901], "/srv/web".into()));
        assert_eq!(ids("bare"), (50, 51, vec![51, 900], "/".into()));
    }

    #[test]
    fn a_listed_id_is_that_user() {
        assert_eq!(ids("33"), ids("web"));
    }

    #[test]
    fn a_name_of_digits_takes_precedence_over_the_id() {
        assert_eq!(ids("1000"), (7, 7, vec![7], "/odd".into()));
    }

    #[test]
    fn an_unlisted_id_is_valid() {
        assert_eq!(ids("4711"), (4711, 0, vec![0], "/".into()));
        assert_eq!(ids("4711:12"), (4711, 12, vec![12], "/".into()));
        let none = find("4711:12", "", "").unwrap();
        assert_eq!((none.uid, none.gid), (4711, 12));
    }

    #[test]
    fn an_explicit_group_replaces_the_users_own() {
        assert_eq!(ids("web:shared"), (33, 900, vec![900], "/srv/web".into()));
        assert_eq!(ids("web:"), ids("web"));
        assert_eq!(ids(":log"), (0, 901, vec![901], "/root".into()));
    }

    #[test]
    fn errors_contain_the_unknown_name() {
        assert!(find("nobody", PASSWD, GROUP).unwrap_err().contains("\"nobody\""));
        assert!(find("web:staff", PASSWD, GROUP).unwrap_err().contains("\"staff\""));
        assert!(find("-1", PASSWD, GROUP).is_err());
    }
}
