//! Staging over a command loop whose decisions the test makes: given this, when the loop does that, then this is in the
//! store and this is the outcome.

mod checks;
mod folds;
mod outcomes;
mod pausing_backend;
mod random_order;
mod support;
