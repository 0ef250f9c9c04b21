//! Machines that stand by: restored up to the last step, waiting to be woken.
//!
//! - A **shell** ([`shell`]) is a monitor process whose guest is in memory, mapped
//!   and warm. It waits for a wish, goes on with it, and serves one life only: it
//!   is never used again, so that nothing of one life can be found in another.
//! - The **pool** ([`pool`]) keeps a number of shells and starts a new one for each
//!   that was taken.
//! - The **keeper** ([`keeper`]) starts shells of many snapshots for a daemon, which
//!   decides how many of which.
//! - A **waker** hands a wish over ([`handoff`]): `spore run` ([`client`]), or the
//!   [`activator`], which holds the ports while nothing runs.

pub mod activator;
pub mod client;
pub mod fork;
pub mod handoff;
pub mod keeper;
pub mod pool;
pub mod shared;
pub mod shell;
