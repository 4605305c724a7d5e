//! The login dialogue.
