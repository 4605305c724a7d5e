//! libFuzzer's side: chooses the target once, then runs inputs through it under the bound on memory.

#![no_main]

use std::sync::OnceLock;

use fuzz::{Target, bounds, chosen, seeds};
use libfuzzer_sys::fuzz_target;

static CHOSEN: OnceLock<&'static Target> = OnceLock::new();

fn begin() {
    if let Some(dir) = std::env::var_os("POSTERN_FUZZ_SEEDS") {
        seeds::write(dir.as_ref());
        std::process::exit(0);
    }
    bounds::lift_on_panic();
    let target = CHOSEN.get_or_init(chosen);
    // What a target makes once (keys, a signer) is no cost of its first input.
    (target.check)(&[]);
}

fuzz_target!(
    init: begin(),
    |data: &[u8]| {
        bounds::lift_on_panic();
    let target = CHOSEN.get().expect("init ran");
        let data = &data[..data.len().min(target.longest)];
        bounds::within(data.len(), || (target.check)(data));
    }
);
