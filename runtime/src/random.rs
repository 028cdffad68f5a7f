//! Randomness: seeded in the simulator, from the operating system elsewhere.

use crate::context;

/// A random number.
pub fn u64() -> u64 {
    match context::try_current() {
        Some(context) => context.body.random_u64(),
        None => crate::sim::random_u64().unwrap_or_else(os_u64),
    }
}

/// A random number in `0..n`, without bias.
///
/// # Panics
/// If `n` is 0.
pub fn below(n: u64) -> u64 {
    assert!(n > 0, "random::below(0) has no answer");
    // Multiply and shift; draws that would favour the low numbers are drawn again.
    loop {
        let product = u128::from(u64()) * u128::from(n);
        if (product as u64) >= n.wrapping_neg() % n {
            return (product >> 64) as u64;
        }
    }
}

/// Fills `bytes` with random bytes.
pub fn fill(bytes: &mut [u8]) {
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&u64().to_le_bytes()[..chunk.len()]);
    }
}

/// Eight bytes from the operating system.
#[cfg(target_os = "linux")]
pub(crate) fn os_u64() -> u64 {
    let mut bytes = [0u8; 8];
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        // SAFETY: `rest` is writable for `rest.len()` bytes.
        let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        if n > 0 {
            filled += n as usize;
        } else {
            let error = std::io::Error::last_os_error();
            assert!(
                error.kind() == std::io::ErrorKind::Interrupted,
                "getrandom failed: {error}"
            );
        }
    }
    u64::from_le_bytes(bytes)
}

/// Eight bytes from the operating system.
#[cfg(not(target_os = "linux"))]
pub(crate) fn os_u64() -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: `bytes` is writable for its length, which is below the 256 bytes that getentropy gives at most.
    let result = unsafe { libc::getentropy(bytes.as_mut_ptr().cast(), bytes.len()) };
    assert!(result == 0, "getentropy failed: {}", std::io::Error::last_os_error());
    u64::from_le_bytes(bytes)
}
