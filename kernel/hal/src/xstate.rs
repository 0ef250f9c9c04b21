//! The extended processor state (x87, SSE, AVX, AVX-512) of a thread.

use core::arch::asm;

/// State components that are kept: x87, SSE, AVX, and the three of AVX-512.
pub const COMPONENTS: u64 = 0xe7;
/// Bytes reserved per thread; CPUID.0DH says 2,688 for these components.
pub const AREA_SIZE: usize = 2752;

/// An XSAVE area in the standard format (Intel SDM volume 1, 13.4).
#[repr(C, align(64))]
#[derive(Clone)]
pub struct ExtendedState {
    bytes: [u8; AREA_SIZE],
}

unsafe extern "C" {
    static mut spore_xmm: [u8; 256];
}

impl Default for ExtendedState {
    fn default() -> Self {
        Self::new()
    }
}

impl ExtendedState {
    /// The state of a new process: everything in its initial configuration.
    pub const fn new() -> Self {
        let mut bytes = [0; AREA_SIZE];
        // FCW = 0x37f, MXCSR = 0x1f80; header all zero means "initial" for the rest.
        bytes[0] = 0x7f;
        bytes[1] = 0x03;
        bytes[24] = 0x80;
        bytes[25] = 0x1f;
        Self { bytes }
    }
    /// Components that this processor keeps.
    fn mask() -> u64 {
        // XCR0 as the monitor set it; CPUID.0DH.0:EAX shows the same to the guest.
        COMPONENTS & u64::from(crate::cpu::cpuid(0xd, 0).0)
    }
    /// Takes the application's state: xmm0–15 as the entry kept them, the rest live.
    pub fn save(&mut self, mask: u64) {
        self.bytes[512..576].fill(0);
        // SAFETY: the area is 64-byte aligned and large enough for the components in
        // `mask`; the entry saved xmm0–15 in `spore_xmm`; clobbered registers are named.
        unsafe {
            asm!(
                "movaps xmm0, [{x}]", "movaps xmm1, [{x} + 16]", "movaps xmm2, [{x} + 32]", "movaps xmm3, [{x} + 48]",
                "movaps xmm4, [{x} + 64]", "movaps xmm5, [{x} + 80]", "movaps xmm6, [{x} + 96]", "movaps xmm7, [{x} + 112]",
                "movaps xmm8, [{x} + 128]", "movaps xmm9, [{x} + 144]", "movaps xmm10, [{x} + 160]", "movaps xmm11, [{x} + 176]",
                "movaps xmm12, [{x} + 192]", "movaps xmm13, [{x} + 208]", "movaps xmm14, [{x} + 224]", "movaps xmm15, [{x} + 240]",
                "xsave64 [{area}]",
                x = in(reg) &raw const spore_xmm, area = in(reg) self.bytes.as_mut_ptr(),
                in("eax") mask as u32, in("edx") (mask >> 32) as u32,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
                out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                options(nostack),
            );
        }
    }
    /// Makes this the application's state: wide parts live, xmm0–15 for the exit to load.
    pub fn load(&self, mask: u64) {
        // SAFETY: the area holds a state saved by `save`, the initial state, or one that
        // `sanitise` has made valid; clobbered registers are named.
        unsafe {
            asm!(
                "xrstor64 [{area}]",
                "movaps [{x}], xmm0", "movaps [{x} + 16], xmm1", "movaps [{x} + 32], xmm2", "movaps [{x} + 48], xmm3",
                "movaps [{x} + 64], xmm4", "movaps [{x} + 80], xmm5", "movaps [{x} + 96], xmm6", "movaps [{x} + 112], xmm7",
                "movaps [{x} + 128], xmm8", "movaps [{x} + 144], xmm9", "movaps [{x} + 160], xmm10", "movaps [{x} + 176], xmm11",
                "movaps [{x} + 192], xmm12", "movaps [{x} + 208], xmm13", "movaps [{x} + 224], xmm14", "movaps [{x} + 240], xmm15",
                x = in(reg) &raw const spore_xmm, area = in(reg) self.bytes.as_ptr(),
                in("eax") mask as u32, in("edx") (mask >> 32) as u32,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
                out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
                options(nostack),
            );
        }
    }
    /// The bytes, to be put into a signal frame.
    pub fn bytes(&self) -> &[u8; AREA_SIZE] {
        &self.bytes
    }
    /// Takes bytes from a signal frame, which the application may have changed, and
    /// makes them valid for `load`: reserved bits cleared.
    pub fn set_bytes(&mut self, bytes: &[u8; AREA_SIZE], mask: u64) {
        self.bytes = *bytes;
        let mut mxcsr = u32::from_le_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]);
        mxcsr &= 0xffff;
        self.bytes[24..28].copy_from_slice(&mxcsr.to_le_bytes());
        let mut present = [0; 8];
        present.copy_from_slice(&bytes[512..520]);
        let present = u64::from_le_bytes(present) & mask;
        self.bytes[512..520].copy_from_slice(&present.to_le_bytes());
        self.bytes[520..576].fill(0);
    }
}

/// The mask to pass to `save` and `load`; computed once at boot (CPUID is slow).
pub fn supported() -> u64 {
    ExtendedState::mask()
}
