//! Random bytes: ChaCha20 with fast key erasure, seeded by the monitor.
//! (RFC 8439 for the block function; after every request the key is replaced by
//! output that was never handed out.)

use spore_hal::Lock;

struct Generator {
    key: [u32; 8],
}

static GENERATOR: Lock<Generator> = Lock::new(Generator { key: [0; 8] });

/// Sets the key; called at boot, before the first instruction of the program.
pub fn seed(seed: &[u8; 32]) {
    let mut generator = GENERATOR.lock();
    for (word, bytes) in generator.key.iter_mut().zip(seed.chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
}

/// Mixes new randomness in: what was handed out before the machine was copied says
/// nothing about what comes now, whoever knows either of the two.
pub fn mix(seed: &[u8; 32]) {
    let mut generator = GENERATOR.lock();
    for (word, bytes) in generator.key.iter_mut().zip(seed.chunks_exact(4)) {
        *word ^= u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
}

fn quarter(state: &mut [u32; 16], a: usize, b: usize, c: usize, d: usize) {
    state[a] = state[a].wrapping_add(state[b]);
    state[d] = (state[d] ^ state[a]).rotate_left(16);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_left(12);
    state[a] = state[a].wrapping_add(state[b]);
    state[d] = (state[d] ^ state[a]).rotate_left(8);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_left(7);
}

fn block(key: &[u32; 8], counter: u32, nonce: [u32; 3]) -> [u8; 64] {
    let mut input = [
        0x6170_7865,
        0x3320_646e,
        0x7962_2d32,
        0x6b20_6574,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        counter,
        nonce[0],
        nonce[1],
        nonce[2],
    ];
    input[4..12].copy_from_slice(key);
    let mut state = input;
    for _ in 0..10 {
        quarter(&mut state, 0, 4, 8, 12);
        quarter(&mut state, 1, 5, 9, 13);
        quarter(&mut state, 2, 6, 10, 14);
        quarter(&mut state, 3, 7, 11, 15);
        quarter(&mut state, 0, 5, 10, 15);
        quarter(&mut state, 1, 6, 11, 12);
        quarter(&mut state, 2, 7, 8, 13);
        quarter(&mut state, 3, 4, 9, 14);
    }
    let mut bytes = [0; 64];
    for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
        chunk.copy_from_slice(&state[index].wrapping_add(input[index]).to_le_bytes());
    }
    bytes
}

/// Fills `buffer` with random bytes.
pub fn fill(buffer: &mut [u8]) {
    let mut generator = GENERATOR.lock();
    let first = block(&generator.key, 0, [0; 3]);
    let mut next_key = [0; 8];
    for (word, bytes) in next_key.iter_mut().zip(first.chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    let key = core::mem::replace(&mut generator.key, next_key);
    // The second half of the first block is output, then further blocks.
    let (head, tail) = buffer.split_at_mut(buffer.len().min(32));
    head.copy_from_slice(&first[32..32 + head.len()]);
    for (counter, chunk) in (1u32..).zip(tail.chunks_mut(64)) {
        chunk.copy_from_slice(&block(&key, counter, [0; 3])[..chunk.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_function_gives_the_vector_of_rfc_8439() {
        let mut key = [0u32; 8];
        for (index, word) in key.iter_mut().enumerate() {
            let first = 4 * index as u8;
            *word = u32::from_le_bytes([first, first + 1, first + 2, first + 3]);
        }
        let bytes = block(&key, 1, [0x0900_0000, 0x4a00_0000, 0]);
        assert_eq!(bytes[..8], [0x10, 0xf1, 0xe7, 0xe4, 0xd1, 0x3b, 0x59, 0x15]);
        assert_eq!(bytes[60..], [0xa2, 0x50, 0x3c, 0x4e]);
    }

    #[test]
    fn two_requests_differ() {
        let (mut a, mut b) = ([0; 100], [0; 100]);
        fill(&mut a);
        fill(&mut b);
        assert_ne!(a, b);
    }
}
