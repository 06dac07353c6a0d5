//! The limit of file descriptors. Each connection takes one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// 64: descriptors that are not for connections: the listeners, the plugins, the watched file, the log and the runtime.
const RESERVED: u64 = 64;

/// Raises this process's soft limit of file descriptors to its hard limit, as Go programs do by default. The soft limit is usually 1024, for programs
/// that use `select`; this one does not.
///
/// The `dekker` command calls this. A program that embeds the server decides for itself.
pub(crate) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // If the system refuses, the soft limit bounds the connections.
        let raised = Rlimit { current: maximum, maximum };
        let _ = setrlimit(Resource::Nofile, raised);
    }
}

/// Returns how many connections may be open at once, over all servers.
pub(super) fn available() -> usize {
    let Some(limit) = getrlimit(Resource::Nofile).current else {
        return usize::MAX;
    };
    usize::try_from(for_connections(limit)).unwrap_or(usize::MAX)
}

/// Reserves half of the descriptors if there are few.
fn for_connections(limit: u64) -> u64 {
    limit - RESERVED.min(limit / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_reserved_for_other_uses() {
        for (limit, expected) in
            [(0, 0), (32, 16), (64, 32), (1024, 960), (u64::MAX, u64::MAX - 64)]
        {
            assert_eq!(for_connections(limit), expected, "{limit}");
        }
    }
}
