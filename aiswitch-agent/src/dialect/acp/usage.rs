//! The tokens that agents tell over the Agent Client Protocol, in the words of the report.

use aiswitch_rpc::protocol::TokenUsage;
use serde_json::Value;

/// The tokens of a `usage` object; `None` when there is none, or when nothing was counted.
///
/// Agents disagree on whether the cached part is in `inputTokens` (Qwen Code) or beside it (opencode), and on whether
/// thoughts are in `outputTokens` (Qwen Code) or beside it (opencode): `totalTokens` tells which.
pub(super) fn of_usage(usage: &Value) -> Option<TokenUsage> {
    let read = |name: &str| usage[name].as_u64();
    let (input, output) = (read("inputTokens")?, read("outputTokens")?);
    let cached = [read("cachedReadTokens"), read("cachedWriteTokens")];
    let (cached_sum, thought) = (cached.into_iter().flatten().sum::<u64>(), read("thoughtTokens"));
    let total = read("totalTokens");
    if total == Some(0) {
        return None;
    }
    let outer = |inside: bool, whole: u64, part: u64| if inside { whole } else { whole.saturating_add(part) };
    let fits = |cached_inside: bool, thought_inside: bool| {
        let sum = outer(cached_inside, input, cached_sum).saturating_add(outer(
            thought_inside,
            output,
            thought.unwrap_or(0),
        ));
        total == Some(sum)
    };
    let (cached_inside, thought_inside) = [(false, false), (false, true), (true, true), (true, false)]
        .into_iter()
        .find(|(cached_inside, thought_inside)| fits(*cached_inside, *thought_inside))
        // Without a sum to check with, the counts are taken as the protocol describes them: cached parts apart.
        .unwrap_or((false, true));
    Some(TokenUsage {
        input_tokens: Some(if cached_inside { input.saturating_sub(cached_sum) } else { input }),
        output_tokens: Some(outer(thought_inside, output, thought.unwrap_or(0))),
        cache_read_tokens: cached[0],
        cache_write_tokens: cached[1],
        reasoning_tokens: thought,
    })
}

/// The tokens of Gemini CLI's `_meta.quota`.
///
/// It tells neither the cached part of the input, which is in it, nor the thoughts, which are not in the output.
pub(super) fn of_quota(quota: &Value) -> Option<TokenUsage> {
    let count = &quota["token_count"];
    let (input, output) = (count["input_tokens"].as_u64()?, count["output_tokens"].as_u64()?);
    (input > 0 || output > 0).then(|| TokenUsage {
        input_tokens: Some(input),
        output_tokens: Some(output),
        ..TokenUsage::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tokens(counts: [u64; 2], cached: [Option<u64>; 2], reasoning: Option<u64>) -> TokenUsage {
        TokenUsage {
            input_tokens: Some(counts[0]),
            output_tokens: Some(counts[1]),
            cache_read_tokens: cached[0],
            cache_write_tokens: cached[1],
            reasoning_tokens: reasoning,
        }
    }

    #[test]
    fn one_answer_is_counted_alike_however_an_agent_counts_it() {
        let apart = json!({"inputTokens": 800, "outputTokens": 40, "totalTokens": 1050, "thoughtTokens": 10,
            "cachedReadTokens": 200});
        let inside = json!({"inputTokens": 1000, "outputTokens": 50, "totalTokens": 1050, "thoughtTokens": 10,
            "cachedReadTokens": 200});
        let expected = tokens([800, 50], [Some(200), None], Some(10));
        assert_eq!(of_usage(&apart), Some(expected));
        assert_eq!(of_usage(&inside), Some(expected));
        let mixed = json!({"inputTokens": 700, "outputTokens": 50, "totalTokens": 1050, "thoughtTokens": 10,
            "cachedReadTokens": 200, "cachedWriteTokens": 100});
        assert_eq!(of_usage(&mixed), Some(tokens([700, 50], [Some(200), Some(100)], Some(10))));
    }

    #[test]
    fn what_was_not_counted_is_not_known() {
        assert_eq!(of_usage(&Value::Null), None);
        assert_eq!(of_usage(&json!({"inputTokens": 0, "outputTokens": 0, "totalTokens": 0})), None);
        assert_eq!(of_quota(&json!({"token_count": {"input_tokens": 0, "output_tokens": 0}})), None);
        let quota = json!({"token_count": {"input_tokens": 2000, "output_tokens": 80}});
        assert_eq!(of_quota(&quota), Some(tokens([2000, 80], [None, None], None)));
    }
}
