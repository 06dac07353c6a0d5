//! Hand-written bindings to the two functions that are called for each value. The bindings of `bindgen!` would require a copy of the location for
//! each call.

use wasmtime::component::{
    ComponentNamedList, ComponentType, Func, Instance, Lift, Lower, ResourceAny, TypedFunc,
};
use wasmtime::{Result, Store};

use super::bindings::dekker::transformer::types as wit;
use super::{State, export};
use crate::model::Location;

const INTERFACE: &str = "dekker:transformer/engine@0.2.0";

/// The WIT record `location`, borrowed.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct At<'a> {
    resource: &'a str,
    key: &'a [u8],
}

/// The parameters: engine, operation, location, value, and time.
type Params<'a> = (ResourceAny, u64, At<'a>, &'a [u8], u64);
/// The result. `None` means that the operation was parked.
type Answer<T> = Option<core::result::Result<T, wit::TransformError>>;

/// The functions `to-storage` and `from-storage` of an instance.
pub(super) struct Values {
    to_storage: Func,
    from_storage: Func,
}

impl Values {
    /// Looks up the functions and checks their types.
    pub(super) fn new(store: &mut Store<State>, instance: &Instance) -> Result<Self> {
        Ok(Self {
            to_storage: find::<wit::Encrypted>(store, instance, "[method]engine.to-storage")?,
            from_storage: find::<wit::Decrypted>(store, instance, "[method]engine.from-storage")?,
        })
    }

    pub(super) fn to_storage(
        &self,
        store: &mut Store<State>,
        engine: ResourceAny,
        op: u64,
        at: &Location,
        plaintext: &[u8],
        now: u64,
    ) -> Result<Answer<wit::Encrypted>> {
        // SAFETY: `new` has checked this function's type.
        #[allow(unsafe_code)]
        let func =
            unsafe { TypedFunc::<_, (Answer<wit::Encrypted>,)>::new_unchecked(self.to_storage) };
        let (answer,) = func.call(store, (engine, op, borrowed(at), plaintext, now))?;
        Ok(answer)
    }

    pub(super) fn from_storage(
        &self,
        store: &mut Store<State>,
        engine: ResourceAny,
        op: u64,
        at: &Location,
        stored: &[u8],
        now: u64,
    ) -> Result<Answer<wit::Decrypted>> {
        // SAFETY: as above.
        #[allow(unsafe_code)]
        let func =
            unsafe { TypedFunc::<_, (Answer<wit::Decrypted>,)>::new_unchecked(self.from_storage) };
        let (answer,) = func.call(store, (engine, op, borrowed(at), stored, now))?;
        Ok(answer)
    }
}

pub(super) fn borrowed(at: &Location) -> At<'_> {
    At { resource: &at.resource, key: &at.key }
}

fn find<T>(store: &mut Store<State>, instance: &Instance, name: &str) -> Result<Func>
where
    (Answer<T>,): ComponentNamedList + Lift,
{
    let func = export(store, instance, INTERFACE, name)?;
    func.typed::<Params<'static>, (Answer<T>,)>(&*store)?;
    Ok(func)
}
