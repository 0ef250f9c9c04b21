//! The rings served for a simulated guest that shares memory with the engine.

mod fuzz;
mod guest;
mod sleeping;
mod sockets;
mod streams;
