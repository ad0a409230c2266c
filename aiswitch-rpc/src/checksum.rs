//! The checksum of a seal: CRC-32C (Castagnoli) as in RFC 3720, section B.4.

/// The sum over some bytes.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    #[cfg(feature = "crc32c")]
    return crc32c::crc32c(bytes);
    #[cfg(not(feature = "crc32c"))]
    by_tables(bytes)
}

/// Without instructions of the processor, sixteen bytes a step.
#[cfg(any(test, not(feature = "crc32c")))]
fn by_tables(bytes: &[u8]) -> u32 {
    let (steps, rest) = bytes.as_chunks::<16>();
    let mut crc = u32::MAX;
    for step in steps {
        let (words, _) = step.as_chunks::<4>();
        crc = fold(u32::from_le_bytes(words[0]) ^ crc, 12)
            ^ fold(u32::from_le_bytes(words[1]), 8)
            ^ fold(u32::from_le_bytes(words[2]), 4)
            ^ fold(u32::from_le_bytes(words[3]), 0);
    }
    for &byte in rest {
        crc = (crc >> 8) ^ TABLES[0][(crc.to_le_bytes()[0] ^ byte) as usize];
    }
    !crc
}

/// What four bytes with `behind` zero bytes behind them do to the sum.
#[cfg(any(test, not(feature = "crc32c")))]
#[inline]
fn fold(word: u32, behind: usize) -> u32 {
    let [first, second, third, fourth] = word.to_le_bytes();
    TABLES[behind + 3][first as usize]
        ^ TABLES[behind + 2][second as usize]
        ^ TABLES[behind + 1][third as usize]
        ^ TABLES[behind][fourth as usize]
}

/// `TABLES[n][b]`: what the byte `b` with `n` zero bytes behind it does to the sum.
#[cfg(any(test, not(feature = "crc32c")))]
static TABLES: [[u32; 256]; 16] = tables();

#[cfg(any(test, not(feature = "crc32c")))]
const fn tables() -> [[u32; 256]; 16] {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut tables = [[0; 256]; 16];
    let mut byte: u32 = 0;
    while byte < 256 {
        let mut crc = byte;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte as usize] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 16 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_is_that_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn the_sum_of_every_length_is_that_of_the_definition() {
        let bytes: Vec<u8> = (0..1000_u32).map(|number| (number * number % 251).to_le_bytes()[0]).collect();
        for length in 0..bytes.len() {
            let by_bits = bytes[..length].iter().fold(u32::MAX, |crc, &byte| {
                (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
            });
            assert_eq!(crc32c(&bytes[..length]), !by_bits, "{length}");
            assert_eq!(by_tables(&bytes[..length]), !by_bits, "{length}");
        }
    }
}
