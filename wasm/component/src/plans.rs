//! The interface `plans`. Only the accelerated component has it, because only a host that keeps the keys can carry a plan out.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::{RefCell, RefMut};

use dekker_core::crypto::secret::DekBytes;
use dekker_core::engine::event::{CallError, CallId, Event, OpId};
use dekker_core::engine::plans::{PendingRead, Read, ReadJob, Write, WriteJob};
use dekker_core::engine::{Engine, RouteId};
use dekker_core::provider::frame::Frame;
use dekker_core::provider::plan::{ReadPlan, SealPlan, WritePlan};
use dekker_core::provider::stored::Stored;
use dekker_core::provider::value::Labels;
use dekker_core::time::Timestamp;
use dekker_core::{ErrorKind, TransformError};

use crate::bindings::dekker::crypto::keys as host;
use crate::bindings::dekker::transformer::types;
use crate::bindings::exports::dekker::transformer::engine::{self as face, EngineBorrow};
use crate::bindings::exports::dekker::transformer::plans as wit;
use crate::engine::EngineResource;
use crate::imported_keys::{open_error, opener, sealer};
use crate::{Component, convert};

/// The maximum number of sealers that are kept: one for each key that seals. A configuration has a few. One call may need as many as it has values.
const SEALERS_MAX: usize = 1024;
/// The number of labels that can be asked for.
const LABELS_MAX: usize = 1024;
/// The number of recent labels that new ones are compared with.
const LABELS_COMPARED: usize = 16;

/// What the interface remembers for one engine.
#[derive(Default)]
pub(crate) struct Plans {
    /// The plans of the last call. The next call counts them as carried out.
    unsettled: Vec<Unsettled>,
    /// The last read, if bytes of its value were missing.
    pending: Option<PendingRead>,
    /// The sealer of each frame.
    sealers: Vec<(Arc<Frame>, host::Sealer, u32)>,
    labels: LabelNumbers,
    /// DEKs that wait to be taken by the host, which sends them to a plugin.
    to_encrypt: Vec<(CallId, host::Secret)>,
}

/// The plan of a value, or of several values that follow each other.
struct Unsettled {
    /// The index of the first value.
    first: u32,
    /// How many values there are.
    count: u32,
    ticket: Ticket,
}

impl Unsettled {
    const fn one(at: u32, ticket: Ticket) -> Self {
        Self { first: at, count: 1, ticket }
    }
}

#[allow(clippy::large_enum_variant, reason = "a call has tickets of one variant")]
enum Ticket {
    Write(WriteJob),
    Read(ReadJob),
}

/// The last [`LABELS_MAX`] labels, numbered consecutively.
#[derive(Default)]
struct LabelNumbers {
    labels: Vec<Labels>,
    next: u32,
    last: u32,
}

impl LabelNumbers {
    fn get(&self, number: u32) -> Option<&Labels> {
        let age = self.next.wrapping_sub(number);
        let is_kept = age >= 1 && age as usize <= self.labels.len();
        self.labels.get(number as usize % LABELS_MAX).filter(|_| is_kept)
    }

    /// Returns the number of labels, which are new unless they equal recent ones.
    fn number(&mut self, labels: &Labels) -> u32 {
        if self.get(self.last).is_some_and(|last| same(last, labels)) {
            return self.last;
        }
        let known = (1..=LABELS_COMPARED as u32)
            .map(|age| self.next.wrapping_sub(age))
            .find(|number| self.get(*number).is_some_and(|known| same(known, labels)));
        self.last = known.unwrap_or_else(|| self.add(labels.clone()));
        self.last
    }

    fn add(&mut self, labels: Labels) -> u32 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        match self.labels.get_mut(number as usize % LABELS_MAX) {
            Some(place) => *place = labels,
            None => self.labels.push(labels),
        }
        number
    }
}

/// Compares labels, by the addresses of their texts first.
fn same(a: &Labels, b: &Labels) -> bool {
    fn text(a: Option<&Arc<str>>, b: Option<&Arc<str>>) -> bool {
        match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
            (None, None) => true,
            _ => false,
        }
    }
    a.has_rule == b.has_rule
        && text(Some(&a.transformer_prefix), Some(&b.transformer_prefix))
        && text(a.key_id_hash.as_ref(), b.key_id_hash.as_ref())
        && text(a.key_prefix.as_ref(), b.key_prefix.as_ref())
}

