//! The services: parts of the kernel that an image has only if its app needs them.
//!
//! System calls are pieces too, see `syscall/table.rs`. A row of `services` says what starts
//! a service at boot, what it cannot work without, and which system calls are of no use
//! without it; a row of `features` which system calls belong together, so that people can
//! name them at once. This is the only place that says so. The linker reads the rows as text.
//! Services with longer names (files of /proc, where they are made) need the one whose name
//! theirs begins with.

use spore_abi::boot::BootInfo;

/// Starts a service: it makes itself known where it is asked for.
pub type Service = fn(&BootInfo);

spore_hal::generated! {
    /// What this kernel was linked with, each service after those that it needs.
    pub fn services() -> &'static [Service] = "spore_services_start".."spore_services_end";
}

/// Offers services to the linker, and tells it of features.
macro_rules! pieces {
    (services: $($name:literal $start:path, needs [$($need:literal)*], for [$($call:ident)*];)*
     features: $($feature:literal [$($member:ident)*];)*) => {
        $(spore_hal::piece! {
            ["spore.service.", $name] fn(info: &BootInfo) { $start(info) }
        })*
        spore_hal::linker_text! {
            "spore.catalogue",
            concat!($(
                $name, " needs", $(" ", $need,)* " for", $(" ", stringify!($call),)* "\n",
            )* $(
                $feature, " groups", $(" ", stringify!($member),)* "\n",
            )*)
        }
    };
}

pieces! {
services:
    "files" crate::fs::mount::initialise, needs [], for [
        open stat lstat access truncate getcwd chdir fchdir rename mkdir rmdir creat link unlink
        symlink readlink chmod chown lchown utime mknod statfs utimes inotify_add_watch openat
        mkdirat mknodat fchownat futimesat newfstatat unlinkat renameat linkat symlinkat
        readlinkat fchmodat faccessat utimensat renameat2 memfd_create statx faccessat2
        fchmodat2
    ];
    "file/dev" crate::fs::device::initialise, needs ["files"], for [];
    "file/proc" crate::fs::procfs::initialise, needs ["files"], for [];
    "file/sys" crate::fs::sysfs::initialise, needs ["files"], for [];
    "socket/inet" crate::net::inet::initialise_4, needs [], for [];
    "socket/inet6" crate::net::inet::initialise_6, needs [], for [];
    "socket/netlink" crate::net::netlink::initialise, needs [], for [];
    "socket/unix" crate::ipc::unix::initialise, needs [], for [];
    "snapshot" crate::lifecycle::initialise, needs [], for [];
    "trace" crate::trace::strace::initialise, needs [], for [];
    "record" crate::trace::record::initialise, needs [], for [];
    "debug" crate::debug::stop::initialise, needs [], for [];
features:
    "epoll" [epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2];
    "eventfd" [eventfd eventfd2];
    "futex" [futex futex_waitv set_robust_list get_robust_list];
    "inotify" [inotify_init inotify_init1 inotify_add_watch inotify_rm_watch];
    "pipes" [pipe pipe2 splice tee vmsplice];
    "processes" [fork vfork execve execveat wait4 waitid pidfd_open pidfd_send_signal];
    "signals" [
        rt_sigaction rt_sigprocmask rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_sigsuspend
        rt_tgsigqueueinfo rt_sigreturn sigaltstack kill tkill tgkill pause signalfd signalfd4
    ];
    "sockets" [
        socket socketpair connect accept accept4 bind listen shutdown getsockname getpeername
        setsockopt getsockopt sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg
    ];
    "threads" [clone clone3 exit];
    "timers" [
        alarm getitimer setitimer timer_create timer_settime timer_gettime timer_getoverrun
        timer_delete timerfd_create timerfd_settime timerfd_gettime
    ];
}

spore_hal::generated! {
    /// The calls that the library OS has and this kernel was linked without: lines of
    /// number and name.
    fn left_out() -> &'static [u8] = "spore_left_out_start".."spore_left_out_end";
}

/// The name of a call that was left out.
pub fn left_out_name(number: u64) -> Option<&'static str> {
    let text = core::str::from_utf8(left_out()).ok()?;
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(first, _)| first.parse() == Ok(number))
        .map(|(_, name)| name)
}
