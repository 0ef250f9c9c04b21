//! Everything that crosses to the host: standard streams, log and sockets over
//! shared rings; and sockets that stay inside the guest.

pub mod address;
pub mod connection;
pub mod doorbell;
pub mod families;
pub mod inet;
pub mod inode;
pub mod netlink;
pub mod options;
pub mod ports;
pub mod slots;
pub mod socket;
pub mod stream;
pub mod tcp;
pub mod udp;

use spore_abi::boot::{BootInfo, option};

pub use doorbell::{flush, idle, turn};

/// Prepares the rings. Called once at boot, before anything is printed.
pub fn initialise(info: &BootInfo) {
    let version = doorbell::header()
        .version
        .load(core::sync::atomic::Ordering::Relaxed);
    if version != spore_abi::net::VERSION {
        crate::panic::fatal("the shared rings are of another version");
    }
    doorbell::initialise(info.options & option::IO_THREAD != 0);
}
