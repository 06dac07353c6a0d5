//! Hand-written bindings to the interface `plans` of the accelerated component, and the host's half of it: values and keys stay here, and each plan
//! of the component is carried out here.

mod functions;
mod many;

use std::collections::HashMap;

use dekker_keys::{OpenError, OpeningKey, Secret};
use wasmtime::component::{Func, Instance, Resource, ResourceAny, TypedFunc};
use wasmtime::{Error, Result, Store};
use zeroize::Zeroizing;

use super::bindings::dekker::transformer::types as wit;
use super::bindings::exports::dekker::transformer::engine as face;
use super::window::{self, Missing, Window};
use super::{State, wasi_random};
use crate::model::{Decrypted, Encrypted, Labels, Location, TransformError};
pub(super) use functions::{Call, Read, ReadPlan, WritePlan};
use functions::{Functions, LabelsRecord, ReadParams, RouteParams, Write, WriteParams};

/// The maximum number of routes that are remembered. If there are more, all are looked up again.
const ROUTES_MAX: usize = 1024;
/// The maximum length of a resource whose route is remembered.
const RESOURCE_MAX: usize = 512;
/// The number of labels that are remembered: the component knows as many.
const LABELS_MAX: usize = 1024;

/// A value whose operation is parked.
enum Held {
    Plaintext { at: Location, plaintext: Zeroizing<Vec<u8>> },
    Stored { at: Location, stored: Vec<u8> },
}

/// The host's half of the interface, for one engine.
pub(super) struct Plans {
    functions: Functions,
    routes: HashMap<Box<str>, u32>,
    /// The route that was needed last.
    last_route: Option<(Box<str>, u32)>,
    /// The last labels that had each place.
    labels: Vec<Option<(u32, Labels)>>,
    /// How much of a value the component needs to see.
    window: Missing,
    /// The first and last bytes of the current value.
    shown: Vec<u8>,
    held: HashMap<u64, Held>,
    /// The DEK that opened the value of the last read.
    dek: Option<OpeningKey>,
}

/// The result of a parked operation.
pub(super) enum Done {
    Write(core::result::Result<Encrypted, TransformError>),
    Read(core::result::Result<Decrypted, TransformError>),
}

/// The result of an operation; `None` if it is parked.
type Outcome<T> = Option<core::result::Result<T, TransformError>>;
/// The result of an attempt in a worker; `None` if the control engine must do it.
type Attempt<T> = Option<T>;

impl Plans {
    /// Looks up the functions. Returns `None` if the component is self-contained.
    pub(super) fn find(store: &mut Store<State>, instance: &Instance) -> Result<Option<Self>> {
        Ok(Functions::find(store, instance)?.map(|functions| Self {
            functions,
            routes: HashMap::new(),
            last_route: None,
            labels: Vec::new(),
            window: window::FIRST,
            shown: Vec::new(),
            held: HashMap::new(),
            dek: None,
        }))
    }

    /// Returns the number of a resource.
    pub(super) fn route(&mut self, call: &mut Call<'_>, resource: &str) -> Result<u32> {
        if let Some((last, route)) = &self.last_route
            && **last == *resource
        {
            return Ok(*route);
        }
        let route = match self.routes.get(resource) {
            Some(route) => *route,
            None => {
                let params: RouteParams<'_> = (call.engine, resource);
                let route = call.checked(self.functions.route_of, params)?;
                if resource.len() > RESOURCE_MAX {
                    return Ok(route);
                }
                if self.routes.len() >= ROUTES_MAX {
                    self.routes.clear();
                }
                self.routes.insert(resource.into(), route);
                route
            }
        };
        self.last_route = Some((resource.into(), route));
        Ok(route)
    }

    /// Forgets all routes, because the component no longer knows one of them.
    fn forget_routes(&mut self) {
        self.routes.clear();
        self.last_route = None;
    }

