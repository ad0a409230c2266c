//! The scorer of the Numenta Anomaly Benchmark (Lavin and Ahmad, 2015, <https://arxiv.org/abs/1510.03336>).
#![expect(clippy::cast_precision_loss, reason = "numbers of rows and windows are small")]

/// What a profile charges for a false alarm and for a window without an alarm; a hit at the best place gives 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Profile {
    pub(crate) name: &'static str,
    pub(crate) false_alarm: f64,
    pub(crate) miss: f64,
}

pub(crate) const PROFILES: [Profile; 3] = [
    Profile { name: "standard", false_alarm: 0.11, miss: 1.0 },
    Profile { name: "reward_low_FP_rate", false_alarm: 0.22, miss: 1.0 },
    Profile { name: "reward_low_FN_rate", false_alarm: 0.11, miss: 2.0 },
];

/// One row after the probation: its score, its window among all windows if any, and what an alarm there is worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Row {
    pub(crate) score: f64,
    pub(crate) window: Option<usize>,
    pub(crate) worth: f64,
}

/// 1 far before the place 0, 0 there, -1 far after.
fn sigmoid(place: f64) -> f64 {
    if place > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * place).exp()) - 1.0 }
}

/// The first rows of a file, which no alarm counts in: 15 %, at most 750.
fn probation_rows(rows: usize) -> usize {
    rows.min(5_000) * 15 / 100
}

/// The rows of one file. `windows` are its first and last rows (included), in order; `first_window` is the number of
/// the first of them among the windows of all files.
pub(crate) fn rows_of(scores: &[f64], windows: &[(usize, usize)], first_window: usize) -> Vec<Row> {
    let row = |index: usize| {
        let at = windows.iter().position(|&(first, last)| (first..=last).contains(&index));
        if let Some(at) = at {
            let (first, last) = windows[at];
            let place = -((last - index + 1) as f64) / (last - first + 1) as f64;
            let worth = sigmoid(place) / sigmoid(-1.0);
            return Row { score: scores[index], window: Some(first_window + at), worth };
        }
        let before = windows.iter().rfind(|&&(_, last)| last < index);
        let worth = before
            .map_or(-1.0, |&(first, last)| sigmoid((index - last) as f64 / (last - first).max(1) as f64));
        Row { score: scores[index], window: None, worth }
    };
    (probation_rows(scores.len())..scores.len()).map(row).collect()
}

/// The best score over all thresholds, with its threshold: 0 is no alarm at all, 100 is every window hit at its start.
pub(crate) fn best(rows: &[Row], windows: usize, profile: Profile) -> (f64, f64) {
    let mut rows = rows.to_vec();
    rows.sort_by(|left, right| right.score.total_cmp(&left.score));
    let null = -profile.miss * windows as f64;
    let mut won = vec![-profile.miss; windows];
    let (mut total, mut best, mut threshold) = (null, null, f64::INFINITY);
    for alike in rows.chunk_by(|left, right| left.score.total_cmp(&right.score).is_eq()) {
        for row in alike {
            match row.window {
                Some(window) if row.worth > won[window] => {
                    total += row.worth - won[window];
                    won[window] = row.worth;
                }
                Some(_) => {}
                None => total += profile.false_alarm * row.worth,
            }
        }
        if total > best {
            (best, threshold) = (total, alike[0].score);
        }
    }
    (100.0 * (best - null) / (windows as f64 - null), threshold)
}

/// What alarms from the threshold on win over no alarm, where a window hit at its start gives `1 + miss`.
pub(crate) fn gain(rows: &[Row], windows: usize, threshold: f64, profile: Profile) -> f64 {
    let mut won = vec![-profile.miss; windows];
    let mut total = profile.miss * windows as f64;
    for row in rows.iter().filter(|row| row.score >= threshold) {
        match row.window {
            Some(window) => won[window] = won[window].max(row.worth),
            None => total += profile.false_alarm * row.worth,
        }
    }
    total + won.iter().sum::<f64>()
}
