//! How system calls block: a call either answers at once or becomes a future
//! that the scheduler polls when what it waits for may have happened.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use crate::errno::{Errno, Result};
use crate::fs::file::OpenFile;
use crate::sched;
use crate::sched::notify::Registration;

/// A blocked system call; its output is the call's return value.
pub type BlockedCall = Pin<Box<dyn Future<Output = Result<usize>> + Send>>;

/// What a system-call handler answers.
pub enum Flow {
    /// The return value.
    Done(Result<usize>),
    /// The call goes on as a future; the thread gives way.
    Block(BlockedCall),
    /// The handler has replaced the registers (sigreturn); nothing is returned.
    Replaced,
    /// The thread has ended.
    Gone,
}

impl From<Result<usize>> for Flow {
    fn from(result: Result<usize>) -> Self {
        Flow::Done(result)
    }
}

impl From<Result<()>> for Flow {
    fn from(result: Result<()>) -> Self {
        Flow::Done(result.map(|()| 0))
    }
}

impl From<Errno> for Flow {
    fn from(error: Errno) -> Self {
        Flow::Done(Err(error))
    }
}

impl Flow {
    /// A call that continues as `future`.
    pub fn blocked(future: impl Future<Output = Result<usize>> + Send + 'static) -> Self {
        Flow::Block(Box::pin(future))
    }
}

/// Waits until the current thread is woken ([`crate::sched::thread::Thread::wake`]). A wake-up that came
/// since the last park counts. ETIMEDOUT once CLOCK_MONOTONIC passes `deadline`
/// (ns), ERESTARTSYS when a signal is to be handled.
pub fn park(deadline: Option<u64>) -> Park {
    Park {
        deadline,
        armed: false,
    }
}

/// See [`park`].
pub struct Park {
    deadline: Option<u64>,
    armed: bool,
}

impl Future for Park {
    type Output = Result<()>;
    fn poll(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Result<()>> {
        let thread = sched::current();
        if thread.take_wake() {
            sched::timers::disarm(thread);
            return Poll::Ready(Ok(()));
        }
        if thread.interrupted() {
            sched::timers::disarm(thread);
            return Poll::Ready(Err(Errno::ERESTARTSYS));
        }
        if let Some(deadline) = self.deadline {
            if spore_hal::time::monotonic() >= deadline {
                sched::timers::disarm(thread);
                return Poll::Ready(Err(Errno::ETIMEDOUT));
            }
            if !self.armed {
                sched::timers::arm(thread, deadline);
                self.armed = true;
            }
        }
        Poll::Pending
    }
}

/// Keeps the current thread registered with a file's notifier.
pub struct Watch {
    open: Arc<OpenFile>,
    registration: Option<Registration>,
}

impl Watch {
    /// Registers the current thread; files that are always ready have nothing to watch.
    pub fn new(open: &Arc<OpenFile>) -> Self {
        let registration = open
            .file
            .notifier()
            .map(|notifier| notifier.add(sched::current().observer(), 0));
        Self {
            open: open.clone(),
            registration,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let (Some(notifier), Some(registration)) = (self.open.file.notifier(), self.registration)
        {
            notifier.remove(registration);
        }
    }
}

/// Makes a non-blocking `attempt` into a call with the blocking behaviour of
/// `open`: EAGAIN waits for the file's notifier and tries again, unless
/// `nonblocking`. `deadline` is CLOCK_MONOTONIC ns and ends in EAGAIN
/// (SO_RCVTIMEO and SO_SNDTIMEO).
pub fn retry(
    open: Arc<OpenFile>,
    nonblocking: bool,
    deadline: Option<u64>,
    mut attempt: impl FnMut(&Arc<OpenFile>) -> Result<usize> + Send + 'static,
) -> Flow {
    match attempt(&open) {
        Err(Errno::EAGAIN) if !nonblocking && open.file.notifier().is_some() => {
            Flow::blocked(async move {
                let _watch = Watch::new(&open);
                loop {
                    match attempt(&open) {
                        Err(Errno::EAGAIN) => match park(deadline).await {
                            Ok(()) => {}
                            Err(Errno::ETIMEDOUT) => return Err(Errno::EAGAIN),
                            Err(error) => return Err(error),
                        },
                        result => return result,
                    }
                }
            })
        }
        result => Flow::Done(result),
    }
}
