//! The services: parts of the kernel that an image has only if its app needs them.
//!
//! System calls are pieces too, see `syscall/table.rs`. A row here says what starts a
//! service at boot, what it cannot work without, and which system calls are of no use
//! without it: this is the only place that says so. The linker reads the rows as text.

use spore_abi::boot::BootInfo;

/// Starts a service: it makes itself known where it is asked for.
pub type Service = fn(&BootInfo);

spore_hal::generated! {
    /// What this kernel was linked with, each service after those that it needs.
    pub fn services() -> &'static [Service] = "spore_services_start".."spore_services_end";
}

/// Offers services to the linker.
macro_rules! services {
    ($($name:literal $start:path, needs [$($need:literal)*], for [$($call:ident)*];)*) => {
        $(spore_hal::piece! {
            ["spore.service.", $name] fn(info: &BootInfo) { $start(info) }
        })*
        spore_hal::linker_text! {
            "spore.catalogue",
            concat!($(
                $name, " needs", $(" ", $need,)* " for", $(" ", stringify!($call),)* "\n",
            )*)
        }
    };
}

services! {
    "files" crate::fs::mount::initialise, needs [], for [
        open stat lstat access truncate getcwd chdir fchdir rename mkdir rmdir creat link unlink
        symlink readlink chmod chown lchown utime mknod statfs utimes inotify_add_watch openat
        mkdirat mknodat fchownat futimesat newfstatat unlinkat renameat linkat symlinkat
        readlinkat fchmodat faccessat utimensat renameat2 memfd_create statx faccessat2
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
