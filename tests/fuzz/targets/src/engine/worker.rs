//! A worker beside the control engine. Like a host's worker, it catches up before each value.

use dekker_core::engine::event::Generation;
use dekker_core::engine::lease::WriteState;
use dekker_core::engine::{Engine, Options};
use dekker_core::time::Timestamp;

use super::watch::{Counting, Watch};

pub(super) struct Worker {
    pub(super) engine: Engine,
    generation: Generation,
    states: Vec<WriteState>,
}

impl Worker {
    pub(super) fn new(
        control: &Engine,
        options: &Options,
        watch: &Watch,
        entropy: &Counting,
        now: Timestamp,
    ) -> Self {
        let engine = Engine::worker(
            control.running_config().expect("it is kept").expose(),
            options.clone(),
            Box::new(watch.clone()),
            Box::new(entropy.clone()),
            now,
        );
        Self {
            engine: engine.expect("the file in use"),
            generation: control.running_generation(),
            states: Vec::new(),
        }
    }

    /// Applies the control engine's current state. Returns `false` if another file is in use; the worker must then be replaced.
    pub(super) fn catch_up(&mut self, control: &mut Engine) -> bool {
        if control.running_generation() != self.generation {
            return false;
        }
        for state in control.write_states().collect::<Vec<_>>() {
            let known = self.states.iter().position(|known| known.provider == state.provider);
            if let Some(known) = known.map(|at| &mut self.states[at])
                && known.serial == state.serial
            {
                if known.expiry != state.expiry {
                    self.engine.extend(&state.provider, state.expiry);
                    known.expiry = state.expiry;
                }
                continue;
            }
            self.states.retain(|known| known.provider != state.provider);
            let never = Timestamp::from_millis(0);
            self.engine.extend(&state.provider, never);
            if let Some(lease) = control.lease(&state.provider)
                && self.engine.adopt(lease)
            {
                self.states.push(state);
            }
        }
        true
    }
}
