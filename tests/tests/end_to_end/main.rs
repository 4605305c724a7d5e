//! The product, whole: one `postern demo` for all of these tests, clients before it, the DBA behind it.
//!
//! Tests that only add to the data or roll back run beside each other; those that need the data to hold still, or that break something
//! and mend it, take the stand for themselves (`Stand::alone`).

mod again;
mod attacks;
mod canary;
mod changes;
mod computed;
mod copy_out;
mod differential;
mod doctor;
mod draft;
mod drivers;
mod dump;
mod engine;
mod exchange;
mod faults;
mod fence;
mod fill;
mod generated;
mod hostile;
mod identity;
mod inserted;
mod introspection;
mod made;
mod misbehaving;
mod noninterference;
mod one_query;
mod operations;
mod outdated;
mod partitions;
mod policies;
mod policy_test;
mod pools;
mod protocol;
mod psql_catalogue;
mod replay;
mod second_lock;
mod sequences;
mod smithed;
mod tamper;
mod tls;
mod undeclared;
mod users_ddl;
mod why;
mod writes;
mod written;
