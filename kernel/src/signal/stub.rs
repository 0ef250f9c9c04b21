//! Code that the image builder moved away to make room for a jump into the kernel.
//!
//! A program may ask in a handler where it was interrupted: the C library of musl
//! cancels a thread if that is between the begin of a system call's function and the
//! call itself. In a stub, between the moved instructions and the jump, it would not
//! know. So a signal waits there: the call is some nanoseconds away, and it sees
//! signals before it blocks.

use spore_abi::layout::FAST_ENTRY_VA;

use crate::mm::user::{self, UserAddr};

/// No stub has more code before its jump: four instructions and `lea rcx`.
const LONGEST: usize = 4 * 15 + 7;
/// Length of `jmp rel32`.
const JUMP: usize = 5;
/// Length of `lea rcx, [rip + rel32]`.
const LEA: usize = 7;
/// movabs r11, FAST_ENTRY_VA; jmp r11: where all stubs of a file go.
const SHARED: usize = 13;

/// Whether the instruction at `rip` stands in a stub, on the way to the call.
pub fn is_before_call(rip: u64) -> bool {
    let mut code = [0; JUMP + LONGEST + JUMP];
    let start = UserAddr::new(rip.wrapping_sub(JUMP as u64));
    // Stubs end with their page's file, not with their last byte.
    user::read_bytes(start, &mut code).is_ok() && leads_to_call(&code, rip, is_shared)
}

/// `code` begins one jump before `rip`.
fn leads_to_call(code: &[u8], rip: u64, is_shared: impl Fn(u64) -> bool) -> bool {
    let jumps = |at: usize| {
        let end = rip
            .wrapping_sub(JUMP as u64)
            .wrapping_add((at + JUMP) as u64);
        match code.get(at..at + JUMP) {
            Some(&[0xe9, a, b, c, d]) => {
                let distance = i64::from(i32::from_le_bytes([a, b, c, d]));
                is_shared(end.wrapping_add_signed(distance))
            }
            _ => false,
        }
    };
    // Where a call returns to, moved instructions may follow.
    if jumps(0) {
        return false;
    }
    (JUMP..=JUMP + LONGEST - LEA)
        .any(|at| code.get(at..at + 3) == Some(&[0x48, 0x8d, 0x0d]) && jumps(at + LEA))
}

fn is_shared(target: u64) -> bool {
    let mut code = [0; SHARED];
    user::read_bytes(UserAddr::new(target), &mut code).is_ok() && code == shared_code()
}

fn shared_code() -> [u8; SHARED] {
    let mut code = [0x49, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0x41, 0xff, 0xe3];
    code[2..10].copy_from_slice(&FAST_ENTRY_VA.to_le_bytes());
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    /// mov eax, 39; lea rcx, [rip + ...]; jmp 0x9000; nop (moved); jmp elsewhere.
    fn stub(at: u64) -> ([u8; JUMP + LONGEST + JUMP], [u64; 4]) {
        let mut code = [0xcc; JUMP + LONGEST + JUMP];
        let mut put = |from: usize, bytes: &[u8]| {
            code[JUMP + from..JUMP + from + bytes.len()].copy_from_slice(bytes);
        };
        put(0, &[0xb8, 39, 0, 0, 0]);
        put(5, &[0x48, 0x8d, 0x0d, 5, 0, 0, 0]);
        let distance = (0x9000_i64 - (at as i64 + 17)) as i32;
        put(12, &[0xe9]);
        put(13, &distance.to_le_bytes());
        put(17, &[0x90, 0xe9, 1, 2, 3, 0]);
        (code, [at, at + 5, at + 17, at + 18])
    }

    #[test]
    fn a_signal_waits_from_the_first_moved_instruction_to_the_jump() {
        let (code, [start, lea, back, _]) = stub(0x8000);
        let is_shared = |target| target == 0x9000;
        let from = |rip: u64| {
            let skip = (rip - start) as usize;
            leads_to_call(&code[skip..], rip, is_shared)
        };
        assert!(from(start) && from(lea));
        assert!(!from(back));
        assert!(!leads_to_call(&code, start, |_| false));
    }

    #[test]
    fn the_shared_code_is_what_the_builder_writes() {
        assert_eq!(
            shared_code(),
            [
                0x49, 0xbb, 0x00, 0x01, 0x20, 0x00, 0x80, 0x7f, 0, 0, 0x41, 0xff, 0xe3
            ]
        );
    }
}