/// An engine with what the interface remembers for it.
pub(crate) struct Planner<'e> {
    pub(crate) engine: RefMut<'e, Engine>,
    plans: RefMut<'e, Plans>,
}

impl Plans {
    /// Counts the plans of the last call as carried out.
    pub(crate) fn settle(plans: &RefCell<Self>, engine: &mut Engine) {
        let mut plans = plans.borrow_mut();
        plans.pending = None;
        for planned in plans.unsettled.drain(..) {
            match planned.ticket {
                Ticket::Write(job) => engine.sealed(job.ticket),
                Ticket::Read(job) => engine.opened(job.ticket),
            }
        }
    }

    /// Keeps the DEK of a call for [`wit::Guest::dek_to_encrypt`].
    pub(crate) fn keep_dek(&mut self, call: CallId, dek: host::Secret) {
        self.to_encrypt.push((call, dek));
    }
}

impl<'e> Planner<'e> {
    /// Counts the plans of the last call as carried out.
    pub(crate) fn new(of: &'e EngineBorrow<'_>) -> Self {
        let resource = of.get::<EngineResource>();
        Self { engine: resource.engine(), plans: resource.plans.borrow_mut() }
    }

    /// Does not count the plans of the last call.
    fn unsettled(of: &'e EngineBorrow<'_>) -> Self {
        let resource = of.get::<EngineResource>();
        Self { engine: resource.unsettled_engine(), plans: resource.plans.borrow_mut() }
    }

    fn write(&mut self, planned: Write) -> wit::Write {
        match planned {
            Write::Seal(job) => match self.write_plan(0, job) {
                Some(plan) => wit::Write::Plan(plan),
                None => wit::Write::Failed(convert::error(unexpected())),
            },
            Write::Failed(error) => wit::Write::Failed(convert::error(error)),
            Write::Parked => wit::Write::Parked,
            Write::UnknownRoute => wit::Write::UnknownRoute,
        }
    }

    pub(crate) fn write_plan(&mut self, at: u32, job: WriteJob) -> Option<wit::WritePlan> {
        let (sealer, counter) = match &job.plan {
            WritePlan::Copy => (None, None),
            WritePlan::Seal(plan) => (Some(self.sealer(plan)?), plan.nonce().counter()),
        };
        let labels = self.plans.labels.number(&job.ticket.labels);
        self.plans.unsettled.push(Unsettled::one(at, Ticket::Write(job)));
        Some(wit::WritePlan { sealer, counter, labels })
    }

    /// Plans the write of the next value, which has the resource of the last one. `last` is the plan of that one.
    fn write_again(&mut self, last: wit::WritePlan) -> Option<wit::WritePlan> {
        let Some(Unsettled { count, ticket: Ticket::Write(job), .. }) =
            self.plans.unsettled.last_mut()
        else {
            return None;
        };
        let counter = match job.again()? {
            WritePlan::Copy => None,
            WritePlan::Seal(plan) => plan.nonce().counter(),
        };
        *count += 1;
        Some(wit::WritePlan { counter, ..last })
    }

    /// Returns the number of the sealer of a plan.
    fn sealer(&mut self, plan: &SealPlan) -> Option<u32> {
        let sealers = &mut self.plans.sealers;
        let frame = plan.frame();
        if let Some((.., number)) = sealers.iter().find(|(known, ..)| Arc::ptr_eq(known, frame)) {
            return Some(*number);
        }
        // A frame that only this table still has is no longer in use.
        sealers.retain(|(known, ..)| Arc::strong_count(known) > 1);
        if sealers.len() >= SEALERS_MAX {
            sealers.remove(0);
        }
        let new = sealer(plan.key()?, frame)?;
        let number = new.number();
        sealers.push((frame.clone(), new, number));
        Some(number)
    }

    pub(crate) fn read(&mut self, planned: Read) -> wit::Read {
        match planned {
            Read::Open(job) => match self.read_plan(0, job) {
                Some(plan) => wit::Read::Plan(plan),
                None => wit::Read::Failed(convert::error(unexpected())),
            },
            Read::Failed(error) => wit::Read::Failed(convert::error(error)),
            Read::Parked => wit::Read::Parked,
            Read::Missing(pending, missing) => {
                self.plans.pending = Some(pending);
                wit::Read::Missing(convert::missing(missing))
            }
            Read::UnknownRoute => wit::Read::UnknownRoute,
        }
    }

