//! The pieces: parts of the kernel that an image has only if its app needs them.
//!
//! System calls are pieces, see `syscall/table.rs`, and so are services. A row of `services` says
//! what starts a service at boot, what it cannot work without, and which system calls are of no
//! use without it. A row of `features` says which system calls are one thing: an image has all of
//! them or none, and what the feature cannot work without. A row of `groups` gives the other calls,
//! each chosen by itself, a name to be listed under. This is the only place that says so: the
//! linker reads the rows as text. Services with longer names (files of /proc, where they are
//! made) need the one whose name theirs begins with.

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
     features: $($feature:literal needs [$($other:literal)*], [$($member:ident)*];)*
     groups: $($group:literal [$($single:ident)*];)*) => {
        $(spore_hal::piece! {
            ["spore.service.", $name] fn(info: &BootInfo) { $start(info) }
        })*
        spore_hal::linker_text! {
            "spore.catalogue",
            concat!($(
                $name, " needs", $(" ", $need,)* " for", $(" ", stringify!($call),)* "\n",
            )* $(
                $feature, " needs", $(" ", $other,)* " groups", $(" ", stringify!($member),)* "\n",
            )* $(
                $group, " lists", $(" ", stringify!($single),)* "\n",
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
    "socket/inet" crate::net::inet::initialise_4, needs ["sockets"], for [];
    "socket/inet6" crate::net::inet::initialise_6, needs ["sockets"], for [];
    "socket/netlink" crate::net::netlink::initialise, needs ["sockets"], for [];
    "socket/unix" crate::ipc::unix::initialise, needs ["sockets"], for [];
    "snapshot" crate::lifecycle::initialise, needs [], for [];
    "trace" crate::trace::strace::initialise, needs [], for [];
    "record" crate::trace::record::initialise, needs [], for [];
    "gdb" crate::debug::stop::initialise, needs [], for [];
features:
    "epoll" needs [], [epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2];
    "eventfd" needs [], [eventfd eventfd2];
    "futex" needs [], [futex futex_waitv set_robust_list get_robust_list];
    "inotify" needs ["files"], [inotify_init inotify_init1 inotify_add_watch inotify_rm_watch];
    "pipes" needs [], [pipe pipe2 splice tee vmsplice];
    "processes" needs [], [
        fork vfork execve execveat wait4 waitid pidfd_open pidfd_send_signal process_mrelease
    ];
    "signals" needs [], [
        rt_sigaction rt_sigprocmask rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_sigsuspend
        rt_tgsigqueueinfo rt_sigreturn sigaltstack kill tkill tgkill pause signalfd signalfd4
    ];
    "sockets" needs [], [
        socket socketpair connect accept accept4 bind listen shutdown getsockname getpeername
        setsockopt getsockopt sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg
    ];
    "threads" needs ["futex" "exit" "set_tid_address"], [clone clone3];
    "timers" needs ["signals"], [
        alarm getitimer setitimer timer_create timer_settime timer_gettime timer_getoverrun
        timer_delete timerfd_create timerfd_settime timerfd_gettime
    ];
groups:
    "descriptors" [
        read write close fstat poll lseek ioctl pread64 pwrite64 readv writev select dup dup2 dup3
        sendfile fcntl flock fsync fdatasync ftruncate getdents getdents64 fchmod fchown fstatfs
        sync syncfs readahead fadvise64 fallocate sync_file_range pselect6 ppoll preadv pwritev
        preadv2 pwritev2 copy_file_range close_range io_uring_setup io_uring_enter io_uring_register
        umask fsetxattr fgetxattr flistxattr fremovexattr setxattr lsetxattr
        getxattr lgetxattr listxattr llistxattr removexattr lremovexattr name_to_handle_at
        open_by_handle_at fanotify_init fanotify_mark
    ];
    "identity" [
        getpid getppid gettid getuid getgid setuid setgid geteuid getegid setpgid getpgrp setsid
        setreuid setregid getgroups setgroups setresuid getresuid setresgid getresgid getpgid
        setfsuid setfsgid getsid capget capset personality uname sethostname
    ];
    "memory" [
        mmap mprotect munmap brk mremap msync mincore madvise mlock munlock mlockall munlockall mlock2
        mbind set_mempolicy get_mempolicy userfaultfd membarrier pkey_mprotect pkey_alloc pkey_free
    ];
    "process" [
        exit exit_group prctl arch_prctl set_tid_address rseq getrandom getrlimit setrlimit prlimit64
        getrusage sysinfo getpriority setpriority getcpu ptrace seccomp bpf unshare chroot pivot_root
        mount umount2
    ];
    "scheduling" [
        sched_yield sched_setparam sched_getparam sched_setscheduler sched_getscheduler sched_setattr
        sched_get_priority_max sched_get_priority_min sched_rr_get_interval sched_setaffinity
        sched_getaffinity
    ];
    "time" [
        nanosleep gettimeofday times time clock_settime clock_gettime clock_getres clock_nanosleep
    ];
}

spore_hal::generated! {
    /// The calls that the library OS has and this kernel was linked without: lines of
    /// number, name and the feature that brings it, if it has another name.
    fn left_out() -> &'static [u8] = "spore_left_out_start".."spore_left_out_end";
}

/// The name of a call that was left out, and the piece that brings it.
pub fn left_out_call(number: u64) -> Option<(&'static str, &'static str)> {
    let text = core::str::from_utf8(left_out()).ok()?;
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(first, _)| first.parse() == Ok(number))
        .map(|(_, names)| names.split_once(' ').unwrap_or((names, names)))
}
