//! The known name that a mistyped one probably means.

/// The known name that a mistyped one probably means; at most a third of its letters differ.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let differences_max = name.chars().count().div_ceil(3);
    known
        .into_iter()
        .map(|known| (distance(name, known), known))
        .filter(|(differences, _)| *differences <= differences_max)
        .min_by_key(|(differences, _)| *differences)
        .map(|(_, known)| known)
}

/// The optimal string alignment distance.
///
/// That is how many letters must be put in, left out, changed or swapped with their neighbour to get from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_finds_the_one_that_is_meant() {
        let known = ["claude", "codex", "gemini", "opencode", "qwen"];
        let found = ["cluade", "codx", "Gemini", "claude-code", "zzz", ""].map(|name| nearest(name, known));
        assert_eq!(found, [Some("claude"), Some("codex"), Some("gemini"), None, None, None]);
    }
}
