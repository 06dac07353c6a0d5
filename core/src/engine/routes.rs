//! Which providers serve a resource, looked up once for each resource and configuration.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::config_set::ConfigSet;
use super::counts::resource_label;
use super::event::Generation;
use crate::provider::transformer::Transformer;

/// The maximum number of resources that are remembered. Callers may name any number of them. A cluster has a few hundred.
const ROUTES_MAX: usize = 1024;

/// The maximum length of all remembered resources together, 1 MiB. No resource of a cluster is longer than a few hundred bytes.
const ROUTES_BYTES_MAX: usize = 1 << 20;

/// The number of a resource in one engine, from [`Engine::route`](super::Engine::route). It stays valid across reloads, until the engine has seen very
/// many other resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteId(pub u32);

/// The providers of a resource, and how it is counted.
#[derive(Clone)]
pub(super) struct Target {
    /// The resource as upstream's metrics label it.
    pub(super) label: Arc<str>,
    pub(super) list: Arc<[Transformer]>,
    /// Whether a rule covers the resource.
    pub(super) has_rule: bool,
}

struct Route {
    resource: Box<str>,
    /// The configuration that `target` is of.
    generation: Generation,
    target: Target,
}

/// The resources that an engine has seen.
#[derive(Default)]
pub(super) struct Routes {
    routes: Vec<Route>,
    /// The number of the first route. Numbers are not used again when all routes are dropped.
    first: u32,
    /// The route that was asked for last: most callers name the same resource many times.
    last: usize,
    /// The routes by their resource.
    sorted: Vec<u32>,
    /// The length of all resources.
    bytes: usize,
}

impl Routes {
    /// Returns the number of a resource: the resource, then its group.
    pub(super) fn id(&mut self, resource: &str, running: &ConfigSet) -> RouteId {
        let is_it = |route: &Route| *route.resource == *resource;
        if !self.routes.get(self.last).is_some_and(is_it) {
            self.last = self.find(resource, running);
        }
        RouteId(self.first.wrapping_add(self.last as u32))
    }

    fn find(&mut self, resource: &str, running: &ConfigSet) -> usize {
        let name = |at: u32| self.routes.get(at as usize).map_or("", |route| &*route.resource);
        let place = match self.sorted.binary_search_by(|at| name(*at).cmp(resource)) {
            Ok(place) => return self.sorted.get(place).map_or(0, |at| *at as usize),
            Err(place) => place,
        };
        let is_full = self.routes.len() >= ROUTES_MAX
            || self.bytes.saturating_add(resource.len()) > ROUTES_BYTES_MAX;
        if is_full {
            self.bytes = 0;
            self.first = self.first.wrapping_add(self.routes.len() as u32);
            self.routes.clear();
            self.sorted.clear();
        }
        self.bytes += resource.len();
        let at = self.routes.len();
        self.sorted.insert(if is_full { 0 } else { place }, at as u32);
        let target = target(resource, running);
        self.routes.push(Route {
            resource: resource.into(),
            generation: running.generation,
            target,
        });
        at
    }

    /// Returns the providers of a resource in the running configuration. Returns `None` for a number that is no longer valid.
    pub(super) fn target(&mut self, id: RouteId, running: &ConfigSet) -> Option<&Target> {
        let at = id.0.wrapping_sub(self.first) as usize;
        let route = self.routes.get_mut(at)?;
        if route.generation != running.generation {
            route.generation = running.generation;
            route.target = target(&route.resource, running);
        }
        Some(&route.target)
    }
}

fn target(resource: &str, running: &ConfigSet) -> Target {
    let list = running.routing.find(resource).clone();
    Target {
        label: resource_label(resource).into(),
        has_rule: !running.routing.is_fallback(&list),
        list,
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn a_resource_keeps_its_number_until_all_are_dropped() {
        let running = ConfigSet::empty();
        let mut routes = Routes::default();
        let name = |number: usize| format!("r{:04}", number * 7919 % 10_000);
        let ids: Vec<_> = (0..ROUTES_MAX).map(|at| routes.id(&name(at), &running)).collect();
        for (at, id) in ids.iter().enumerate() {
            assert_eq!(routes.id(&name(at), &running), *id);
            assert_eq!(*routes.target(*id, &running).unwrap().label, *name(at));
        }
        let next = routes.id("another", &running);
        assert!(!ids.contains(&next));
        assert_eq!(&*routes.target(next, &running).unwrap().label, "another");
        assert!(ids.iter().all(|id| routes.target(*id, &running).is_none()));
        assert_ne!(routes.id(&name(0), &running), next);
    }

    #[test]
    fn long_resources_do_not_add_up() {
        let running = ConfigSet::empty();
        let mut routes = Routes::default();
        for letter in ["a", "b", "c", "d"] {
            let id = routes.id(&letter.repeat(ROUTES_BYTES_MAX), &running);
            assert!(routes.target(id, &running).is_some());
            assert_eq!((routes.routes.len(), routes.sorted.len()), (1, 1));
        }
    }
}
