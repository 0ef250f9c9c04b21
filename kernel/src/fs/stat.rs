//! File attributes in the layouts that applications read (`asm/stat.h`, `linux/stat.h`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct timespec`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Timespec {
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nanoseconds: i64,
}

impl Timespec {
    /// As nanoseconds, saturating. EINVAL for negative or unnormalised values.
    pub fn to_nanoseconds(self) -> crate::errno::Result<u64> {
        let seconds = u64::try_from(self.seconds).map_err(|_| crate::errno::Errno::EINVAL)?;
        match u64::try_from(self.nanoseconds) {
            Ok(nanoseconds) if nanoseconds < 1_000_000_000 => Ok(seconds
                .saturating_mul(1_000_000_000)
                .saturating_add(nanoseconds)),
            _ => Err(crate::errno::Errno::EINVAL),
        }
    }
    /// From nanoseconds.
    pub fn from_nanoseconds(nanoseconds: u64) -> Self {
        Self {
            seconds: (nanoseconds / 1_000_000_000) as i64,
            nanoseconds: (nanoseconds % 1_000_000_000) as i64,
        }
    }
}

/// `struct stat` of x86-64, 144 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Stat {
    /// Device.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Number of hard links.
    pub links: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Zero.
    pub pad: u32,
    /// Device number of a device file.
    pub rdev: u64,
    /// Size in bytes.
    pub size: i64,
    /// Preferred block size.
    pub block_size: i64,
    /// 512-byte blocks.
    pub blocks: i64,
    /// Last access.
    pub accessed: Timespec,
    /// Last modification.
    pub modified: Timespec,
    /// Last change of status.
    pub changed: Timespec,
    /// Zero.
    pub unused: [i64; 3],
}

/// File types in `mode` (`linux/stat.h`).
pub mod mode {
    #![allow(missing_docs, reason = "named and documented as in inode(7)")]
    pub const TYPE: u32 = 0o170000;
    pub const SOCKET: u32 = 0o140000;
    pub const LINK: u32 = 0o120000;
    pub const FILE: u32 = 0o100000;
    pub const BLOCK: u32 = 0o060000;
    pub const DIRECTORY: u32 = 0o040000;
    pub const CHARACTER: u32 = 0o020000;
    pub const FIFO: u32 = 0o010000;
}

/// `struct statfs` of x86-64, 120 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct StatFs {
    /// File-system type magic.
    pub kind: i64,
    /// Block size.
    pub block_size: i64,
    /// Blocks in all.
    pub blocks: u64,
    /// Free blocks.
    pub free: u64,
    /// Free blocks for unprivileged users.
    pub available: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free inodes.
    pub free_files: u64,
    /// File-system id.
    pub id: [i32; 2],
    /// Longest name.
    pub name_length: i64,
    /// Fragment size.
    pub fragment_size: i64,
    /// Mount flags.
    pub flags: i64,
    /// Zero.
    pub spare: [i64; 4],
}

const _: () = assert!(core::mem::size_of::<Stat>() == 144);
const _: () = assert!(core::mem::size_of::<StatFs>() == 120);