    fn read_plan(&mut self, at: u32, job: ReadJob) -> Option<wit::ReadPlan> {
        let (opener, range) = match &job.plan {
            ReadPlan::Copy => (None, 0..0),
            ReadPlan::Open { key, range } => (Some(opener(key)?), range.clone()),
        };
        let labels = self.plans.labels.number(&job.ticket.labels);
        let state = job.state;
        self.plans.unsettled.push(Unsettled::one(at, Ticket::Read(job)));
        Some(wit::ReadPlan {
            opener,
            start: range.start as u32,
            end: range.end as u32,
            labels,
            state: state.map(convert::value_state),
        })
    }

    /// Plans the read of the next value, which has the resource of the last one, if it is like that read. `last` is the plan of that one.
    fn read_like(&mut self, last: wit::ReadPlan, stored: Stored<'_>) -> Option<wit::ReadPlan> {
        let Some(Unsettled { count, ticket: Ticket::Read(job), .. }) =
            self.plans.unsettled.last_mut()
        else {
            return None;
        };
        let range = self.engine.try_plan_like(job, stored)?;
        *count += 1;
        Some(wit::ReadPlan { start: range.start as u32, end: range.end as u32, ..last })
    }
}

/// Returns the visible part of a value. Returns `None` if the lengths do not match.
pub(crate) fn stored(window: &wit::Window) -> Option<Stored<'_>> {
    let (head, tail) = window.bytes.split_at_checked(window.head as usize)?;
    Stored::window(window.length as usize, head, tail)
}

fn unexpected() -> TransformError {
    TransformError::new(
        ErrorKind::Internal,
        "the plan cannot be made from what the host passed".into(),
    )
}

fn wrong() -> wit::Read {
    wit::Read::Failed(convert::error(unexpected()))
}

impl wit::Guest for Component {
    fn route_of(engine: EngineBorrow<'_>, resource: String) -> u32 {
        Planner::new(&engine).engine.route(&resource).0
    }

    fn labels_of(engine: EngineBorrow<'_>, number: u32) -> Option<wit::Labels> {
        let plans = engine.get::<EngineResource>().plans.borrow();
        let Labels { transformer_prefix, key_prefix, has_rule, key_id_hash } =
            plans.labels.get(number)?;
        Some(wit::Labels {
            transformer_prefix: String::from(&**transformer_prefix),
            key_prefix: key_prefix.as_deref().map(String::from),
            has_rule: *has_rule,
            key_id_hash: key_id_hash.as_deref().map(String::from),
        })
    }

    fn to_storage(
        engine: EngineBorrow<'_>,
        op: u64,
        route: u32,
        size: u32,
        now: u64,
    ) -> wit::Write {
        let mut planner = Planner::new(&engine);
        let now = Timestamp::from_millis(now);
        let planned = planner.engine.plan_write(OpId(op), RouteId(route), size as usize, now);
        planner.write(planned)
    }

    fn resume_write(engine: EngineBorrow<'_>, op: u64) -> wit::Write {
        let mut planner = Planner::new(&engine);
        let planned = planner.engine.resume_write(OpId(op));
        planner.write(planned)
    }

    fn not_sealed(engine: EngineBorrow<'_>, error: types::TransformError) {
        let mut planner = Planner::unsettled(&engine);
        if let Some(Unsettled { ticket: Ticket::Write(job), .. }) = planner.plans.unsettled.pop() {
            let types::TransformError { message, .. } = error;
            let error = TransformError::new(ErrorKind::Internal, message);
            planner.engine.not_sealed(job.ticket, &error);
        }
    }

    fn from_storage(
        engine: EngineBorrow<'_>,
        op: u64,
        route: u32,
        size: u32,
        window: wit::Window,
        now: u64,
    ) -> wit::Read {
        let mut planner = Planner::new(&engine);
        let Some(stored) = stored(&window) else {
            return wrong();
        };
        let (route, now) = (RouteId(route), Timestamp::from_millis(now));
        let planned = planner.engine.plan_read(OpId(op), route, size as usize, stored, now);
        planner.read(planned)
    }

    fn continue_read(engine: EngineBorrow<'_>, window: wit::Window) -> wit::Read {
        let mut planner = Planner::unsettled(&engine);
        let (Some(pending), Some(stored)) = (planner.plans.pending.take(), stored(&window)) else {
            return wrong();
        };
        let planned = planner.engine.continue_read(pending, stored);
        planner.read(planned)
    }

