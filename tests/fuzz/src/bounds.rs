//! Memory: an input of `n` bytes may have [`FIXED`] + [`PER_BYTE`] × n bytes allocated at once; beyond that the allocation fails, which
//! ends the process and leaves the input as an artifact.

use std::alloc::System;

use cap::Cap;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// What any input may cost: numerics of PostgreSQL's full range (131,072 digits before and 16,383 behind the point) in every form that a
/// round trip holds at once, decimal tables, libFuzzer's own growth.
const FIXED: usize = 8 << 20;
/// What each byte may cost beyond that.
const PER_BYTE: usize = 1 << 10;

/// Lifts the bound when a target panics: the report needs memory too.
pub fn lift_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        ALLOCATOR.set_limit(usize::MAX).expect("no limit");
        report(panic);
    }));
}

/// Runs one input under its bound.
pub fn within(length: usize, run: impl FnOnce()) {
    let limit = ALLOCATOR.allocated() + FIXED + PER_BYTE * length;
    ALLOCATOR.set_limit(limit).expect("the limit lies above what is allocated");
    run();
    ALLOCATOR.set_limit(usize::MAX).expect("no limit");
}
