//! A replacement for `thread_local::ThreadLocal`. Shuttle's threads all run on one system thread, so that crate cannot tell them apart.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use shuttle::thread::{self, ThreadId};

/// A separate value for each thread.
pub struct ThreadLocal<T>(Mutex<HashMap<ThreadId, Box<T>>>);

// SAFETY: each thread only reaches its own value; `iter_mut` needs exclusive access to the whole.
unsafe impl<T: Send> Sync for ThreadLocal<T> {}

impl<T> ThreadLocal<T> {
    pub fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    pub fn get(&self) -> Option<&T> {
        let values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let value: *const T = &**values.get(&thread::current().id())?;
        // SAFETY: a box in the map stays in place until the whole is dropped, and no other thread uses its value.
        Some(unsafe { &*value })
    }

    pub fn get_or(&self, make: impl FnOnce() -> T) -> &T {
        if self.get().is_none() {
            let made = Box::new(make());
            let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            values.insert(thread::current().id(), made);
        }
        self.get().expect("it was made")
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let values = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        values.values_mut().map(|value| &mut **value)
    }
}
