//! Determines who can reach the API socket: the mode and group of its file, and the directories above it.
//!
//! Who may then make requests is decided by [`PeerPolicy`](crate::http::peer::PeerPolicy), from the user ID that the kernel reports. The file's mode
//! must not keep out users whom that policy allows.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::http::listen::Access;

/// The read and write bits for owner, group and others. A socket uses no other mode bits.
const MEANINGFUL: u32 = 0o666;

/// Parses an octal mode, such as 0660.
pub(super) fn parse_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8)
        .map_err(|_| "expected an octal number, such as 0660".to_owned())?;
    if mode & !MEANINGFUL != 0 {
        return Err("a socket has only read and write bits, such as 0660".to_owned());
    }
    if mode & 0o600 != 0o600 {
        return Err("the owner must be able to connect: include 0600".to_owned());
    }
    Ok(mode)
}

/// Returns the allowed users to whom file modes apply: all except this user and root.
fn others(allowed: &[u32]) -> impl Iterator<Item = u32> {
    let own = rustix::process::geteuid().as_raw();
    allowed.iter().copied().filter(move |uid| *uid != 0 && *uid != own)
}

/// Returns the mode and group that result from `--allow-uid`, `--listen-mode` and `--listen-group`.
///
/// # Errors
/// Returns an error if the options contradict each other.
pub(super) fn of(allowed: &[u32], mode: Option<u32>, group: Option<u32>) -> anyhow::Result<Access> {
    let for_others = others(allowed).next().is_some();
    let mode = match (mode, group) {
        (Some(mode), _) => mode,
        (None, Some(_)) => 0o660,
        (None, None) if for_others => 0o666,
        (None, None) => Access::OWNER.mode,
    };
    anyhow::ensure!(
        for_others || mode & 0o002 == 0,
        "--listen-mode {mode:04o} lets every user connect, but only this user may call: name other users with --allow-uid"
    );
    anyhow::ensure!(
        !for_others || mode & 0o022 != 0,
        "--listen-mode {mode:04o} keeps out the users that --allow-uid names: choose a mode with which they can write, such as 0666, or 0660 \
         with --listen-group"
    );
    anyhow::ensure!(
        group.is_none() || mode & 0o020 != 0,
        "--listen-mode {mode:04o} keeps out the group of --listen-group: choose a mode with which it can write, such as 0660"
    );
    Ok(Access { mode, group })
}

/// Checks whether the allowed users can reach the socket's directory.
///
/// # Errors
/// Returns an error if only its owner can enter a directory on the path, and an allowed user is not the owner.
pub(super) fn check_way(socket: &Path, allowed: &[u32]) -> anyhow::Result<()> {
    let Some(directory) = socket.parent() else {
        return Ok(());
    };
    let Ok(directory) = fs::canonicalize(directory) else {
        // If the directory does not exist, creating the socket reports it.
        return Ok(());
    };
    for uid in others(allowed) {
        if let Some((closed, mode)) = closed_to(&directory, uid)? {
            anyhow::bail!(
                "--allow-uid {uid}: that user cannot reach the API socket {}, because only the owner of {} can enter it (mode {mode:04o}): \
                 use --listen to choose a directory that both can enter, such as unix:///run/dekker/api.sock; the state directory stays closed",
                socket.display(),
                closed.display()
            );
        }
    }
    Ok(())
}

/// Returns the first directory on the path that a user cannot enter, whatever the user's groups, with its mode.
fn closed_to(directory: &Path, uid: u32) -> anyhow::Result<Option<(PathBuf, u32)>> {
    let mut way: Vec<&Path> = directory.ancestors().collect();
    way.reverse();
    for directory in way {
        let found = fs::metadata(directory).with_context(|| directory.display().to_string())?;
        // Permissions from an access control list show in the group bits.
        if found.uid() != uid && found.mode() & 0o011 == 0 {
            return Ok(Some((directory.to_owned(), found.mode() & 0o7777)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn modes_are_octal_and_keep_the_owners_access() {
        let table = [
            ("0660", Some(0o660)),
            ("600", Some(0o600)),
            ("0666", Some(0o666)),
            ("0620", Some(0o620)),
            ("0700", None),
            ("4660", None),
            ("0066", None),
            ("0400", None),
            ("rw", None),
            ("0o660", None),
            ("999", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_mode(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn mode_and_group_follow_from_the_allowed_users() {
        let own = rustix::process::geteuid().as_raw();
        let other = own + 1;
        let access = |mode, group| Some(Access { mode, group });
        let table = [
            ("this user", vec![], None, None, access(0o600, None)),
            ("by name", vec![own], None, None, access(0o600, None)),
            ("root needs no mode", vec![0], None, None, access(0o600, None)),
            ("another user", vec![other], None, None, access(0o666, None)),
            ("a group", vec![], None, Some(7), access(0o660, Some(7))),
            ("a user, by group", vec![other], None, Some(7), access(0o660, Some(7))),
            ("a mode", vec![other], Some(0o622), None, access(0o622, None)),
            ("every user can connect, none may call", vec![], Some(0o666), None, None),
            ("a user that is kept out", vec![other], Some(0o600), None, None),
            ("a group that is kept out", vec![other], Some(0o602), Some(7), None),
        ];
        for (desc, allowed, mode, group, expected) in table {
            assert_eq!(of(&allowed, mode, group).ok(), expected, "{desc}");
        }
    }

    #[test]
    fn a_parent_directory_that_cannot_be_entered_is_named() {
        let root = tempfile::tempdir().unwrap();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        };
        set(root.path(), 0o755);
        let way = root.path().join("a/b");
        fs::create_dir_all(&way).unwrap();
        let own = rustix::process::geteuid().as_raw();
        let socket = way.join("s");
        set(&way, 0o711);
        set(&root.path().join("a"), 0o710);
        check_way(&socket, &[own + 1]).unwrap();
        set(&root.path().join("a"), 0o700);
        let error = check_way(&socket, &[own + 1]).unwrap_err().to_string();
        let closed = fs::canonicalize(root.path().join("a")).unwrap();
        for part in [&closed.display().to_string(), "0700", "--listen"] {
            assert!(error.contains(part), "{error}");
        }
        check_way(&socket, &[own, 0]).unwrap();
    }
}
