//! Whole numbers as they stand in the bytes of a column: small ones in few bytes.

/// Adds a number to bytes as LEB128 writes it: seven bits a byte, the lowest first.
#[inline]
pub fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

/// Takes a number that [`put_varint`] wrote off the front; `None` if they end within it, or it is beyond 64 bits.
///
/// ```
/// use aiswitch_lock::database::{put_varint, take_varint};
///
/// let mut bytes = Vec::new();
/// put_varint(&mut bytes, 300);
/// assert_eq!(bytes, [0xAC, 0x02]);
/// let mut rest = &bytes[..];
/// assert_eq!((take_varint(&mut rest), rest.len()), (Some(300), 0));
/// assert_eq!(take_varint(&mut rest), None);
/// ```
#[expect(
    clippy::inline_always,
    reason = "reports read millions of numbers, whose place then stays in registers"
)]
#[inline(always)]
pub fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    // Up to eight bytes are looked at as one word, without a branch for each: reports read millions of numbers.
    if let Some(word) = rest.first_chunk().map(|word| u64::from_le_bytes(*word)) {
        let bytes = ((!word & 0x8080_8080_8080_8080).trailing_zeros() + 1).div_ceil(8);
        if bytes <= 8 {
            *rest = &rest[bytes as usize..];
            let ones = word & (u64::MAX >> (64 - 8 * bytes));
            let twos = ones & 0x007F_007F_007F_007F | (ones & 0x7F00_7F00_7F00_7F00) >> 1;
            let fours = twos & 0x0000_3FFF_0000_3FFF | (twos & 0x3FFF_0000_3FFF_0000) >> 2;
            return Some(fours & 0x0FFF_FFFF | (fours & 0x0FFF_FFFF_0000_0000) >> 4);
        }
    }
    take_byte_by_byte(rest)
}

#[cold]
fn take_byte_by_byte(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for place in 0..10_u32 {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7F);
        if place == 9 && bits > 1 {
            return None;
        }
        number |= bits << (7 * place);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_of_all_lengths_are_taken_as_they_were_put(numbers in prop::collection::vec((any::<u64>(), 0..64_u32), 0..20)) {
            let numbers: Vec<u64> = numbers.into_iter().map(|(number, less)| number >> less).collect();
            let mut bytes = Vec::new();
            for number in &numbers {
                put_varint(&mut bytes, *number);
            }
            let mut rest = &bytes[..];
            let taken: Vec<u64> = std::iter::from_fn(|| take_varint(&mut rest)).collect();
            prop_assert_eq!(taken, numbers);
            prop_assert_eq!(rest, [0_u8; 0]);
        }

        #[test]
        fn bytes_of_any_kind_are_told_alike_by_words_and_byte_by_byte(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let (mut words, mut single) = (&bytes[..], &bytes[..]);
            loop {
                let taken = take_varint(&mut words);
                prop_assert_eq!(taken, take_byte_by_byte(&mut single));
                prop_assert_eq!(words, single);
                if taken.is_none() {
                    break;
                }
            }
        }
    }
}
