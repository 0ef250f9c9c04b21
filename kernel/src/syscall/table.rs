//! The system-call table: the one place that says which calls exist.
//!
//! A row: `number name(argument: Kind, …) Level handler, "note";` in number order.
//! Kinds (`dispatch.rs`) say how a trace prints an argument; levels how well the
//! call is supported. Rows after `@registers` get the registers themselves. `docs/reference/syscalls.md` is generated from these rows.

use crate::errno::Errno;
use crate::sched::block::Flow;
use crate::syscall::{
    Call, Entry, clock, copy, credentials, descriptor, directory, epoll, eventfd, file, identity,
    inotify, memory, message, metadata, pipe, poll, process, resource, signalfd, signals, socket,
    splice, threads, timerfd, transfer,
};
use spore_hal::trap::TrapFrame;

system_calls! {
    0 read(fd: Int, buffer: Filled, len: Size) Full transfer::read, "";
    1 write(fd: Int, buffer: Data, len: Size) Full transfer::write, "";
    2 open(path: Path, flags: Hex, mode: Mode) Full file::open, "";
    3 close(fd: Int) Full file::close, "";
    4 stat(path: Path, buffer: Ptr) Full metadata::stat, "";
    5 fstat(fd: Int, buffer: Ptr) Full metadata::fstat, "";
    6 lstat(path: Path, buffer: Ptr) Full metadata::lstat, "";
    7 poll(fds: Ptr, count: Size, timeout: Int) Full poll::poll, "";
    8 lseek(fd: Int, offset: Int, whence: Int) Full file::lseek, "";
    9 mmap(addr: Ptr, len: Size, prot: Hex, flags: Hex, fd: Int, offset: Hex) Full memory::mmap, "MAP_HUGETLB is refused with ENOMEM; MAP_SHARED between processes does not exist";
    10 mprotect(addr: Ptr, len: Size, prot: Hex) Partial memory::mprotect, "write/execute flips of code and read-only relocations are not enforced";
    11 munmap(addr: Ptr, len: Size) Partial memory::munmap, "a page that shares its 2 MiB block with memory in use may stay readable";
    12 brk(addr: Ptr) Full memory::brk, "";
    13 rt_sigaction(signal: Signal, action: Ptr, old: Ptr, size: Size) Full signals::rt_sigaction, "";
    14 rt_sigprocmask(how: Int, set: Ptr, old: Ptr, size: Size) Full signals::rt_sigprocmask, "";
    16 ioctl(fd: Int, request: Hex, argument: Hex) Partial descriptor::ioctl, "terminals, FIONREAD, FIONBIO, FIOCLEX, FIOASYNC; no FICLONE";
    17 pread64(fd: Int, buffer: Filled, len: Size, offset: Int) Full transfer::pread64, "";
    18 pwrite64(fd: Int, buffer: Data, len: Size, offset: Int) Full transfer::pwrite64, "";
    19 readv(fd: Int, vector: Ptr, count: Size) Full transfer::readv, "";
    20 writev(fd: Int, vector: Ptr, count: Size) Full transfer::writev, "";
    21 access(path: Path, mode: Hex) Full metadata::access, "";
    22 pipe(fds: Ptr) Full pipe::pipe, "";
    23 select(count: Int, read: Ptr, write: Ptr, except: Ptr, timeout: Ptr) Full poll::select, "";
    24 sched_yield() Full threads::sched_yield, "";
    25 mremap(old: Ptr, old_len: Size, new_len: Size, flags: Hex, new: Ptr) Full memory::mremap, "";
    26 msync(addr: Ptr, len: Size, flags: Hex) Full memory::msync, "";
    27 mincore(addr: Ptr, len: Size, vec: Ptr) Partial memory::mincore, "all mapped pages count as resident";
    28 madvise(addr: Ptr, len: Size, advice: Int) Full memory::madvise, "";
    32 dup(fd: Int) Full descriptor::dup, "";
    33 dup2(old: Int, new: Int) Full descriptor::dup2, "";
    34 pause() Full signals::pause, "";
    35 nanosleep(request: Ptr, remaining: Ptr) Full clock::nanosleep, "";
    36 getitimer(which: Int, value: Ptr) Full clock::interval::getitimer, "";
    37 alarm(seconds: Size) Full clock::interval::alarm, "";
    38 setitimer(which: Int, value: Ptr, old: Ptr) Partial clock::interval::setitimer, "ITIMER_VIRTUAL counts as ITIMER_PROF: user and system time are not told apart";
    39 getpid() Full identity::getpid, "";
    40 sendfile(output: Int, input: Int, offset: Ptr, count: Size) Full copy::sendfile, "";
    41 socket(domain: Int, kind: Hex, protocol: Int) Partial socket::socket, "AF_UNIX, AF_INET, AF_INET6, and of AF_NETLINK what lists interfaces; raw sockets are refused with EPERM";
    42 connect(fd: Int, addr: Ptr, len: Size) Full socket::connect, "";
    43 accept(fd: Int, addr: Ptr, len: Ptr) Full socket::accept, "";
    44 sendto(fd: Int, buffer: Data, len: Size, flags: Hex, addr: Ptr, addr_len: Size) Partial message::sendto, "no out-of-band data";
    45 recvfrom(fd: Int, buffer: Filled, len: Size, flags: Hex, addr: Ptr, addr_len: Ptr) Partial message::recvfrom, "no out-of-band data, no error queue";
    46 sendmsg(fd: Int, message: Ptr, flags: Hex) Partial message::sendmsg, "SCM_RIGHTS and SCM_CREDENTIALS; ancillary data of the internet level is ignored";
    47 recvmsg(fd: Int, message: Ptr, flags: Hex) Partial message::recvmsg, "SCM_RIGHTS and SCM_CREDENTIALS";
    48 shutdown(fd: Int, how: Int) Full socket::shutdown, "";
    49 bind(fd: Int, addr: Ptr, len: Size) Full socket::bind, "";
    50 listen(fd: Int, backlog: Int) Full socket::listen, "";
    51 getsockname(fd: Int, addr: Ptr, len: Ptr) Full socket::getsockname, "";
    52 getpeername(fd: Int, addr: Ptr, len: Ptr) Full socket::getpeername, "";
    53 socketpair(domain: Int, kind: Hex, protocol: Int, pair: Ptr) Full socket::socketpair, "";
    54 setsockopt(fd: Int, level: Int, name: Int, value: Ptr, len: Size) Partial socket::setsockopt, "options that cannot matter are remembered and answered; unknown ones get ENOPROTOOPT";
    55 getsockopt(fd: Int, level: Int, name: Int, value: Ptr, len: Ptr) Partial socket::getsockopt, "TCP_INFO tells the state alone";
    57 fork() Refused process::no_processes, "EAGAIN, as where RLIMIT_NPROC forbids processes";
    58 vfork() Refused process::no_processes, "EAGAIN, as fork";
    59 execve(path: Path, argv: Ptr, envp: Ptr) Refused process::execve, "EAGAIN";
    60 exit(status: Int) Full process::exit, "";
    61 wait4(pid: Int, status: Ptr, options: Hex, usage: Ptr) Partial process::wait4, "ECHILD: there are no children";
    62 kill(pid: Int, signal: Signal) Full signals::kill, "";
    63 uname(name: Ptr) Full identity::uname, "";
    72 fcntl(fd: Int, command: Int, argument: Hex) Partial descriptor::fcntl, "no leases, no seals, no signals for readiness; process locks are always granted";
    73 flock(fd: Int, operation: Hex) Full descriptor::flock, "";
    74 fsync(fd: Int) Full file::fsync, "";
    75 fdatasync(fd: Int) Full file::fsync, "";
    76 truncate(path: Path, size: Int) Full file::truncate, "";
    77 ftruncate(fd: Int, size: Int) Full file::ftruncate, "";
    78 getdents(fd: Int, buffer: Ptr, size: Size) Full directory::getdents, "";
    79 getcwd(buffer: Ptr, size: Size) Full directory::getcwd, "";
    80 chdir(path: Path) Full directory::chdir, "";
    81 fchdir(fd: Int) Full directory::fchdir, "";
    82 rename(from: Path, to: Path) Full directory::rename, "";
    83 mkdir(path: Path, mode: Mode) Full directory::mkdir, "";
    84 rmdir(path: Path) Full directory::rmdir, "";
    85 creat(path: Path, mode: Mode) Full file::creat, "";
    86 link(from: Path, to: Path) Full directory::link, "";
    87 unlink(path: Path) Full directory::unlink, "";
    88 symlink(text: Path, path: Path) Full directory::symlink, "";
    89 readlink(path: Path, buffer: Filled, size: Size) Full directory::readlink, "";
    90 chmod(path: Path, mode: Mode) Full metadata::chmod, "";
    91 fchmod(fd: Int, mode: Mode) Full metadata::fchmod, "";
    92 chown(path: Path, uid: Int, gid: Int) Full metadata::chown, "";
    93 fchown(fd: Int, uid: Int, gid: Int) Full metadata::fchown, "";
    94 lchown(path: Path, uid: Int, gid: Int) Full metadata::lchown, "";
    95 umask(mask: Mode) Full metadata::umask, "";
    96 gettimeofday(value: Ptr, zone: Ptr) Full clock::gettimeofday, "";
    97 getrlimit(resource: Int, limit: Ptr) Full resource::getrlimit, "";
    98 getrusage(who: Int, usage: Ptr) Partial resource::getrusage, "times and peak memory";
    99 sysinfo(info: Ptr) Full resource::sysinfo, "";
    100 times(buffer: Ptr) Full clock::times, "";
    101 ptrace(request: Int) Refused identity::not_permitted, "EPERM";
    102 getuid() Full credentials::getuid, "";
    104 getgid() Full credentials::getgid, "";
    105 setuid(id: Int) Full credentials::setuid, "";
    106 setgid(id: Int) Full credentials::setgid, "";
    107 geteuid() Full credentials::geteuid, "";
    108 getegid() Full credentials::getegid, "";
    109 setpgid(pid: Int, group: Int) Constant identity::zero, "";
    110 getppid() Full identity::getppid, "";
    111 getpgrp() Full identity::getpgrp, "";
    112 setsid() Full identity::getpgrp, "";
    113 setreuid(real: Int, effective: Int) Full credentials::setreuid, "";
    114 setregid(real: Int, effective: Int) Full credentials::setregid, "";
    115 getgroups(size: Int, list: Ptr) Full credentials::getgroups, "";
    116 setgroups(size: Int, list: Ptr) Full credentials::setgroups, "";
    117 setresuid(real: Int, effective: Int, saved: Int) Full credentials::setresuid, "";
    118 getresuid(real: Ptr, effective: Ptr, saved: Ptr) Full credentials::getresuid, "";
    119 setresgid(real: Int, effective: Int, saved: Int) Full credentials::setresgid, "";
    120 getresgid(real: Ptr, effective: Ptr, saved: Ptr) Full credentials::getresgid, "";
    121 getpgid(pid: Int) Full identity::getpgrp, "";
    122 setfsuid(id: Int) Full credentials::setfsuid, "";
    123 setfsgid(id: Int) Full credentials::setfsgid, "";
    124 getsid(pid: Int) Full identity::getpgrp, "";
    125 capget(header: Ptr, data: Ptr) Full identity::capget, "";
    126 capset(header: Ptr, data: Ptr) Constant identity::zero, "";
    127 rt_sigpending(set: Ptr, size: Size) Full signals::rt_sigpending, "";
    128 rt_sigtimedwait(set: Ptr, info: Ptr, timeout: Ptr, size: Size) Full signals::rt_sigtimedwait, "";
    129 rt_sigqueueinfo(pid: Int, signal: Signal, info: Ptr) Full signals::rt_sigqueueinfo, "";
    130 rt_sigsuspend(mask: Ptr, size: Size) Full signals::rt_sigsuspend, "";
    131 sigaltstack(stack: Ptr, old: Ptr) Full signals::sigaltstack, "";
    132 utime(path: Path, times: Ptr) Full metadata::utime, "";
    133 mknod(path: Path, mode: Mode, device: Hex) Partial directory::mknod, "no device files: EPERM";
    135 personality(persona: Hex) Constant identity::zero, "";
    137 statfs(path: Path, buffer: Ptr) Full metadata::statfs, "";
    138 fstatfs(fd: Int, buffer: Ptr) Full metadata::fstatfs, "";
    140 getpriority(which: Int, who: Int) Full resource::getpriority, "";
    141 setpriority(which: Int, who: Int, value: Int) Full resource::setpriority, "";
    142 sched_setparam(pid: Int, param: Ptr) Constant resource::sched_setparam, "";
    143 sched_getparam(pid: Int, param: Ptr) Full resource::sched_getparam, "";
    144 sched_setscheduler(pid: Int, policy: Int, param: Ptr) Constant resource::sched_setscheduler, "";
    145 sched_getscheduler(pid: Int) Constant resource::sched_getscheduler, "SCHED_OTHER";
    146 sched_get_priority_max(policy: Int) Full resource::priority_max, "";
    147 sched_get_priority_min(policy: Int) Full resource::priority_min, "";
    148 sched_rr_get_interval(pid: Int, interval: Ptr) Constant resource::sched_rr_get_interval, "";
    149 mlock(addr: Ptr, len: Size) Constant identity::zero, "";
    150 munlock(addr: Ptr, len: Size) Constant identity::zero, "";
    151 mlockall(flags: Hex) Constant identity::zero, "";
    152 munlockall() Constant identity::zero, "";
    155 pivot_root(new: Path, old: Path) Refused identity::not_permitted, "EPERM";
    157 prctl(option: Int, a: Hex, b: Hex, c: Hex, d: Hex) Partial identity::prctl, "names, dumpable, capability queries; others EINVAL";
    158 arch_prctl(code: Hex, addr: Ptr) Partial threads::arch_prctl, "FS base; GS belongs to the library OS";
    160 setrlimit(resource: Int, limit: Ptr) Full resource::setrlimit, "";
    161 chroot(path: Path) Refused identity::not_permitted, "EPERM";
    162 sync() Full file::sync, "";
    165 mount(source: Path, target: Path, kind: Path, flags: Hex, data: Ptr) Refused identity::not_permitted, "EPERM";
    166 umount2(target: Path, flags: Hex) Refused identity::not_permitted, "EPERM";
    170 sethostname(name: Ptr, len: Size) Refused identity::not_permitted, "EPERM";
    186 gettid() Full identity::gettid, "";
    187 readahead(fd: Int, offset: Int, len: Size) Constant file::readahead, "";
    188 setxattr(path: Path, name: Path, value: Ptr, size: Size, flags: Hex) Refused metadata::no_attributes, "EOPNOTSUPP";
    189 lsetxattr(path: Path, name: Path, value: Ptr, size: Size, flags: Hex) Refused metadata::no_attributes, "EOPNOTSUPP";
    190 fsetxattr(fd: Int, name: Path, value: Ptr, size: Size, flags: Hex) Refused metadata::no_attributes, "EOPNOTSUPP";
    191 getxattr(path: Path, name: Path, value: Ptr, size: Size) Refused metadata::no_attributes, "EOPNOTSUPP";
    192 lgetxattr(path: Path, name: Path, value: Ptr, size: Size) Refused metadata::no_attributes, "EOPNOTSUPP";
    193 fgetxattr(fd: Int, name: Path, value: Ptr, size: Size) Refused metadata::no_attributes, "EOPNOTSUPP";
    194 listxattr(path: Path, list: Ptr, size: Size) Refused metadata::no_attributes, "EOPNOTSUPP";
    195 llistxattr(path: Path, list: Ptr, size: Size) Refused metadata::no_attributes, "EOPNOTSUPP";
    196 flistxattr(fd: Int, list: Ptr, size: Size) Refused metadata::no_attributes, "EOPNOTSUPP";
    197 removexattr(path: Path, name: Path) Refused metadata::no_attributes, "EOPNOTSUPP";
    198 lremovexattr(path: Path, name: Path) Refused metadata::no_attributes, "EOPNOTSUPP";
    199 fremovexattr(fd: Int, name: Path) Refused metadata::no_attributes, "EOPNOTSUPP";
    200 tkill(tid: Int, signal: Signal) Full signals::tkill, "";
    201 time(value: Ptr) Full clock::time, "";
    202 futex(addr: Ptr, op: Hex, value: Size, timeout: Ptr, addr2: Ptr, value3: Hex) Partial crate::sched::futex::futex, "priority inheritance is not offered";
    203 sched_setaffinity(pid: Int, size: Size, mask: Ptr) Constant resource::sched_setaffinity, "";
    204 sched_getaffinity(pid: Int, size: Size, mask: Ptr) Full resource::sched_getaffinity, "";
    213 epoll_create(size: Int) Full epoll::epoll_create, "";
    217 getdents64(fd: Int, buffer: Ptr, size: Size) Full directory::getdents64, "";
    218 set_tid_address(addr: Ptr) Full threads::set_tid_address, "";
    221 fadvise64(fd: Int, offset: Int, len: Int, advice: Int) Constant file::fadvise64, "";
    222 timer_create(clock: Int, event: Ptr, id: Ptr) Full clock::posix::timer_create, "";
    223 timer_settime(id: Int, flags: Hex, value: Ptr, old: Ptr) Full clock::posix::timer_settime, "";
    224 timer_gettime(id: Int, value: Ptr) Full clock::posix::timer_gettime, "";
    225 timer_getoverrun(id: Int) Full clock::posix::timer_getoverrun, "";
    226 timer_delete(id: Int) Full clock::posix::timer_delete, "";
    227 clock_settime(clock: Int, value: Ptr) Refused identity::not_permitted, "EPERM";
    228 clock_gettime(clock: Int, value: Ptr) Full clock::clock_gettime, "";
    229 clock_getres(clock: Int, value: Ptr) Full clock::clock_getres, "";
    230 clock_nanosleep(clock: Int, flags: Hex, request: Ptr, remaining: Ptr) Full clock::clock_nanosleep, "";
    231 exit_group(status: Int) Full process::exit_group, "";
    232 epoll_wait(fd: Int, events: Ptr, max: Int, timeout: Int) Full epoll::epoll_wait, "";
    233 epoll_ctl(set: Int, op: Int, fd: Int, event: Ptr) Full epoll::epoll_ctl, "EPOLLEXCLUSIVE wakes every set that watches the file";
    234 tgkill(pid: Int, tid: Int, signal: Signal) Full signals::tgkill, "";
    235 utimes(path: Path, times: Ptr) Full metadata::utimes, "";
    237 mbind(addr: Ptr, len: Size, mode: Int) Refused identity::absent, "ENOSYS: one memory node";
    238 set_mempolicy(mode: Int) Refused identity::absent, "ENOSYS: one memory node";
    239 get_mempolicy(mode: Ptr) Refused identity::absent, "ENOSYS: one memory node";
    247 waitid(which: Int, pid: Int, info: Ptr, options: Hex) Partial process::waitid, "ECHILD: there are no children";
    253 inotify_init() Full inotify::inotify_init, "";
    254 inotify_add_watch(fd: Int, path: Path, mask: Hex) Full inotify::inotify_add_watch, "";
    255 inotify_rm_watch(fd: Int, watch: Int) Full inotify::inotify_rm_watch, "";
    257 openat(dir: Dir, path: Path, flags: Hex, mode: Mode) Full file::openat, "";
    258 mkdirat(dir: Dir, path: Path, mode: Mode) Full directory::mkdirat, "";
    259 mknodat(dir: Dir, path: Path, mode: Mode, device: Hex) Partial directory::mknodat, "no device files: EPERM";
    260 fchownat(dir: Dir, path: Path, uid: Int, gid: Int, flags: Hex) Full metadata::fchownat, "";
    261 futimesat(dir: Dir, path: Path, times: Ptr) Full metadata::futimesat, "";
    262 newfstatat(dir: Dir, path: Path, buffer: Ptr, flags: Hex) Full metadata::newfstatat, "";
    263 unlinkat(dir: Dir, path: Path, flags: Hex) Full directory::unlinkat, "";
    264 renameat(from: Dir, path: Path, to: Dir, to_path: Path) Full directory::renameat, "";
    265 linkat(from: Dir, path: Path, to: Dir, to_path: Path, flags: Hex) Full directory::linkat, "";
    266 symlinkat(text: Path, dir: Dir, path: Path) Full directory::symlinkat, "";
    267 readlinkat(dir: Dir, path: Path, buffer: Filled, size: Size) Full directory::readlinkat, "";
    268 fchmodat(dir: Dir, path: Path, mode: Mode) Full metadata::fchmodat, "";
    269 faccessat(dir: Dir, path: Path, mode: Hex) Full metadata::faccessat, "";
    270 pselect6(count: Int, read: Ptr, write: Ptr, except: Ptr, timeout: Ptr, mask: Ptr) Full poll::pselect6, "";
    271 ppoll(fds: Ptr, count: Size, timeout: Ptr, mask: Ptr, size: Size) Full poll::ppoll, "";
    272 unshare(flags: Hex) Refused identity::not_permitted, "EPERM";
    273 set_robust_list(head: Ptr, len: Size) Full threads::set_robust_list, "";
    274 get_robust_list(pid: Int, head: Ptr, len: Ptr) Full threads::get_robust_list, "";
    275 splice(input: Int, from: Ptr, output: Int, to: Ptr, len: Size, flags: Hex) Full splice::splice, "";
    276 tee(input: Int, output: Int, len: Size, flags: Hex) Full splice::tee, "";
    277 sync_file_range(fd: Int, offset: Int, len: Int, flags: Hex) Constant file::sync_file_range, "";
    278 vmsplice(fd: Int, vector: Ptr, count: Size, flags: Hex) Partial splice::vmsplice, "copies: pages are not shared with the pipe";
    280 utimensat(dir: Dir, path: Path, times: Ptr, flags: Hex) Full metadata::utimensat, "";
    281 epoll_pwait(fd: Int, events: Ptr, max: Int, timeout: Int, mask: Ptr, size: Size) Full epoll::epoll_pwait, "";
    282 signalfd(fd: Int, mask: Ptr, size: Size) Full signalfd::signalfd, "";
    283 timerfd_create(clock: Int, flags: Hex) Partial timerfd::timerfd_create, "no alarm clocks; TFD_TIMER_CANCEL_ON_SET never cancels";
    284 eventfd(count: Size) Full eventfd::eventfd, "";
    285 fallocate(fd: Int, mode: Hex, offset: Int, len: Int) Partial file::fallocate, "no collapse, no insert: EOPNOTSUPP";
    286 timerfd_settime(fd: Int, flags: Hex, value: Ptr, old: Ptr) Full timerfd::timerfd_settime, "";
    287 timerfd_gettime(fd: Int, value: Ptr) Full timerfd::timerfd_gettime, "";
    288 accept4(fd: Int, addr: Ptr, len: Ptr, flags: Hex) Full socket::accept4, "";
    289 signalfd4(fd: Int, mask: Ptr, size: Size, flags: Hex) Full signalfd::signalfd4, "";
    290 eventfd2(count: Size, flags: Hex) Full eventfd::eventfd2, "";
    291 epoll_create1(flags: Hex) Full epoll::epoll_create1, "";
    292 dup3(old: Int, new: Int, flags: Hex) Full descriptor::dup3, "";
    293 pipe2(fds: Ptr, flags: Hex) Partial pipe::pipe2, "O_DIRECT (packets) is refused with EINVAL";
    294 inotify_init1(flags: Hex) Full inotify::inotify_init1, "";
    295 preadv(fd: Int, vector: Ptr, count: Size, offset: Int) Full transfer::preadv, "";
    296 pwritev(fd: Int, vector: Ptr, count: Size, offset: Int) Full transfer::pwritev, "";
    297 rt_tgsigqueueinfo(pid: Int, tid: Int, signal: Signal, info: Ptr) Full signals::rt_tgsigqueueinfo, "";
    300 fanotify_init(flags: Hex, event_flags: Hex) Refused identity::absent, "ENOSYS: use inotify";
    301 fanotify_mark(fd: Int, flags: Hex, mask: Hex, dir: Dir, path: Path) Refused identity::absent, "ENOSYS: use inotify";
    299 recvmmsg(fd: Int, messages: Ptr, count: Size, flags: Hex, timeout: Ptr) Partial message::recvmmsg, "waits for the first message only";
    302 prlimit64(pid: Int, resource: Int, new: Ptr, old: Ptr) Full resource::prlimit64, "";
    303 name_to_handle_at(dir: Dir, path: Path, handle: Ptr, mount: Ptr, flags: Hex) Refused metadata::no_attributes, "EOPNOTSUPP";
    304 open_by_handle_at(mount: Int, handle: Ptr, flags: Hex) Refused identity::not_permitted, "EPERM";
    306 syncfs(fd: Int) Full file::syncfs, "";
    307 sendmmsg(fd: Int, messages: Ptr, count: Size, flags: Hex) Full message::sendmmsg, "";
    309 getcpu(cpu: Ptr, node: Ptr) Full resource::getcpu, "";
    314 sched_setattr(pid: Int, attr: Ptr, flags: Hex) Constant identity::zero, "";
    316 renameat2(from: Dir, path: Path, to: Dir, to_path: Path, flags: Hex) Partial directory::renameat2, "no RENAME_WHITEOUT: EINVAL";
    317 seccomp(op: Int, flags: Hex, args: Ptr) Refused identity::absent, "ENOSYS";
    318 getrandom(buffer: Ptr, len: Size, flags: Hex) Full identity::getrandom, "";
    319 memfd_create(name: Path, flags: Hex) Partial file::memfd_create, "no seals";
    321 bpf(command: Int) Refused identity::not_permitted, "EPERM";
    322 execveat(dir: Dir, path: Path) Refused process::execve, "EAGAIN";
    323 userfaultfd(flags: Hex) Refused identity::not_permitted, "EPERM";
    324 membarrier(command: Int, flags: Hex, cpu: Int) Partial threads::membarrier, "one processor: a barrier is always met";
    325 mlock2(addr: Ptr, len: Size, flags: Hex) Constant identity::zero, "";
    326 copy_file_range(input: Int, from: Ptr, output: Int, to: Ptr, len: Size, flags: Hex) Full copy::copy_file_range, "";
    327 preadv2(fd: Int, vector: Ptr, count: Size, offset: Int, high: Hex, flags: Hex) Partial transfer::preadv2, "RWF_HIPRI, RWF_DSYNC, RWF_SYNC";
    328 pwritev2(fd: Int, vector: Ptr, count: Size, offset: Int, high: Hex, flags: Hex) Partial transfer::pwritev2, "RWF_HIPRI, RWF_DSYNC, RWF_SYNC";
    329 pkey_mprotect(addr: Ptr, len: Size, prot: Hex, key: Int) Refused identity::absent, "ENOSYS: no protection keys";
    330 pkey_alloc(flags: Hex, rights: Hex) Refused identity::absent, "ENOSYS: no protection keys";
    331 pkey_free(key: Int) Refused identity::absent, "ENOSYS: no protection keys";
    332 statx(dir: Dir, path: Path, flags: Hex, mask: Hex, buffer: Ptr) Full metadata::statx, "";
    334 rseq(area: Ptr, len: Size, flags: Hex, signature: Hex) Refused identity::absent, "ENOSYS: programs fall back";
    424 pidfd_send_signal(fd: Int, signal: Signal) Refused identity::absent, "ENOSYS";
    425 io_uring_setup(entries: Size, params: Ptr) Refused identity::absent, "ENOSYS: programs fall back to epoll";
    426 io_uring_enter(fd: Int) Refused identity::absent, "ENOSYS: programs fall back to epoll";
    427 io_uring_register(fd: Int) Refused identity::absent, "ENOSYS: programs fall back to epoll";
    434 pidfd_open(pid: Int, flags: Hex) Refused identity::absent, "ENOSYS";
    436 close_range(first: Size, last: Size, flags: Hex) Full descriptor::close_range, "";
    439 faccessat2(dir: Dir, path: Path, mode: Hex, flags: Hex) Full metadata::faccessat2, "";
    441 epoll_pwait2(fd: Int, events: Ptr, max: Int, timeout: Ptr, mask: Ptr, size: Size) Full epoll::epoll_pwait2, "";
    448 process_mrelease(fd: Int, flags: Hex) Refused identity::absent, "ENOSYS";
    449 futex_waitv(waiters: Ptr, count: Size, flags: Hex, timeout: Ptr, clock: Int) Refused identity::absent, "ENOSYS";
    452 fchmodat2(dir: Dir, path: Path, mode: Mode, flags: Hex) Full metadata::fchmodat2, "";
    @registers
    15 rt_sigreturn() Full signals::rt_sigreturn, "";
    56 clone(flags: Hex, stack: Ptr, parent_tid: Ptr, child_tid: Ptr, tls: Ptr) Partial threads::clone, "threads only; processes answer EAGAIN";
    435 clone3(args: Ptr, size: Size) Partial threads::clone3, "threads only; processes answer EAGAIN";
}

spore_hal::generated! {
    /// The handlers of the calls that this kernel was linked with, by number.
    fn entries() -> &'static [Entry] = "spore_calls_start".."spore_calls_end";
}

/// Carries out a call.
#[inline]
pub fn dispatch(call: &Call, frame: &mut TrapFrame) -> Flow {
    match entries().get(call.number as usize) {
        Some(entry) => entry(call, frame),
        None => missing(call, frame),
    }
}

spore_hal::piece! {
    ["spore.missing"] fn(call: &Call, frame: &mut TrapFrame) -> Flow { missing(call, frame) }
}

/// A call that is not in the table.
#[cold]
fn missing(call: &Call, frame: &TrapFrame) -> Flow {
    crate::stats::report_missing(call, frame);
    Errno::ENOSYS.into()
}
