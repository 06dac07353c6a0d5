//! Several values in one call.

use wasmtime::component::ResourceAny;
use wasmtime::{Error, Result};

use super::super::window::{self, Window};
use super::functions::{Call, ManyParams, OneOfMany, ReadPlan, WritePlan};
use super::{Plans, open, seal};
use crate::model::{Decrypted, Encrypted, Location};

impl Plans {
    /// Encrypts values without parking. A value for which the result is `None` must be encrypted alone, in the control engine.
    pub(in crate::guest) fn to_storage_many(
        &mut self,
        call: &mut Call<'_>,
        values: &[(&Location, &[u8])],
        now: u64,
    ) -> Result<Vec<Option<Encrypted>>> {
        let mut routes = Vec::with_capacity(values.len());
        for (at, _) in values {
            routes.push(self.route(call, &at.resource)?);
        }
        let params: (ResourceAny, &[u32], u64) = (call.engine, &routes, now);
        let plans: Vec<Option<WritePlan>> = call.checked(self.functions.to_storage_many, params)?;
        if plans.len() != values.len() {
            return Err(Error::msg("the component planned another number of values"));
        }
        let mut done = Vec::with_capacity(values.len());
        let mut failed = Vec::new();
        for (index, ((at, plaintext), plan)) in (0u32..).zip(values.iter().zip(plans)) {
            let stored = match plan {
                Some(plan) => match seal(call.store.data(), plan, &at.key, plaintext)? {
                    Ok(stored) => Some((stored, plan.labels)),
                    Err(_) => {
                        failed.push(index);
                        None
                    }
                },
                None => None,
            };
            done.push(stored);
        }
        self.end_many(call, &failed)?;
        let mut encrypted = Vec::with_capacity(done.len());
        for done in done {
            encrypted.push(match done {
                Some((stored, labels)) => Some(Encrypted::new(stored, self.labels(call, labels)?)),
                None => None,
            });
        }
        Ok(encrypted)
    }

    /// Decrypts values without parking. A value for which the result is `None` must be decrypted alone, in the control engine.
    pub(in crate::guest) fn from_storage_many(
        &mut self,
        call: &mut Call<'_>,
        values: &[(&Location, &[u8])],
        now: u64,
    ) -> Result<Vec<Option<Decrypted>>> {
        let mut list = Vec::with_capacity(values.len());
        let mut bytes = Vec::new();
        for (at, stored) in values {
            let route = self.route(call, &at.resource)?;
            let Window { length, bytes: shown, head } =
                window::of(stored, self.window, &mut self.shown)?;
            let of_one = u32::try_from(shown.len())?;
            list.push(OneOfMany { route, length, shown: of_one, head });
            bytes.extend_from_slice(shown);
        }
        let params: ManyParams<'_> = (call.engine, &list, &bytes, now);
        let plans: Vec<Option<ReadPlan>> =
            call.checked(self.functions.from_storage_many, params)?;
        if plans.len() != values.len() {
            return Err(Error::msg("the component planned another number of values"));
        }
        let mut done = Vec::with_capacity(values.len());
        let mut failed = Vec::new();
        for (index, ((at, stored), plan)) in (0u32..).zip(values.iter().zip(plans)) {
            let opened = match plan {
                Some(plan) => match open(call.store.data(), plan, &at.key, stored)? {
                    Ok(plaintext) => Some((plaintext, plan)),
                    Err(_) => {
                        failed.push(index);
                        None
                    }
                },
                None => None,
            };
            done.push(opened);
        }
        self.end_many(call, &failed)?;
        let mut decrypted = Vec::with_capacity(done.len());
        for done in done {
            decrypted.push(match done {
                Some((plaintext, plan)) => {
                    let labels = self.labels(call, plan.labels)?;
                    Some(Decrypted::new(plaintext, plan.state.map(Into::into), labels))
                }
                None => None,
            });
        }
        Ok(decrypted)
    }

    /// Withdraws the plans that could not be carried out, before another function counts all of them.
    fn end_many(&mut self, call: &mut Call<'_>, failed: &[u32]) -> Result<()> {
        if failed.is_empty() { Ok(()) } else { self.withdraw(call, failed) }
    }
}
