//! CRC32C (Castagnoli), the one checksum of the format. Which crate computes it is decided here.
//!
//! `crc32c` against `crc-fast` 1.10, on a Zen core without AVX-512, other work beside it: 22–23
//! against 17 GB/s at 1 MiB, 65–69 against 89–128 ns at 1000 bytes, 20 against 10–16 ns at 100. Large
//! batches decide throughput, so it is `crc32c`. With AVX-512 the comparison is worth repeating.

/// CRC32C of `bytes`.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    ::crc32c::crc32c(bytes)
}

/// CRC32C of everything that `crc` covers, followed by `bytes`.
#[inline]
pub fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    ::crc32c::crc32c_append(crc, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_check_value_of_the_castagnoli_polynomial() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        // RFC 3720, B.4
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn appending_equals_one_pass_over_the_whole() {
        let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
        for cut in [0, 1, 7, 8, 63, 64, 255, 256, 1023, 1024, 4999, 5000] {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(crc32c_append(crc32c(head), tail), crc32c(&bytes), "cut at {cut}");
        }
    }
}