    /// Returns the labels of a plan.
    fn labels(&mut self, call: &mut Call<'_>, number: u32) -> Result<Labels> {
        let place = number as usize % LABELS_MAX;
        if let Some(Some((known, labels))) = self.labels.get(place)
            && *known == number
        {
            return Ok(labels.clone());
        }
        let params = (call.engine, number);
        let record: Option<LabelsRecord> = call.checked(self.functions.labels_of, params)?;
        let LabelsRecord { transformer_prefix, key_prefix, has_rule, key_id_hash } =
            record.ok_or_else(|| Error::msg("the component does not know its own labels"))?;
        let labels = Labels {
            transformer_prefix: transformer_prefix.into(),
            key_prefix: key_prefix.map(Into::into),
            has_rule,
            key_id_hash: key_id_hash.map(Into::into),
        };
        if self.labels.len() <= place {
            self.labels.resize(place + 1, None);
        }
        self.labels[place] = Some((number, labels.clone()));
        Ok(labels)
    }

    pub(super) fn to_storage(
        &mut self,
        call: &mut Call<'_>,
        op: u64,
        at: &Location,
        plaintext: &[u8],
        now: u64,
    ) -> Result<Outcome<Encrypted>> {
        let size = size(at, plaintext)?;
        let mut planned = Write::UnknownRoute;
        for _ in 0..2 {
            let route = self.route(call, &at.resource)?;
            let params: WriteParams = (call.engine, op, route, size, now);
            planned = call.checked(self.functions.to_storage, params)?;
            match planned {
                Write::UnknownRoute => self.forget_routes(),
                _ => break,
            }
        }
        let outcome = self.carry_out_write(call, planned, at, plaintext)?;
        if outcome.is_none() {
            let plaintext = Zeroizing::new(plaintext.to_vec());
            self.held.insert(op, Held::Plaintext { at: at.clone(), plaintext });
        }
        Ok(outcome)
    }

    fn carry_out_write(
        &mut self,
        call: &mut Call<'_>,
        planned: Write,
        at: &Location,
        plaintext: &[u8],
    ) -> Result<Outcome<Encrypted>> {
        let plan = match planned {
            Write::Plan(plan) => plan,
            Write::Failed(error) => return Ok(Some(Err(error.into()))),
            Write::Parked => return Ok(None),
            Write::UnknownRoute => return Err(Error::msg("the component forgot a new route")),
        };
        match seal(call.store.data(), plan, &at.key, plaintext)? {
            Ok(stored) => {
                let labels = self.labels(call, plan.labels)?;
                Ok(Some(Ok(Encrypted::new(stored, labels))))
            }
            Err(error) => {
                let error = internal(error.to_string());
                self.report_not_sealed(call, &error)?;
                Ok(Some(Err(error.into())))
            }
        }
    }

    fn report_not_sealed(&self, call: &mut Call<'_>, error: &wit::TransformError) -> Result<()> {
        type Params = (ResourceAny, wit::TransformError);
        let params = (call.engine, error.clone());
        // SAFETY: `find` has checked this function with these types.
        #[allow(unsafe_code)]
        let func = unsafe { TypedFunc::<Params, ()>::new_unchecked(self.functions.not_sealed) };
        func.call(&mut *call.store, params)
    }

    /// Tries to encrypt a value in a worker.
    pub(super) fn try_to_storage(
        &mut self,
        call: &mut Call<'_>,
        func: Func,
        at: &Location,
        plaintext: &[u8],
        now: u64,
    ) -> Result<Attempt<Encrypted>> {
        let route = self.route(call, &at.resource)?;
        let params = (call.engine, route, now);
        let plan: Option<WritePlan> = call.checked(func, params)?;
        let Some(plan) = plan else {
            // Perhaps because the worker no longer knows the route.
            self.forget_routes();
            return Ok(None);
        };
        match seal(call.store.data(), plan, &at.key, plaintext)? {
            Ok(stored) => {
                let labels = self.labels(call, plan.labels)?;
                Ok(Some(Encrypted::new(stored, labels)))
            }
            Err(_) => {
                self.withdraw(call, &[0])?;
                Ok(None)
            }
        }
    }

    pub(super) fn from_storage(
        &mut self,
        call: &mut Call<'_>,
        op: u64,
        at: &Location,
        stored: &[u8],
        now: u64,
    ) -> Result<Outcome<Decrypted>> {
        let size = size(at, stored)?;
        let mut planned = Read::UnknownRoute;
        for _ in 0..2 {
            let route = self.route(call, &at.resource)?;
            let window = window::of(stored, self.window, &mut self.shown)?;
            let params: ReadParams<'_> = (call.engine, op, route, size, window, now);
            planned = call.checked(self.functions.from_storage, params)?;
            match planned {
                Read::UnknownRoute => self.forget_routes(),
                _ => break,
            }
        }
        let outcome = self.carry_out_read(call, planned, at, stored)?;
        if outcome.is_none() {
            self.held.insert(op, Held::Stored { at: at.clone(), stored: stored.to_vec() });
        }
        Ok(outcome)
    }

