//! Who may call the transform API.

use std::collections::BTreeSet;

/// The user IDs whose processes may call.
///
/// The kernel tells the peer's effective user ID (`SO_PEERCRED`) as it was when it connected, in our user namespace. A user that
/// has no number there shows as the overflow ID, 65534 on most systems: do not allow that one, nor run Dekker under it, where
/// other namespaces can reach the socket.
#[derive(Clone, Debug)]
pub struct PeerPolicy {
    allowed: BTreeSet<u32>,
}

impl PeerPolicy {
    /// Our own effective user, and those of `--allow-uid`.
    ///
    /// Nobody else is let in, root included: root can read our memory, but a socket that root's processes stumble over should
    /// still not decrypt for them.
    #[must_use]
    pub fn same_user_and(allowed: impl IntoIterator<Item = u32>) -> Self {
        let own = rustix::process::geteuid().as_raw();
        Self::only(allowed.into_iter().chain([own]))
    }

    /// Exactly these.
    #[must_use]
    pub fn only(allowed: impl IntoIterator<Item = u32>) -> Self {
        Self {
            allowed: allowed.into_iter().collect(),
        }
    }

    /// Whether a process of this user may call.
    #[must_use]
    pub fn allows(&self, uid: u32) -> bool {
        self.allowed.contains(&uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_user_and_listed_users_may_call() {
        let own = rustix::process::geteuid().as_raw();
        let table = [
            ("own user", PeerPolicy::same_user_and([]), own, true),
            ("other user", PeerPolicy::same_user_and([]), own + 1, false),
            (
                "listed user",
                PeerPolicy::same_user_and([own + 1]),
                own + 1,
                true,
            ),
            (
                "own user beside a listed one",
                PeerPolicy::same_user_and([own + 1]),
                own,
                true,
            ),
            ("exactly these", PeerPolicy::only([own + 1]), own, false),
        ];
        for (desc, policy, uid, expected) in table {
            assert_eq!(policy.allows(uid), expected, "{desc}");
        }
    }
}
