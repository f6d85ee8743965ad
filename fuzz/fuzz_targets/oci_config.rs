//! Any bytes as the container's `config.json`: it gets its grant, an estimate within the node's swap,
//! or none; never what the runtime left.

#![no_main]

use std::cell::LazyCell;

use libfuzzer_sys::fuzz_target;
use wasp_agent_fuzz::{GRANT, Host, STATE, SWAP_FOR_PODS};

thread_local! {
    static HOST: LazyCell<Host> = LazyCell::new(|| Host::new(""));
}

fuzz_target!(|config: &[u8]| {
    HOST.with(|host| {
        host.set_config(config);
        host.forget();
        let (result, limits) = host.run(STATE.as_bytes());
        let done = result.expect("the state is good");
        assert_eq!(done.failed, [""; 0]);
        assert_eq!(limits[0], limits[1]);
        assert!(limits[0].is_some_and(|limit| limit <= SWAP_FOR_PODS), "{limits:?} {done:?}");

        host.publish();
        let (result, limits) = host.run(STATE.as_bytes());
        let done = result.expect("the state is good");
        assert_eq!(limits[0], limits[1]);
        assert!(matches!(limits[0], Some(0 | GRANT)), "{limits:?} {done:?}");
    });
});
