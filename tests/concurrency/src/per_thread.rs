//! What `thread_local::ThreadLocal` is, for Shuttle's threads, which are all on one thread of the system's.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use shuttle::thread::{self, ThreadId};

/// A value for each thread that asks for one.
pub struct ThreadLocal<T>(Mutex<HashMap<ThreadId, Box<T>>>);

// SAFETY: each thread reaches its own value only; `iter_mut` needs the whole for itself.
unsafe impl<T: Send> Sync for ThreadLocal<T> {}

impl<T> ThreadLocal<T> {
    pub fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    pub fn get(&self) -> Option<&T> {
        let values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let value: *const T = &**values.get(&thread::current().id())?;
        // SAFETY: a box that is in the map stays where it is until the whole is dropped, and nobody else has its value.
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
