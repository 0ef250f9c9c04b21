//! The real monitor with tiny guests, on real KVM.

mod boot;
mod debugger;
mod export;
mod guest;
mod refusals;
mod signals;
mod terminal;