    fn resume_read(engine: EngineBorrow<'_>, op: u64, window: wit::Window) -> wit::Read {
        let mut planner = Planner::new(&engine);
        let Some(stored) = stored(&window) else {
            return wrong();
        };
        let planned = planner.engine.resume_read(OpId(op), stored);
        planner.read(planned)
    }

    fn not_opened(
        engine: EngineBorrow<'_>,
        error: host::OpenError,
        window: wit::Window,
    ) -> wit::Read {
        let mut planner = Planner::unsettled(&engine);
        let (Some(Unsettled { ticket: Ticket::Read(job), .. }), Some(stored)) =
            (planner.plans.unsettled.pop(), stored(&window))
        else {
            return wrong();
        };
        let planned = planner.engine.not_opened(job.ticket, open_error(error), stored);
        planner.read(planned)
    }

    fn to_storage_many(
        engine: EngineBorrow<'_>,
        routes: Vec<u32>,
        now: u64,
    ) -> Vec<Option<wit::WritePlan>> {
        let mut planner = Planner::new(&engine);
        let now = Timestamp::from_millis(now);
        // The route and the plan of the value before, if it has one.
        let mut last: Option<(u32, wit::WritePlan)> = None;
        let plan = |(at, route)| {
            let again = last.take().filter(|(of, _)| *of == route);
            let plan = again.and_then(|(_, plan)| planner.write_again(plan)).or_else(|| {
                let job = planner.engine.try_plan_write(RouteId(route), now)?;
                planner.write_plan(at, job)
            })?;
            last = Some((route, plan));
            Some(plan)
        };
        (0..).zip(routes).map(plan).collect()
    }

    fn from_storage_many(
        engine: EngineBorrow<'_>,
        values: Vec<wit::OneOfMany>,
        bytes: Vec<u8>,
        now: u64,
    ) -> Vec<Option<wit::ReadPlan>> {
        let mut planner = Planner::new(&engine);
        let now = Timestamp::from_millis(now);
        let mut rest = &*bytes;
        // The route and the plan of the value before, if it has one.
        let mut last: Option<(u32, wit::ReadPlan)> = None;
        let plan = |(at, value): (u32, wit::OneOfMany)| {
            let (shown, after) = rest.split_at_checked(value.shown as usize)?;
            rest = after;
            let (head, tail) = shown.split_at_checked(value.head as usize)?;
            let stored = Stored::window(value.length as usize, head, tail)?;
            let like = last.take().filter(|(of, _)| *of == value.route);
            let like = like.and_then(|(_, plan)| planner.read_like(plan, stored));
            let plan = match like {
                Some(plan) => plan,
                None => match planner.engine.try_plan_read(RouteId(value.route), stored, now) {
                    Read::Open(job) => planner.read_plan(at, job)?,
                    _ => return None,
                },
            };
            last = Some((value.route, plan));
            Some(plan)
        };
        (0..).zip(values).map(plan).collect()
    }

    fn withdraw(engine: EngineBorrow<'_>, which: Vec<u32>) {
        let mut plans = engine.get::<EngineResource>().plans.borrow_mut();
        let unsettled = &mut plans.unsettled;
        for at in which {
            let after = unsettled.partition_point(|planned| planned.first <= at);
            let planned = after.checked_sub(1).and_then(|last| unsettled.get_mut(last));
            match planned.filter(|planned| at - planned.first < planned.count) {
                Some(Unsettled { ticket: Ticket::Write(job), .. }) => job.ticket.withdraw_one(),
                Some(Unsettled { ticket: Ticket::Read(job), .. }) => job.ticket.withdraw_one(),
                None => {}
            }
        }
    }

    fn dek_to_encrypt(engine: EngineBorrow<'_>, call: u64) -> Option<host::Secret> {
        let mut plans = engine.get::<EngineResource>().plans.borrow_mut();
        let at = plans.to_encrypt.iter().position(|(of, _)| *of == CallId(call))?;
        Some(plans.to_encrypt.swap_remove(at).1)
    }

    fn decrypted(
        engine: EngineBorrow<'_>,
        call: u64,
        outcome: Result<host::Secret, face::CallError>,
        now: u64,
    ) {
        let outcome = match outcome {
            Ok(secret) => Ok(DekBytes::Held(Box::new(secret))),
            Err(face::CallError { code, message }) => Err(CallError { code, message }),
        };
        let event = Event::Decrypted { call: CallId(call), outcome };
        Planner::new(&engine).engine.handle_event(event, Timestamp::from_millis(now));
    }
}
