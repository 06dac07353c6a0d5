//! Shortens the names inside a component that only the component itself uses.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use anyhow::{Context, Result};
use wasm_encoder::reencode::utils::parse_export;
use wasm_encoder::reencode::{self, Reencode, ReencodeComponent, component_utils};
use wasm_encoder::{
    Alias, Component, ComponentAliasSection, ComponentImportSection, ComponentInstanceSection,
    ExportSection,
};
use wasmparser::{
    ComponentAlias, ComponentImportSectionReader, ComponentInstance, CustomSectionReader, Export,
    KnownCustom, Parser,
};

/// The names of functions for debuggers: five kilobytes that no host needs.
const NAMES: &str = "component-name";

/// Returns the component with shorter names, and without the names for debuggers.
///
/// `wit-component` wraps each exported interface in a nested component. This nested component imports every type and function of the interface under
/// a name such as `import-method-engine-to-storage`. The core module exports each function as, for example,
/// `dekker:transformer/engine@0.1.0#[method]engine.to-storage`. Each of these names occurs twice, and no host sees any of them.
///
/// # Errors
/// Returns an error if the bytes are not a component.
pub(crate) fn shorten(component: &[u8]) -> Result<Vec<u8>> {
    let mut shorter = Component::new();
    Shortener::default()
        .parse_component(&mut shorter, Parser::new(0), component)
        .context("cannot shorten the names in the component")?;
    Ok(shorter.finish())
}

#[derive(Default)]
struct Shortener {
    /// The number of components and modules around the current section.
    depth: usize,
    /// The new names of the nested components' imports.
    imports: Names,
    /// The new names of the core modules' exports.
    exports: Names,
}

type Fallible = Result<(), reencode::Error<Infallible>>;

impl Reencode for Shortener {
    type Error = Infallible;

    fn parse_export(&mut self, exports: &mut ExportSection, export: Export<'_>) -> Fallible {
        let name = self.exports.of(export.name, core_name);
        parse_export(self, exports, Export { name: &name, ..export })
    }
}

impl ReencodeComponent for Shortener {
    fn push_depth(&mut self) {
        self.depth += 1;
    }

    fn pop_depth(&mut self) {
        self.depth -= 1;
    }

    fn parse_component_custom_section(
        &mut self,
        component: &mut Component,
        section: CustomSectionReader<'_>,
    ) -> Fallible {
        if matches!(section.as_known(), KnownCustom::ComponentName(_)) || section.name() == NAMES {
            return Ok(());
        }
        component_utils::parse_component_custom_section(self, component, section)
    }

    fn parse_component_import_section(
        &mut self,
        imports: &mut ComponentImportSection,
        section: ComponentImportSectionReader<'_>,
    ) -> Fallible {
        if self.depth == 0 {
            return component_utils::parse_component_import_section(self, imports, section);
        }
        for import in section {
            let import = import?;
            let name = self.imports.of(import.name.name, import_name);
            imports.import(&*name, self.component_type_ref(import.ty)?);
        }
        Ok(())
    }

    fn parse_component_instance(
        &mut self,
        instances: &mut ComponentInstanceSection,
        instance: ComponentInstance<'_>,
    ) -> Fallible {
        let ComponentInstance::Instantiate { component_index, args } = instance else {
            return component_utils::parse_component_instance(self, instances, instance);
        };
        let args: Vec<_> = args
            .iter()
            .map(|arg| (self.imports.of(arg.name, import_name), arg.kind.into(), arg.index))
            .collect();
        instances.instantiate(component_index, args);
        Ok(())
    }

    fn parse_component_alias_section(
        &mut self,
        aliases: &mut ComponentAliasSection,
        section: wasmparser::ComponentAliasSectionReader<'_>,
    ) -> Fallible {
        for alias in section {
            match alias? {
                ComponentAlias::CoreInstanceExport { kind, instance_index, name } => {
                    let name = self.exports.of(name, core_name);
                    aliases.alias(Alias::CoreInstanceExport {
                        instance: instance_index,
                        kind: kind.into(),
                        name: &name,
                    });
                }
                alias => {
                    aliases.alias(self.component_alias(alias)?);
                }
            }
        }
        Ok(())
    }
}

/// New names for old ones.
#[derive(Default)]
struct Names {
    new: BTreeMap<String, String>,
    used: BTreeSet<String>,
}

impl Names {
    /// Returns the new name: what `shorten` returns for the name and the number of names before it, unless another name has become the same.
    fn of(&mut self, name: &str, shorten: fn(&str, usize) -> String) -> String {
        if let Some(new) = self.new.get(name) {
            return new.clone();
        }
        let shorter = shorten(name, self.new.len());
        let new = if self.used.contains(&shorter) { name.into() } else { shorter };
        self.used.insert(new.clone());
        self.new.insert(name.into(), new.clone());
        new
    }
}

/// Letters only: each word of a component's name must begin with one.
fn import_name(_: &str, mut number: usize) -> String {
    let mut name = String::new();
    loop {
        name.extend(char::from_digit((number % 26 + 10) as u32, 36));
        number /= 26;
        if number == 0 {
            return name;
        }
    }
}

/// Returns the part of a name that identifies the function. Functions that free a result get a number instead.
fn core_name(name: &str, number: usize) -> String {
    match name.split_once('#') {
        Some((interface, _)) if interface.starts_with("cabi_post_") => format!("post{number}"),
        Some((_, function)) => function.into(),
        None => name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn import_names_are_short_and_distinct() {
        let names: BTreeSet<String> = (0..676).map(|number| import_name("", number)).collect();
        assert_eq!(names.len(), 676);
        assert!(names.iter().all(|name| name.len() <= 2));
        assert_eq!((import_name("", 0).as_str(), import_name("", 27).as_str()), ("a", "bb"));
    }

    #[test]
    fn a_name_that_is_already_used_stays_long() {
        let mut names = Names::default();
        let all = ["a:b/c#[method]d.e", "a:b/f#[method]d.e", "a:b/c#[method]d.e", "memory"];
        assert_eq!(
            all.map(|name| names.of(name, core_name)),
            ["[method]d.e", "a:b/f#[method]d.e", "[method]d.e", "memory"]
        );
        assert_eq!(names.of("cabi_post_a:b/c#[method]d.e", core_name), "post3");
    }

    #[test]
    fn only_the_names_are_removed() -> Result<()> {
        let header = b"\0asm\x0d\0\x01\0";
        // An empty subsection with the component's name.
        let names = b"\0\x12\x0ecomponent-name\0\x01\0";
        let others = b"\0\x04\x02xyz\x07\x02\x01\x7f";
        let all = [header.as_slice(), names, others].concat();
        let kept = [header.as_slice(), others].concat();
        assert_eq!(shorten(&all)?, kept);
        assert_eq!(shorten(&kept)?, kept);
        assert!(shorten(&all[..all.len() - 1]).is_err());
        Ok(())
    }
}
