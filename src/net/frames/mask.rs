//! Masking (RFC 6455, section 5.3).

use std::cell::RefCell;

/// Keys are drawn from the system this many bytes at a time.
const POOL: usize = 1024;

struct Pool {
    bytes: [u8; POOL],
    used: usize,
}

thread_local! {
    static POOL_OF_KEYS: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL], used: POOL }) };
}

/// Returns a masking key that a peer cannot predict (section 10.3), from the system's random numbers.
///
/// # Panics
/// When the system has no random numbers to give.
pub(crate) fn fresh_key() -> [u8; 4] {
    POOL_OF_KEYS.with_borrow_mut(|pool| {
        if pool.used == POOL {
            getrandom::fill(&mut pool.bytes).expect("the system gives random numbers");
            pool.used = 0;
        }
        let mut key = [0; 4];
        key.copy_from_slice(&pool.bytes[pool.used..pool.used + 4]);
        pool.used += 4;
        key
    })
}

/// Masks or unmasks `bytes`, which begin `offset` bytes into the payload.
pub(crate) fn mask(bytes: &mut [u8], key: [u8; 4], offset: usize) {
    let at = |index: usize| key[(offset + index) & 3];
    let key = [at(0), at(1), at(2), at(3)];
    let word = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let (words, rest) = bytes.as_chunks_mut();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}
