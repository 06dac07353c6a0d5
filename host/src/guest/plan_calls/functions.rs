//! The functions of the interface `plans`, their parameters and their results.

use dekker_keys::{OpenError, Secret};
use wasmtime::component::{
    ComponentNamedList, ComponentType, Func, Instance, Lift, Lower, Resource, ResourceAny,
    TypedFunc,
};
use wasmtime::{Result, Store};

use super::super::bindings::dekker::transformer::types as wit;
use super::super::bindings::exports::dekker::transformer::engine as face;
use super::super::window::{Missing, Window};
use super::super::{State, export};

const INTERFACE: &str = "dekker:transformer/plans@0.2.0";

/// The WIT record `write-plan`.
#[derive(Clone, Copy, Debug, ComponentType, Lift)]
#[component(record)]
pub(in crate::guest) struct WritePlan {
    pub(in crate::guest) sealer: Option<u32>,
    pub(in crate::guest) counter: Option<u64>,
    pub(in crate::guest) labels: u32,
}

/// The WIT variant `write`.
#[derive(ComponentType, Lift)]
#[component(variant)]
pub(super) enum Write {
    #[component(name = "plan")]
    Plan(WritePlan),
    #[component(name = "failed")]
    Failed(wit::TransformError),
    #[component(name = "parked")]
    Parked,
    #[component(name = "unknown-route")]
    UnknownRoute,
}

/// The WIT record `read-plan`.
#[derive(Clone, Copy, Debug, ComponentType, Lift)]
#[component(record)]
pub(in crate::guest) struct ReadPlan {
    pub(in crate::guest) opener: Option<u32>,
    pub(in crate::guest) start: u32,
    pub(in crate::guest) end: u32,
    pub(in crate::guest) labels: u32,
    pub(in crate::guest) state: Option<wit::ValueState>,
}

/// The WIT variant `read`.
#[derive(ComponentType, Lift)]
#[component(variant)]
pub(in crate::guest) enum Read {
    #[component(name = "plan")]
    Plan(ReadPlan),
    #[component(name = "failed")]
    Failed(wit::TransformError),
    #[component(name = "parked")]
    Parked,
    #[component(name = "missing")]
    Missing(Missing),
    #[component(name = "unknown-route")]
    UnknownRoute,
    #[component(name = "declined")]
    Declined,
}

/// The WIT record `labels`.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct LabelsRecord {
    #[component(name = "transformer-prefix")]
    pub(super) transformer_prefix: String,
    #[component(name = "key-prefix")]
    pub(super) key_prefix: Option<String>,
    #[component(name = "has-rule")]
    pub(super) has_rule: bool,
    #[component(name = "key-id-hash")]
    pub(super) key_id_hash: Option<String>,
}

/// The WIT record `one-of-many`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct OneOfMany {
    pub(super) route: u32,
    pub(super) length: u32,
    pub(super) shown: u32,
    pub(super) head: u32,
}

/// The interface's functions, looked up once per instance. Their types are checked then.
pub(super) struct Functions {
    pub(super) route_of: Func,
    pub(super) labels_of: Func,
    pub(super) to_storage: Func,
    pub(super) resume_write: Func,
    pub(super) not_sealed: Func,
    pub(super) from_storage: Func,
    pub(super) continue_read: Func,
    pub(super) resume_read: Func,
    pub(super) not_opened: Func,
    pub(super) to_storage_many: Func,
    pub(super) from_storage_many: Func,
    pub(super) withdraw: Func,
    pub(super) dek_to_encrypt: Func,
    pub(super) decrypted: Func,
}

impl Functions {
    /// Looks up the functions. Returns `None` if the component is self-contained.
    pub(super) fn find(store: &mut Store<State>, instance: &Instance) -> Result<Option<Self>> {
        if instance.get_export_index(&mut *store, None, INTERFACE).is_none() {
            return Ok(None);
        }
        type Decided = core::result::Result<Resource<Secret>, face::CallError>;
        Ok(Some(Self {
            route_of: find::<RouteParams<'_>, (u32,)>(store, instance, "route-of")?,
            labels_of: find::<(ResourceAny, u32), (Option<LabelsRecord>,)>(
                store,
                instance,
                "labels-of",
            )?,
            to_storage: find::<WriteParams, (Write,)>(store, instance, "to-storage")?,
            resume_write: find::<(ResourceAny, u64), (Write,)>(store, instance, "resume-write")?,
            not_sealed: find::<(ResourceAny, wit::TransformError), ()>(
                store,
                instance,
                "not-sealed",
            )?,
            from_storage: find::<ReadParams<'_>, (Read,)>(store, instance, "from-storage")?,
            continue_read: find::<(ResourceAny, Window<'_>), (Read,)>(
                store,
                instance,
                "continue-read",
            )?,
            resume_read: find::<(ResourceAny, u64, Window<'_>), (Read,)>(
                store,
                instance,
                "resume-read",
            )?,
            not_opened: find::<(ResourceAny, OpenError, Window<'_>), (Read,)>(
                store,
                instance,
                "not-opened",
            )?,
            to_storage_many: find::<(ResourceAny, &[u32], u64), (Vec<Option<WritePlan>>,)>(
                store,
                instance,
                "to-storage-many",
            )?,
            from_storage_many: find::<ManyParams<'_>, (Vec<Option<ReadPlan>>,)>(
                store,
                instance,
                "from-storage-many",
            )?,
            withdraw: find::<(ResourceAny, &[u32]), ()>(store, instance, "withdraw")?,
            dek_to_encrypt: find::<(ResourceAny, u64), (Option<Resource<Secret>>,)>(
                store,
                instance,
                "dek-to-encrypt",
            )?,
            decrypted: find::<(ResourceAny, u64, Decided, u64), ()>(store, instance, "decrypted")?,
        }))
    }
}

pub(super) type RouteParams<'a> = (ResourceAny, &'a str);
pub(super) type WriteParams = (ResourceAny, u64, u32, u32, u64);
pub(super) type ReadParams<'a> = (ResourceAny, u64, u32, u32, Window<'a>, u64);
pub(super) type ManyParams<'a> = (ResourceAny, &'a [OneOfMany], &'a [u8], u64);

/// An instance in its store, with its engine.
pub(in crate::guest) struct Call<'s> {
    pub(in crate::guest) store: &'s mut Store<State>,
    pub(in crate::guest) engine: ResourceAny,
}

impl Call<'_> {
    /// Calls a function whose type was checked when it was looked up.
    pub(super) fn checked<P, R>(&mut self, func: Func, params: P) -> Result<R>
    where
        P: ComponentNamedList + Lower,
        (R,): ComponentNamedList + Lift,
        R: 'static,
    {
        // SAFETY: the caller names the types with which `find` has checked this function.
        #[allow(unsafe_code)]
        let func = unsafe { TypedFunc::<P, (R,)>::new_unchecked(func) };
        func.call(&mut *self.store, params).map(|(result,)| result)
    }
}

/// Looks up a function and checks its type.
fn find<P, R>(store: &mut Store<State>, instance: &Instance, name: &str) -> Result<Func>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    let func = export(store, instance, INTERFACE, name)?;
    func.typed::<P, R>(&*store)?;
    Ok(func)
}
