//! A value whose prefix and name have been read.

use alloc::format;
use alloc::string::{String, ToString};

use super::error::{InspectError, InspectFault};
use super::inspection::Inspection;
use super::layout::Layout;
use super::origin::Origin;
use super::partial::Partial;

/// What describes a provider's values.
#[derive(Clone, Copy)]
pub(super) struct Format {
    /// The prefix, without the name.
    pub(super) prefix: &'static str,
    /// The provider with its version: `aesgcm`, `kms v2`.
    pub(super) title: &'static str,
    /// The provider without its version.
    pub(super) provider: &'static str,
    /// The version of KMS.
    pub(super) api_version: Option<&'static str>,
    /// The length of the shortest value after the name and its colon, in bytes.
    pub(super) least: usize,
}

impl Format {
    pub(super) fn is_kms(&self) -> bool {
        self.api_version.is_some()
    }

    /// Returns what is known of a value of `size` bytes that has this prefix.
    pub(super) fn partial(&self, size: usize) -> Partial {
        let origin = Origin::of_provider(self.provider, self.api_version);
        Partial { origin: Some(origin), size, missing_at_least: None }
    }
}

/// A value whose prefix and name have been read.
pub(super) struct Found<'v> {
    pub(super) format: Format,
    pub(super) name: &'v str,
    pub(super) is_name_guessed: bool,
    /// What follows the name and its colon.
    pub(super) body: &'v [u8],
    /// The length of the whole value, in bytes.
    pub(super) size: usize,
}

impl Found<'_> {
    /// Returns the layout with its first part, the prefix with the name.
    pub(super) fn layout(&self) -> Layout {
        let mut layout = Layout::default();
        layout.push("prefix", self.size - self.body.len());
        layout
    }

    /// Returns the length of the body without `overhead` bytes.
    ///
    /// # Errors
    /// Returns an error if the body is shorter than `overhead`.
    pub(super) fn without(&self, overhead: usize) -> Result<usize, InspectError> {
        let len = self.body.len();
        len.checked_sub(overhead).ok_or_else(|| self.too_short(overhead))
    }

    /// Creates the error for a body of less than `least` bytes.
    pub(super) fn too_short(&self, least: usize) -> InspectError {
        let len = self.body.len();
        let fault = InspectFault::TooShort { prefix: self.prefix(), len, least };
        self.error(fault, Some((least - len) as u64))
    }

    /// Creates an error with what is known of the value.
    pub(super) fn error(&self, fault: InspectFault, missing_at_least: Option<u64>) -> InspectError {
        let known = Partial { origin: Some(self.origin()), size: self.size, missing_at_least };
        InspectError::new(fault, known)
    }

    /// Creates the description. The fields of KMS are empty.
    pub(super) fn inspection(&self, layout: Layout, plaintext_size: usize) -> Inspection {
        Inspection { plaintext_size, ..Inspection::blank(self.origin(), layout, self.size) }
    }

    /// Returns the provider's prefix with the name and its colon.
    pub(super) fn prefix(&self) -> String {
        format!("{}{}:", self.format.prefix, self.name)
    }

    fn origin(&self) -> Origin {
        let name = Some(self.name.to_string());
        let (provider_name, key_name) =
            if self.format.is_kms() { (name, None) } else { (None, name) };
        Origin {
            provider_name,
            key_name,
            key_name_is_guessed: self.is_name_guessed,
            ..Origin::of_provider(self.format.provider, self.format.api_version)
        }
    }
}
