//! Memory of the application: mappings, page faults, frames, user copies.

pub mod advise;
pub mod fault;
pub mod frames;
pub mod io;
pub mod map;
pub mod space;
pub mod user;
pub mod vma;

pub use space::{AddressSpace, for_each_vma};