    /// Tries to decrypt a value in a worker.
    pub(super) fn try_from_storage(
        &mut self,
        call: &mut Call<'_>,
        func: Func,
        at: &Location,
        stored: &[u8],
        now: u64,
    ) -> Result<Attempt<Decrypted>> {
        let route = self.route(call, &at.resource)?;
        let window = window::of(stored, self.window, &mut self.shown)?;
        let planned: Read = call.checked(func, (call.engine, route, window, now))?;
        let plan = match self.with_all_needed(call, planned, stored)? {
            Read::Plan(plan) => plan,
            Read::UnknownRoute => {
                self.forget_routes();
                return Ok(None);
            }
            _ => return Ok(None),
        };
        match open(call.store.data(), plan, &at.key, stored)? {
            Ok(plaintext) => {
                let labels = self.labels(call, plan.labels)?;
                let state = plan.state.map(Into::into);
                Ok(Some(Decrypted::new(plaintext, state, labels)))
            }
            Err(_) => {
                self.withdraw(call, &[0])?;
                Ok(None)
            }
        }
    }

    /// Shows the component more of a value for as long as it needs more.
    fn with_all_needed(
        &mut self,
        call: &mut Call<'_>,
        mut planned: Read,
        stored: &[u8],
    ) -> Result<Read> {
        let mut seen = self.window;
        let mut times = 0;
        while let Read::Missing(missing) = planned {
            times += 1;
            if times > window::TIMES_MAX {
                return Err(Error::msg("the component asks for more bytes again and again"));
            }
            seen = seen.wider(missing, stored.len())?;
            self.window = self.window.at_least(missing);
            let window = window::of(stored, seen, &mut self.shown)?;
            planned = call.checked(self.functions.continue_read, (call.engine, window))?;
        }
        Ok(planned)
    }

    fn carry_out_read(
        &mut self,
        call: &mut Call<'_>,
        mut planned: Read,
        at: &Location,
        stored: &[u8],
    ) -> Result<Outcome<Decrypted>> {
        self.dek = None;
        loop {
            let plan = match self.with_all_needed(call, planned, stored)? {
                Read::Plan(plan) => plan,
                Read::Failed(error) => return Ok(Some(Err(error.into()))),
                Read::Parked => return Ok(None),
                Read::Missing(_) | Read::UnknownRoute | Read::Declined => {
                    return Err(Error::msg("the component planned a read wrongly"));
                }
            };
            match open(call.store.data(), plan, &at.key, stored)? {
                Ok(plaintext) => {
                    self.dek = plan.opener.and_then(|opener| call.store.data().keys.opener(opener));
                    let labels = self.labels(call, plan.labels)?;
                    let state = plan.state.map(Into::into);
                    return Ok(Some(Ok(Decrypted::new(plaintext, state, labels))));
                }
                Err(error) => {
                    let window = window::of(stored, self.window, &mut self.shown)?;
                    let params = (call.engine, error, window);
                    planned = call.checked(self.functions.not_opened, params)?;
                }
            }
        }
    }

    /// Returns the DEK that opened the value of the last read, if it is a DEK of KMS.
    pub(super) fn take_dek(&mut self) -> Option<OpeningKey> {
        self.dek.take()
    }

    /// Goes on with a parked operation. Returns `None` if it is parked again, or was cancelled.
    pub(super) fn resume(&mut self, call: &mut Call<'_>, op: u64) -> Result<Option<Done>> {
        match self.held.remove(&op) {
            Some(Held::Plaintext { at, plaintext }) => {
                let params = (call.engine, op);
                let planned = call.checked(self.functions.resume_write, params)?;
                let outcome = self.carry_out_write(call, planned, &at, &plaintext)?;
                if outcome.is_none() {
                    self.held.insert(op, Held::Plaintext { at, plaintext });
                }
                Ok(outcome.map(Done::Write))
            }
            Some(Held::Stored { at, stored }) => {
                let window = window::of(&stored, self.window, &mut self.shown)?;
                let params = (call.engine, op, window);
                let planned = call.checked(self.functions.resume_read, params)?;
                let outcome = self.carry_out_read(call, planned, &at, &stored)?;
                if outcome.is_none() {
                    self.held.insert(op, Held::Stored { at, stored });
                }
                Ok(outcome.map(Done::Read))
            }
            None => Ok(None),
        }
    }

