//! A reader for what another form decodes to.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::context::Context;
use crate::entry::Place;
use crate::form::Form;
use crate::reader::{Item, Reader};

/// How many readers may be inside each other.
pub(crate) const DEPTH_MAX: u8 = 3;

/// A reader inside a reader.
pub(crate) struct Nested {
    reader: Box<Reader>,
    /// The form that is decoded.
    pub(crate) form: Form,
    /// The key of the values, and its place, if it stands outside of what is decoded.
    pub(crate) key: Option<(Vec<u8>, Place)>,
}

impl Nested {
    pub(crate) fn new(form: Form, context: &Context) -> Self {
        Self {
            reader: Box::new(Reader::inside(context.limits, context.depth + 1, true)),
            form,
            key: None,
        }
    }

    /// A reader for the same text in another encoding, which counts the lines and bytes itself.
    pub(crate) fn text(form: Form, context: &Context) -> Self {
        let is_inside = context.depth > 0;
        let reader = Reader::inside(context.limits, context.depth + 1, is_inside);
        Self { reader: Box::new(reader), form, key: None }
    }

    /// Pushes decoded bytes. They come from `place`.
    pub(crate) fn push(&mut self, bytes: &[u8], place: Place, context: &mut Context) {
        self.reader.push_from(bytes, place);
        while let Some(item) = self.reader.pop() {
            context.give(self.within(item));
        }
    }

    /// Reads what remains. If `cut_short`, the last value may be incomplete.
    pub(crate) fn finish(mut self, cut_short: bool, context: &mut Context) {
        let mut next = self.reader.finish();
        while let Some(item) = next {
            next = self.reader.finish();
            let mut item = self.within(item);
            if cut_short
                && next.is_none()
                && let Ok(entry) = &mut item
            {
                entry.cut_short = true;
            }
            context.give(item);
        }
    }

    fn within(&self, mut item: Item) -> Item {
        match &mut item {
            Ok(entry) => {
                entry.within.insert(0, self.form);
                if let (None, Some((key, place))) = (&entry.key, &self.key) {
                    entry.key = Some(key.clone());
                    entry.place = *place;
                }
            }
            Err(fault) => {
                fault.within.insert(0, self.form);
                if let (None, Some((key, _))) = (&fault.key, &self.key) {
                    fault.key = Some(key.clone());
                }
            }
        }
        item
    }
}
