//! The written form of a bucket: some ten to twenty bytes a metric.
//!
//! Each summary is: the metric's number; how many figures, times four, plus 2 if sizes follow, plus 1 if all figures are the
//! same; the milliseconds to the newest from that of the metric before, or from the start of the bucket; the newest figure;
//! and, if not all are the same, the smallest, the largest and the sum. Whole numbers are LEB128, zigzag where they have a
//! sign. A figure that is a whole number of thousandths is told by its distance to the newest (the sum: to as many times the
//! newest), doubled; any other by a 1 and its eight bytes.

use aiswitch_lock::database::{put_varint, take_varint};

use crate::summary::{Bucket, Summary};

/// Thousandths beyond this are not told exactly by a figure.
const WHOLE_MAX: u64 = 1 << 53;

/// As many metrics as a source usually has.
const METRICS_USUAL: usize = 12;

pub(crate) fn pack(bucket: &Bucket, start_ms: i64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(bucket.summaries().len() * 12);
    let mut before_ms = start_ms;
    for (number, summary) in bucket.summaries() {
        let near = thousandths(summary.last);
        let sum_near = times(near, summary.n);
        let is_flat = [summary.min, summary.max].map(f64::to_bits) == [summary.last.to_bits(); 2]
            && sum_near.is_some_and(|near| of_thousandths(near).to_bits() == summary.sum.to_bits());
        put_varint(&mut bytes, u64::from(*number));
        put_varint(
            &mut bytes,
            summary.n << 2 | u64::from(!summary.sizes.is_empty()) << 1 | u64::from(is_flat),
        );
        put_varint(&mut bytes, zigzag(summary.last_ms - before_ms));
        before_ms = summary.last_ms;
        put_figure(&mut bytes, summary.last, near);
        if !is_flat {
            for (figure, near) in [(summary.min, near), (summary.max, near), (summary.sum, sum_near)] {
                put_figure(&mut bytes, figure, distance(figure, near));
            }
        }
        if !summary.sizes.is_empty() {
            put_varint(&mut bytes, summary.sizes.len() as u64);
            let mut before = 0;
            for (size, count) in &summary.sizes {
                put_varint(&mut bytes, size - before);
                put_varint(&mut bytes, *count);
                before = *size;
            }
        }
    }
    bytes
}

/// The bucket that was packed; `None` if it is damaged.
pub(crate) fn unpack(bytes: &[u8], start_ms: i64) -> Option<Bucket> {
    let mut summaries = Vec::with_capacity(METRICS_USUAL);
    unpack_each(bytes, start_ms, None, |number, summary| summaries.push((number, summary.clone())))?;
    Some(Bucket::in_order(summaries))
}

/// Hands out the summaries that were packed, of all metrics or of one; `None` if they are damaged.
pub(crate) fn unpack_each(
    bytes: &[u8],
    start_ms: i64,
    wanted: Option<u32>,
    mut each: impl FnMut(u32, &Summary),
) -> Option<()> {
    let mut rest = bytes;
    let (mut last_ms, mut number_min) = (start_ms, 0);
    // One for all of them: only response times need memory of their own.
    let mut summary = Summary::of(0.0, 0);
    while !rest.is_empty() {
        let number = u32::try_from(take_short(&mut rest)?).ok().filter(|number| *number >= number_min)?;
        number_min = number.checked_add(1)?;
        let count = take_varint(&mut rest)?;
        let (n, has_sizes, is_flat) = (count >> 2, count & 2 != 0, count & 1 != 0);
        last_ms = last_ms.checked_add(unzigzag(take_short(&mut rest)?))?;
        match wanted {
            // They stand in the order of their numbers.
            Some(wanted) if number > wanted => break,
            Some(wanted) if number < wanted => {
                pass_over(&mut rest, is_flat, has_sizes)?;
                continue;
            }
            _ => {}
        }
        let (last, near) = take_figure(&mut rest, Some(0))?;
        (summary.n, summary.last, summary.last_ms) = ((n > 0).then_some(n)?, last, last_ms);
        if is_flat {
            (summary.min, summary.max) = (last, last);
            summary.sum = of_thousandths(times(near, n)?);
        } else {
            summary.min = take_figure(&mut rest, near)?.0;
            summary.max = take_figure(&mut rest, near)?.0;
            summary.sum = take_figure(&mut rest, times(near, n))?.0;
        }
        summary.sizes.clear();
        if has_sizes {
            let mut size = 0_u64;
            let sizes = take_varint(&mut rest)?;
            // Each takes two bytes at least.
            summary.sizes.reserve(usize::try_from(sizes).ok().filter(|sizes| *sizes <= rest.len() / 2)?);
            for _ in 0..sizes {
                size = size.checked_add(take_varint(&mut rest)?)?;
                summary.sizes.push((size, take_varint(&mut rest)?));
            }
        }
        each(number, &summary);
    }
    Some(())
}

/// Passes over the figures of a metric that is not wanted.
fn pass_over(rest: &mut &[u8], is_flat: bool, has_sizes: bool) -> Option<()> {
    for _ in 0..if is_flat { 1 } else { 4 } {
        if take_varint(rest)? == 1 {
            *rest = rest.get(size_of::<f64>()..)?;
        }
    }
    let sizes = if has_sizes { take_varint(rest)? } else { 0 };
    for _ in 0..sizes {
        take_varint(rest)?;
        take_varint(rest)?;
    }
    Some(())
}

