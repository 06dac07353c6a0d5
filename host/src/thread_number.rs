//! Numbers of threads, by which threads spread over things of which there are several, so that each usually has its own.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Returns the number of the current thread. Threads are numbered from 0 in the order of their first call.
pub(crate) fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    // A thread that is ending may share a number.
    NUMBER.try_with(|number| *number).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_has_its_own_number_and_keeps_it() {
        let number = thread_number();
        let other = std::thread::spawn(|| (thread_number(), thread_number())).join().unwrap();
        assert_eq!(number, thread_number());
        assert_eq!(other.0, other.1);
        assert_ne!(number, other.0);
    }
}
