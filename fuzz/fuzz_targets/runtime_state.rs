//! Any bytes as the runtime's state: the hook acts on the container that it names, or on none.

#![no_main]

use std::cell::LazyCell;

use libfuzzer_sys::fuzz_target;
use wasp_agent_fuzz::{Host, SWAP_FOR_PODS};

const CONFIG: &str = include_str!("../../tests/fixtures/oci/burstable-request-200Mi.json");

thread_local! {
    static HOST: LazyCell<Host> = LazyCell::new(|| Host::new(CONFIG));
}

fuzz_target!(|state: &[u8]| {
    HOST.with(|host| {
        let (result, limits) = host.run(state);
        match result {
            Ok(done) => {
                assert_eq!(done.failed, [""; 0]);
                assert_eq!(limits[0], limits[1]);
                assert!(
                    limits[0].is_some_and(|limit| limit <= SWAP_FOR_PODS),
                    "{limits:?} {done:?}"
                );
            }
            Err(nothing) => assert_eq!(limits, [None; 2], "{nothing}"),
        }
    });
});
