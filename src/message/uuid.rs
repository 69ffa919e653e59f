//! Random UUIDs (RFC 9562, version 4).

/// Returns the UUID made of 122 of these random bits.
#[must_use]
pub(crate) fn of_random(random: u128) -> String {
    let version = (random & !(0xf << 76)) | (4 << 76);
    let bits = (version & !(0b11 << 62)) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_variant_are_fixed() {
        assert_eq!(of_random(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(of_random(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