    /// Forgets the value of a cancelled operation.
    pub(super) fn cancel(&mut self, op: u64) {
        self.held.remove(&op);
    }

    fn withdraw(&self, call: &mut Call<'_>, which: &[u32]) -> Result<()> {
        type Params<'a> = (ResourceAny, &'a [u32]);
        // SAFETY: `find` has checked this function with these types.
        #[allow(unsafe_code)]
        let func = unsafe { TypedFunc::<Params<'_>, ()>::new_unchecked(self.functions.withdraw) };
        func.call(&mut *call.store, (call.engine, which))
    }

    /// Takes the DEK that an action asks to encrypt. Returns `None` if there is none.
    pub(super) fn dek_to_encrypt(
        &mut self,
        call: &mut Call<'_>,
        of: u64,
    ) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let params = (call.engine, of);
        let secret: Option<Resource<Secret>> =
            call.checked(self.functions.dek_to_encrypt, params)?;
        let keys = &mut call.store.data_mut().keys;
        secret.map(|secret| keys.take_secret(secret)).transpose()
    }

    /// Reports a DEK that a plugin has decrypted.
    pub(super) fn decrypted(
        &mut self,
        call: &mut Call<'_>,
        of: u64,
        dek: &[u8],
        now: u64,
    ) -> Result<()> {
        type Decided = core::result::Result<Resource<Secret>, face::CallError>;
        type Params = (ResourceAny, u64, Decided, u64);
        let secret = call.store.data_mut().keys.put_secret(Zeroizing::new(dek.to_vec()))?;
        // SAFETY: `find` has checked this function with these types.
        #[allow(unsafe_code)]
        let func = unsafe { TypedFunc::<Params, ()>::new_unchecked(self.functions.decrypted) };
        func.call(&mut *call.store, (call.engine, of, Ok(secret), now))
    }

    /// Returns a window of a value, for a function of another interface.
    pub(super) fn shown<'s>(
        &'s mut self,
        stored: &'s [u8],
        more: Option<Missing>,
    ) -> Result<Window<'s>> {
        if let Some(missing) = more {
            self.window = self.window.at_least(missing);
        }
        let seen = more.map_or(Ok(self.window), |missing| self.window.wider(missing, stored.len()));
        window::of(stored, seen?, &mut self.shown)
    }
}

/// Carries out a planned write.
pub(super) fn seal(
    state: &State,
    plan: WritePlan,
    key: &[u8],
    plaintext: &[u8],
) -> Result<core::result::Result<Vec<u8>, dekker_keys::NotSealed>> {
    match plan.sealer {
        Some(sealer) => state.keys.seal(sealer, plan.counter, key, plaintext, wasi_random::fill),
        None => Ok(Ok(plaintext.to_vec())),
    }
}

/// Carries out a planned read. A plan for bytes that the value does not have is an error of the component.
pub(super) fn open(
    state: &State,
    plan: ReadPlan,
    key: &[u8],
    stored: &[u8],
) -> Result<core::result::Result<Zeroizing<Vec<u8>>, OpenError>> {
    match plan.opener {
        Some(opener) => {
            let range = plan.start as usize..plan.end as usize;
            let sealed = stored.get(range).ok_or_else(|| {
                Error::msg("the component planned to open bytes that the value does not have")
            })?;
            state.keys.open(opener, key, sealed)
        }
        None => Ok(Ok(Zeroizing::new(stored.to_vec()))),
    }
}

/// Returns how many bytes a parked operation holds.
fn size(at: &Location, value: &[u8]) -> Result<u32> {
    Ok(u32::try_from(at.resource.len() + at.key.len() + value.len())?)
}

fn internal(message: String) -> wit::TransformError {
    wit::TransformError { kind: wit::ErrorKind::Internal, message, grpc_code: None }
}