/// A figure in thousandths, if it is a whole number of them.
fn thousandths(figure: f64) -> Option<i64> {
    let whole = (figure * 1_000.0).round();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "what is cut is not told by it, as the next line finds"
    )]
    let told = whole as i64;
    // By its bits, as `-0.0` is none of them.
    let is_told = told.unsigned_abs() < WHOLE_MAX && of_thousandths(told).to_bits() == figure.to_bits();
    is_told.then_some(told)
}

#[expect(clippy::cast_precision_loss, reason = "thousandths that are told are below `WHOLE_MAX`")]
fn of_thousandths(told: i64) -> f64 {
    told as f64 / 1_000.0
}

/// What a sum of `n` figures is told by: as many times the newest, where that is told exactly.
fn times(near: Option<i64>, n: u64) -> Option<i64> {
    let times = near?.checked_mul(i64::try_from(n).ok()?)?;
    (times.unsigned_abs() < WHOLE_MAX).then_some(times)
}

/// How many thousandths a figure is from another, where it is told by them.
fn distance(figure: f64, near: Option<i64>) -> Option<i64> {
    thousandths(figure)?.checked_sub(near?)
}

fn put_figure(bytes: &mut Vec<u8>, figure: f64, distance: Option<i64>) {
    // Doubled below, which must fit.
    if let Some(distance) = distance.filter(|distance| distance.unsigned_abs() < 1 << 61) {
        put_varint(bytes, zigzag(distance) << 1);
    } else {
        put_varint(bytes, 1);
        bytes.extend_from_slice(&figure.to_le_bytes());
    }
}

/// A number that is mostly of one byte.
#[inline]
fn take_short(rest: &mut &[u8]) -> Option<u64> {
    match rest.split_first() {
        Some((byte, after)) if *byte < 0x80 => {
            *rest = after;
            Some(u64::from(*byte))
        }
        _ => take_varint(rest),
    }
}

/// A figure, and its thousandths if it is told by them.
#[expect(
    clippy::inline_always,
    reason = "reports read a million figures, whose place then stays in registers"
)]
#[inline(always)]
fn take_figure(rest: &mut &[u8], near: Option<i64>) -> Option<(f64, Option<i64>)> {
    let told = take_varint(rest)?;
    if told == 1 {
        let (eight, after) = rest.split_first_chunk::<8>()?;
        *rest = after;
        return Some((f64::from_le_bytes(*eight), None));
    }
    let whole = near?.checked_add(unzigzag(told >> 1)).filter(|_| told & 1 == 0)?;
    Some((of_thousandths(whole), Some(whole)))
}

fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use thin_vec::{ThinVec, thin_vec};

    use super::*;

    fn figures() -> impl Strategy<Value = f64> {
        prop_oneof![
            (-1e6..1e12).prop_map(f64::round),
            (0..100_000_u32).prop_map(|hundredths| f64::from(hundredths) / 100.0),
            -1e150..1e150,
            Just(-0.0),
        ]
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked_to_the_bit(
            given in proptest::collection::btree_map(0..2_000_u32, (figures(), figures(), 1..5_u64, 0..3_600_000_i64), 0..12),
            sizes in proptest::collection::btree_map(0..1_000_000_000_000_u64, 1..9_u64, 0..9),
        ) {
            let summaries = given.into_iter().map(|(number, (first, second, n, after))| {
                let mut summary = Summary::of(first, 1_000 + after);
                for _ in 1..n {
                    summary.merge(&Summary::of(second, 1_000 + after / 2));
                }
                summary.sizes = sizes.iter().map(|(size, count)| (*size, *count)).collect();
                (number, summary)
            });
            let bucket = Bucket::of(summaries.collect());
            let unpacked = unpack(&pack(&bucket, 1_000), 1_000).expect("it is whole");
            prop_assert_eq!(format!("{unpacked:?}"), format!("{bucket:?}"));
        }

        #[test]
        fn one_metric_is_told_as_among_all(
            given in proptest::collection::btree_map(0..9_u32, (figures(), figures(), 1..5_u64, any::<bool>()), 0..9),
            wanted in 0..9_u32,
        ) {
            let summaries = given.into_iter().map(|(number, (first, second, n, has_sizes))| {
                let mut summary = Summary::of(first, 1_000);
                for _ in 1..n {
                    summary.merge(&Summary::of(second, 1_000));
                }
                summary.sizes = if has_sizes { thin_vec![(5, n), (1_000, 1)] } else { ThinVec::new() };
                (number, summary)
            });
            let bucket = Bucket::of(summaries.collect());
            let expected = bucket.summaries().iter().find(|(number, _)| *number == wanted);
            let mut found = None;
            let told = unpack_each(&pack(&bucket, 1_000), 1_000, Some(wanted), |number, summary| {
                found = Some((number, summary.clone()));
            });
            prop_assert_eq!((told, format!("{found:?}")), (Some(()), format!("{:?}", expected.cloned())));
        }

        #[test]
        fn bytes_of_any_kind_are_a_bucket_or_damaged(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(unpack(&bytes, 0));
        }
    }

    #[test]
    fn a_count_that_stays_0_takes_four_bytes_a_minute_and_six_an_hour() {
        let bucket = Bucket::of(vec![(4, Summary::of(0.0, 0))]);
        assert_eq!(pack(&bucket, 0).len(), 4);
        let hour = (0..360).fold(bucket, |mut hour, tick| {
            hour.merge(Bucket::of(vec![(4, Summary::of(0.0, tick))]));
            hour
        });
        assert_eq!(pack(&hour, 0).len(), 6);
    }
}
