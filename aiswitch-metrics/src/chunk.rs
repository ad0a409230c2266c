//! The written form of a row: buckets of one source that lie close together in time.
//!
//! A row of one bucket is what [`pack`](crate::packed::pack) made of it, as all rows once were. A row of several begins with
//! two zeros, as no bucket does; then come, for each, the milliseconds from the start of the one before (of the first: 0), how
//! many bytes it has, and these. Whole numbers are LEB128.

use aiswitch_lock::database::{put_varint, take_varint};

/// A bucket begins with the number of a metric and how many figures of it there were, of which there is one at least.
const SEVERAL: [u8; 2] = [0, 0];

/// How many bytes a row of several buckets has at most: with its key it stays below 1,002, beyond which SQLite puts a row of
/// an index on pages of its own (<https://www.sqlite.org/fileformat2.html#b_tree_pages>, of pages of 4,096 bytes).
const ROW_BYTES_MAX: usize = 980;

/// A packed bucket, or a row, with its start.
pub(crate) type Started = (i64, Vec<u8>);

/// The rows of buckets, which are in the order of time; the start of a row is that of its first bucket.
pub(crate) fn join(buckets: &[Started]) -> Vec<Started> {
    let mut rows = Vec::new();
    let mut rest = buckets;
    while let [(row_start, first), ..] = rest {
        let mut row = Vec::with_capacity(ROW_BYTES_MAX);
        row.extend(SEVERAL);
        let (mut before, mut joined) = (*row_start, 0);
        for (start, bucket) in rest {
            let end = row.len();
            put_varint(&mut row, start.abs_diff(before));
            put_varint(&mut row, bucket.len() as u64);
            row.extend_from_slice(bucket);
            if joined > 0 && row.len() > ROW_BYTES_MAX {
                row.truncate(end);
                break;
            }
            (before, joined) = (*start, joined + 1);
        }
        rows.push((*row_start, if joined == 1 { first.clone() } else { row }));
        rest = &rest[joined..];
    }
    rows
}

/// Hands out the buckets of a row with their starts, in the order of time; `None` if it is damaged.
pub(crate) fn split<'a>(row: &'a [u8], row_start: i64, mut each: impl FnMut(i64, &'a [u8])) -> Option<()> {
    let Some(mut rest) = row.strip_prefix(&SEVERAL) else {
        each(row_start, row);
        return Some(());
    };
    let mut before = None;
    while !rest.is_empty() {
        let start = before.unwrap_or(row_start).checked_add_unsigned(take_varint(&mut rest)?)?;
        if before.replace(start) == Some(start) {
            return None;
        }
        let bytes = usize::try_from(take_varint(&mut rest)?).ok()?;
        let (bucket, after) = rest.split_at_checked(bytes)?;
        each(start, bucket);
        rest = after;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn buckets_that_are_joined_are_split_as_they_were(
            given in btree_map(-1_000_000..1_000_000_i64, vec(1..=u8::MAX, 1..400), 0..12),
        ) {
            let buckets: Vec<Started> = given.into_iter().collect();
            let mut found = Vec::new();
            let rows = join(&buckets);
            for (start, row) in &rows {
                let first = found.len();
                prop_assert!(split(row, *start, |start, bucket| found.push((start, bucket.to_vec()))).is_some());
                prop_assert_eq!(found[first].0, *start);
                prop_assert!(row.len() <= ROW_BYTES_MAX || found.len() == first + 1);
            }
            prop_assert_eq!(found, buckets);
        }

        #[test]
        fn bytes_of_any_kind_are_buckets_in_the_order_of_time_or_damaged(
            begins in any::<bool>(), row in vec(any::<u8>(), 0..200), row_start in any::<i64>(),
        ) {
            let row = if begins { [&SEVERAL, &row[..]].concat() } else { row };
            let mut starts = Vec::new();
            let whole = split(&row, row_start, |start, _| starts.push(start));
            prop_assert!(starts.is_sorted_by(|before, after| before < after));
            prop_assert!(starts.first().is_none_or(|first| *first >= row_start));
            prop_assert!(whole.is_some() || row.starts_with(&SEVERAL));
        }
    }

    #[test]
    fn a_row_of_one_bucket_is_the_bucket() {
        let bucket = (5, vec![7; 2_000]);
        assert_eq!(join(std::slice::from_ref(&bucket)), [bucket]);
        assert_eq!(join(&[]), []);
    }
}
