use super::*;

mod memory;
mod work;
mod wrong_plans;

/// Core's default, `DekCache::DEFAULT_CAPACITY`.
const CACHED_DEKS: usize = 100_000;

#[test]
fn a_full_cache_has_room_for_its_handles() {
    let component = Component::embedded(MEMORY_MAX).unwrap();
    let (store, ..) = component.instantiate().unwrap();
    // The write DEK has two handles, and more than one provider may have a full cache.
    assert!(store.max_component_handles() > 2 * CACHED_DEKS);
}

fn options() -> Options {
    Options {
        reload: true,
        dek_source: DekSource::Counter,
        coast: Coast::Strict,
        dek_cache_capacity: 0,
        apiserver_id: String::new(),
        read_only: false,
    }
}

fn at(resource: &str, key: &str) -> Location {
    Location { resource: resource.to_owned(), key: key.as_bytes().to_vec() }
}
