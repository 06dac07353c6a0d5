//! File descriptors, of which each connection takes one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// 64: for what is no connection: the listeners, the plugins, the watched file, the log, the runtime.
const RESERVED: u64 = 64;

/// Lets this process have as many file descriptors as its hard limit says, as Go programs do by themselves: the soft limit is 1024 by custom,
/// for programs that use `select`, which this one does not.
///
/// For the `dekker` command; a program that hosts the server decides for itself.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // Where the system refuses, the soft limit bounds the connections.
        let raised = Rlimit {
            current: maximum,
            maximum,
        };
        let _ = setrlimit(Resource::Nofile, raised);
    }
}

/// How many connections may be open at once, over all servers.
pub(super) fn available() -> usize {
    let Some(limit) = getrlimit(Resource::Nofile).current else {
        return usize::MAX;
    };
    usize::try_from(for_connections(limit)).unwrap_or(usize::MAX)
}

/// Of few descriptors half are reserved.
fn for_connections(limit: u64) -> u64 {
    limit - RESERVED.min(limit / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_left_for_what_is_no_connection() {
        for (limit, expected) in [
            (0, 0),
            (32, 16),
            (64, 32),
            (1024, 960),
            (u64::MAX, u64::MAX - 64),
        ] {
            assert_eq!(for_connections(limit), expected, "{limit}");
        }
    }
}
