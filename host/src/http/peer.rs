//! The policy for which users may call the transform API.

use std::collections::BTreeSet;

/// The user IDs whose processes may call.
///
/// The kernel reports the peer's effective user ID at the time of the connection (`SO_PEERCRED`), mapped to our user namespace. A user without a
/// mapping there appears as the overflow ID, 65534 on most systems. If processes in other user namespaces can reach the socket, do not allow that ID,
/// and do not run Dekker under it.
#[derive(Clone, Debug)]
pub(crate) struct PeerPolicy {
    allowed: BTreeSet<u32>,
}

impl PeerPolicy {
    /// Allows our own effective user, and the users of `--allow-uid`.
    ///
    /// No other user is allowed, not even root. Root can read our memory, but the socket should still not decrypt for a process of root's that
    /// connects by accident.
    #[must_use]
    pub(crate) fn same_user_and(allowed: impl IntoIterator<Item = u32>) -> Self {
        let own = rustix::process::geteuid().as_raw();
        Self::only(allowed.into_iter().chain([own]))
    }

    /// Allows exactly these users.
    #[must_use]
    pub(crate) fn only(allowed: impl IntoIterator<Item = u32>) -> Self {
        Self { allowed: allowed.into_iter().collect() }
    }

    /// Returns whether a process of this user may call.
    #[must_use]
    pub(crate) fn allows(&self, uid: u32) -> bool {
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
            ("listed user", PeerPolicy::same_user_and([own + 1]), own + 1, true),
            ("own user beside a listed one", PeerPolicy::same_user_and([own + 1]), own, true),
            ("exactly these", PeerPolicy::only([own + 1]), own, false),
        ];
        for (desc, policy, uid, expected) in table {
            assert_eq!(policy.allows(uid), expected, "{desc}");
        }
    }
}
