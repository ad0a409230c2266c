//! The anomaly detector on the Numenta Anomaly Benchmark, and its scorer on a case computed by hand.
#![expect(clippy::cast_precision_loss, reason = "numbers of rows and windows are small")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::read_to_string;
use std::path::Path;
use std::time::{Duration, Instant};

use aiswitch_metrics::AnomalyDetector;
use chrono::{DateTime, NaiveDateTime, Utc};

use crate::nab_scorer::{PROFILES, Row, best, gain, rows_of};

fn time(text: &str) -> DateTime<Utc> {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f")
        .expect("a timestamp of the benchmark")
        .and_utc()
}

/// One file: its group, its rows, and how long the detector took.
struct Scored {
    group: String,
    rows: Vec<Row>,
    samples: usize,
    took: Duration,
}

fn score(folder: &Path, name: &str, labels: &[(String, String)], first_window: usize) -> Scored {
    let text = read_to_string(folder.join("data").join(name)).expect("a file of the benchmark");
    let series: Vec<(DateTime<Utc>, f64)> = text
        .lines()
        .skip(1)
        .map(|line| line.split_once(',').expect("two fields"))
        .map(|(at, value)| (time(at), value.trim().parse().expect("a number")))
        .collect();
    let began = Instant::now();
    let mut detector = AnomalyDetector::new();
    let scores: Vec<f64> =
        series.iter().map(|&(at, value)| detector.push(at, value).score().unwrap_or(0.0)).collect();
    let took = began.elapsed();
    assert_eq!((detector.rejected(), detector.seen()), (0, series.len() as u64), "{name}");
    assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)), "{name}");
    let row_of = |text: &str, last: bool| {
        let at = time(text);
        let row = if last {
            series.iter().rposition(|row| row.0 <= at)
        } else {
            series.iter().position(|row| row.0 >= at)
        };
        row.expect("a window within its file")
    };
    let windows: Vec<_> = labels.iter().map(|(from, to)| (row_of(from, false), row_of(to, true))).collect();
    let group = name.split('/').next().expect("a group").to_owned();
    let rows = rows_of(&scores, &windows, first_window);
    Scored { group, rows, samples: series.len(), took }
}

#[test]
fn the_score_on_the_benchmark_is_at_least_that_of_random_cut_forest() {
    let Some(folder) = std::env::var_os("AISWITCH_NAB") else {
        println!("skipped: AISWITCH_NAB names no folder with the data and labels of the benchmark");
        return;
    };
    let folder = Path::new(&folder);
    let labels = read_to_string(folder.join("labels/combined_windows.json")).expect("the labels");
    let labels: BTreeMap<String, Vec<(String, String)>> = serde_json::from_str(&labels).expect("labels");
    let mut files: Vec<Scored> = Vec::new();
    let mut windows = 0;
    for (name, labels) in labels.iter().filter(|(name, _)| folder.join("data").join(name).is_file()) {
        files.push(score(folder, name, labels, windows));
        windows += labels.len();
    }
    assert!(windows > 0, "no file of the labels is below `{}`", folder.display());
    let rows: Vec<Row> = files.iter().flat_map(|file| file.rows.iter().copied()).collect();
    let reached = PROFILES.map(|profile| best(&rows, windows, profile));
    for (profile, (reached, threshold)) in PROFILES.iter().zip(reached) {
        println!("{:20} {reached:.1} at threshold {threshold:.4}", profile.name);
    }
    println!("{:20} {:.1}", "standard, each group at the threshold of the others", held_out(&files, windows));
    let samples: usize = files.iter().map(|file| file.samples).sum();
    let took: Duration = files.iter().map(|file| file.took).sum();
    println!(
        "{} files, {samples} samples, {:.3} us a sample",
        files.len(),
        took.as_secs_f64() * 1e6 / samples as f64
    );
    assert!(reached[0].0 >= 51.7, "standard profile: {:.1}", reached[0].0);
}

/// The standard score when each group is judged by the threshold that is best for the other groups.
fn held_out(files: &[Scored], windows: usize) -> f64 {
    let standard = PROFILES[0];
    let rows_where = |wanted: &dyn Fn(&str) -> bool| -> Vec<Row> {
        let chosen = files.iter().filter(|file| wanted(&file.group));
        chosen.flat_map(|file| file.rows.iter().copied()).collect()
    };
    let groups: BTreeSet<&str> = files.iter().map(|file| file.group.as_str()).collect();
    let won = groups.iter().map(|group| {
        let (_, threshold) = best(&rows_where(&|other| other != *group), windows, standard);
        gain(&rows_where(&|own| own == *group), windows, threshold, standard)
    });
    100.0 * won.sum::<f64>() / ((1.0 + standard.miss) * windows as f64)
}

#[test]
fn the_scorer_gives_what_the_paper_s_formula_gives_by_hand() {
    // 20 rows, 3 of them probation; a window of 4 rows (6 to 9); alarms at row 4, 8 and 12.
    let mut scores = [0.0; 20];
    (scores[0], scores[4], scores[8], scores[12]) = (1.0, 0.9, 0.9, 0.9);
    let rows = rows_of(&scores, &[(6, 9)], 0);
    assert_eq!(rows.len(), 17, "the first 15 % do not count");
    // Row 8 stands at -(9 - 8 + 1) / 4 = -0.5: (2 / (1 + e^-2.5) - 1) / (2 / (1 + e^-5) - 1) = 0.848284 / 0.986614.
    // Row 4 comes before any window: -1. Row 12 stands at (12 - 9) / (9 - 6) = 1: 2 / (1 + e^5) - 1 = -0.986614.
    // Standard: 0.859793 - 0.11 * 1.986614 = 0.641265; between -1 and 1 that is 82.063 of 100.
    // Low false alarms: 0.859793 - 0.22 * 1.986614 = 0.422738: 71.137. Low misses: (0.641265 + 2) / 3: 88.042.
    for (profile, wanted) in PROFILES.into_iter().zip([82.063, 71.137, 88.042]) {
        let (reached, threshold) = best(&rows, 1, profile);
        assert!((reached - wanted).abs() < 0.001, "{}: {reached}", profile.name);
        assert!((threshold - 0.9).abs() < f64::EPSILON, "{}: {threshold}", profile.name);
    }
    // Within 3 window widths the worth has reached -1; a hit at the window's first row gives all.
    assert!((rows[16].worth + 1.0).abs() < 1e-6, "{:?}", rows[16]);
    let first = rows_of(&[0.0, 0.0, 1.0, 0.0], &[(2, 3)], 0);
    assert_eq!(best(&first, 1, PROFILES[0]), (100.0, 1.0));
    // The null detector: no alarm is better than only false ones.
    assert_eq!(best(&rows_of(&[1.0, 0.0], &[], 0), 1, PROFILES[0]), (0.0, f64::INFINITY));
}
