//! The warning of `encrypt` if the value is not encrypted, or if kube-apiserver would never write one for this resource.

use dekker_forms::misnamed;

/// How a value for a resource was written.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// The resource and its group.
    pub resource: &'a str,
    /// Whether a rule of the configuration covers the resource. `None` if this is unknown.
    pub has_rule: Option<bool>,
    /// Whether the stored bytes are the plaintext.
    pub is_plaintext: bool,
}

impl Written<'_> {
    /// Prints a warning to standard error if there is one.
    pub fn warn(&self) {
        if let Some(warning) = self.warning() {
            eprintln!("dekker: warning: {warning}");
        }
    }

    fn warning(&self) -> Option<String> {
        let not_encrypted = match (self.has_rule, self.is_plaintext) {
            (_, false) => None,
            (Some(false), true) => Some("no rule of the configuration covers this resource"),
            (Some(true), true) => Some("identity is the first provider of its rule"),
            (None, true) => {
                Some("no rule covers this resource, or identity is the first provider of its rule")
            }
        };
        let misnamed = misnamed(self.resource);
        match (not_encrypted, misnamed) {
            (None, None) => None,
            (None, Some(misnamed)) => Some(misnamed.to_string()),
            (Some(cause), misnamed) => {
                let more = misnamed.map(|misnamed| format!(". {misnamed}")).unwrap_or_default();
                Some(format!("the value was not encrypted: {cause}{more}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_and_unknown_resources_are_warned_about() {
        let no_rule =
            "the value was not encrypted: no rule of the configuration covers this resource";
        let identity = "the value was not encrypted: identity is the first provider of its rule";
        let either = "the value was not encrypted: no rule covers this resource, or identity is the first provider of its rule";
        let unknown = "Kubernetes stores no resource named \"secret\"; did you mean secrets?";
        let table = [
            ("encrypted", "secrets", Some(true), false, String::new()),
            ("encrypted by a server", "secrets", None, false, String::new()),
            ("a custom resource", "widgets.example.com", Some(true), false, String::new()),
            ("no rule", "configmaps", Some(false), true, no_rule.into()),
            ("identity", "configmaps", Some(true), true, identity.into()),
            ("plaintext of a server", "configmaps", None, true, either.into()),
            (
                "an unknown resource that a wildcard covers",
                "secret",
                Some(true),
                false,
                unknown.into(),
            ),
            ("an unknown resource", "secret", Some(false), true, format!("{no_rule}. {unknown}")),
        ];
        for (desc, resource, has_rule, is_plaintext, expected) in table {
            let warning = Written { resource, has_rule, is_plaintext }.warning();
            assert_eq!(warning.unwrap_or_default(), expected, "{desc}");
        }
    }
}
