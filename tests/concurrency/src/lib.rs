//! The modelled code. `build.rs` copies it from the tree and adds variants with one mistake each.

// Some items are only used outside the models, and a mistake may leave others unused.
#![allow(missing_docs, unused, clippy::all)]

pub mod per_thread;
pub mod stand_in;

/// Defines a module for each name from the source that the build script has prepared.
macro_rules! prepared {
    ($($name:ident),* $(,)?) => {
        $(pub mod $name {
            include!(concat!(env!("OUT_DIR"), "/", stringify!($name), ".rs"));
        })*
    };
}

prepared!(
    nonce,
    nonce_read_then_write,
    nonce_cut_apart,
    nonce_wraps,
    shared,
    shared_version_read_late,
    shared_unpublished_file,
    shared_lease_kept,
);

/// The pool is private to the host. These modules make the parts that the models need public.
macro_rules! pools {
    ($($name:ident),* $(,)?) => {
        $(pub mod $name {
            include!(concat!(env!("OUT_DIR"), "/", stringify!($name), ".rs"));

            /// The pool, with the functions that the models need.
            pub struct Pool(Workers);

            impl Pool {
                pub fn new(count: usize, component: Component) -> Self {
                    Self(Workers::new(count, component, Options { read_only: false }, Clock, Arc::new(Metrics::default())))
                }

                pub fn publish(&self, epoch: u64, dek: u64) {
                    self.0.publish(Published {
                        epoch,
                        config: Arc::new(Zeroizing::new(epoch.to_le_bytes().to_vec())),
                        deks: vec![WriteDek { provider: "a".into(), id: dek_id(dek), expiry: u64::MAX }],
                    });
                }

                /// Returns what was written; `None` if the control instance must write.
                pub fn write(&self, control: &crate::stand_in::ControlInstance) -> Result<Option<Encrypted>, HostError> {
                    let at = Location;
                    match shuttle::future::block_on(self.0.to_storage(control, &at, b""))? {
                        Attempt::Done(done) => Ok(Some(done)),
                        Attempt::NotMine(number) => {
                            self.0.renew(number);
                            Ok(None)
                        }
                    }
                }

                /// Begins a write and drops it before it is complete.
                pub fn begin(&self, control: &crate::stand_in::ControlInstance) {
                    let at = Location;
                    let mut write = Box::pin(self.0.to_storage(control, &at, b""));
                    let waker = std::task::Waker::noop();
                    let _ = write.as_mut().poll(&mut std::task::Context::from_waker(waker));
                }

                pub fn metrics(&self) {
                    let _ = self.0.metrics();
                }

                /// Returns whether every worker is idle.
                pub fn is_idle(&self) -> bool {
                    let is_idle = |slot: &Slot| locked(&slot.0).is_some();
                    self.0.slots.iter().all(is_idle) && self.0.waiting.load(Ordering::Relaxed) == 0
                }
            }

            fn dek_id(serial: u64) -> DekId {
                DekId { incarnation: 0, serial }
            }

            impl Control for crate::stand_in::ControlInstance {
                async fn lease(&self, provider: &str) -> Result<Option<LeasedDek>, HostError> {
                    let leased = crate::stand_in::ControlInstance::lease(self).await?;
                    Ok(leased.map(|(dek, lease)| LeasedDek { id: dek_id(dek), lease }))
                }
            }
        })*
    };
}

pools!(
    workers,
    workers_counted_before_published,
    workers_version_read_late,
    workers_waits_without_a_look,
    workers_lease_kept,
);
