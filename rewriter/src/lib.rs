//! The pure path from SQL text to a plan. No I/O, no keys, no clock.
//!
//! A statement is read by PostgreSQL's own parser, judged and rewritten on that tree, printed, and read a second time; what comes out is
//! a [`plan::Plan`], the only source of SQL that the proxy can send ([`plan::Rewritten`] has no public maker that takes text). Whatever is
//! not understood is a [`plan::Refusal`]. The rewriter needs no cryptography: a constant for a protected column becomes a parameter that
//! the proxy seals each time it binds, so plans hold neither keys nor users and can be shared.
//!
//! The parser and the walkers recurse; call them on threads with 8 MiB stacks.

mod absent;
mod allow;
pub mod catalog;
mod census;
mod collation;
mod copy;
mod copy_form;
mod create_function;
mod create_type;
mod cursor;
mod ddl;
mod execute;
mod explain;
mod expr;
mod fence;
mod fill;
mod foreseen;
mod from;
mod function;
mod index;
mod insert;
mod inside;
mod judge;
mod keeps;
mod locks;
mod mark;
mod merge;
mod newer;
mod own;
mod parse;
mod partition;
pub mod plan;
mod policies;
mod position;
mod preset;
mod print;
mod project;
mod refusal;
mod relations;
mod scope;
mod sealed;
mod select;
mod session;
mod shared_names;
mod shown;
mod statement;
pub mod template;
mod tree;
mod types;
mod update;
mod upkeep;
mod write;

pub use allow::parameter_type;
pub use execute::execution;
pub use judge::Ask;
pub use mark::{mark, marks_in};
pub use parse::leading_token;
pub use policies::verify_policies;
pub use position::client_position;
pub use shared_names::{channel_prefix, own_channel};
pub use shown::{ends_transaction, masked};
pub use statement::{plan_batch, plan_batch_as, plan_one};
