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
#[inline]
pub fn take_varint(rest: &mut &[u8]) -> Option<u64> {
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
