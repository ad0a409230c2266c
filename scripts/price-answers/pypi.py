"""Makes up answers of three providers, the same ones each time, and prints what the PyPI package says that each costs."""

import datetime
import json
import random

from genai_prices import calc_price
from genai_prices.data import providers
from genai_prices.types import Usage

PER_MODEL = 30
MODELS = {
    "anthropic": "claude-3-5-haiku-20241022 claude-3-7-sonnet-20250219 claude-3-haiku-20240307 claude-3-opus-20240229"
    " claude-haiku-4-5-20251001 claude-opus-4-1-20250805 claude-opus-4-5-20251101 claude-sonnet-4-20250514"
    " claude-sonnet-4-5-20250929 claude-opus-4-6 claude-sonnet-4-6",
    "openai": "gpt-3.5-turbo gpt-4-turbo gpt-4.1 gpt-4.1-mini gpt-4.1-nano gpt-4o gpt-4o-mini gpt-5 gpt-5-codex gpt-5-mini"
    " gpt-5-nano gpt-5-pro gpt-5.1 gpt-5.1-codex gpt-5.2 gpt-5.3-codex gpt-5.4 gpt-5.5 o1 o3 o3-mini o4-mini",
    "google": "gemini-1.5-flash gemini-1.5-pro gemini-2.0-flash gemini-2.0-flash-lite gemini-2.5-flash"
    " gemini-2.5-flash-lite gemini-2.5-pro gemini-3-pro-preview gemini-3-flash-preview gemini-3.1-pro-preview",
}


def tokens(rng):
    """A count as requests have it: most small, some beyond every size on which a price depends."""
    return int(10 ** rng.uniform(0, 5.9)) if rng.random() > 0.05 else 0


def anthropic(rng, model):
    minutes, hour = (tokens(rng) if rng.random() < 0.6 else 0 for _ in range(2))
    usage = {"input_tokens": tokens(rng), "output_tokens": tokens(rng) // 10}
    if rng.random() < 0.8:
        usage["cache_creation_input_tokens"] = minutes + hour
        usage["cache_read_input_tokens"] = tokens(rng)
        if rng.random() < 0.8:
            usage["cache_creation"] = {"ephemeral_5m_input_tokens": minutes, "ephemeral_1h_input_tokens": hour}
    if rng.random() < 0.2:
        usage["server_tool_use"] = {"web_search_requests": rng.randrange(5)}
    usage["service_tier"] = rng.choices(["standard", "batch"], [8, 1])[0]
    return "default", {"model": model, "usage": usage}, usage["service_tier"]


def openai(rng, model):
    chat = rng.random() < 0.5
    names = ("prompt_tokens", "completion_tokens") if chat else ("input_tokens", "output_tokens")
    prompt, output = tokens(rng), tokens(rng) // 10
    usage = {names[0]: prompt, names[1]: output}
    if rng.random() < 0.7:
        usage[f"{names[0]}_details"] = {"cached_tokens": int(prompt * rng.random())}
        usage[f"{names[1]}_details"] = {"reasoning_tokens": int(output * rng.random())}
    tier = rng.choices(["default", "flex", "priority"], [8, 1, 1])[0]
    response = {"model": model, "service_tier": tier, "usage": usage}
    return "chat" if chat else "responses", response, tier


def google(rng, model):
    prompt = tokens(rng)
    usage = {"promptTokenCount": prompt, "candidatesTokenCount": tokens(rng) // 10}
    if rng.random() < 0.5:
        usage["cachedContentTokenCount"] = int(prompt * rng.random())
    if rng.random() < 0.5:
        usage["thoughtsTokenCount"] = tokens(rng) // 10
    if rng.random() < 0.3:
        usage["toolUsePromptTokenCount"] = tokens(rng) // 10
    return "default", {"modelVersion": model, "usageMetadata": usage}, None


def context(tier):
    if tier == "batch":
        return {"processing": "batch"}
    return {"service_tier": tier} if tier in ("flex", "priority") else None


def main():
    rng = random.Random(7)
    for provider_id, models in MODELS.items():
        provider = next(provider for provider in providers if provider.id == provider_id)
        for model in models.split():
            for _ in range(PER_MODEL):
                flavor, response, tier = globals()[provider_id](rng, model)
                day = datetime.date(2025, 3, 1) + datetime.timedelta(days=rng.randrange(620))
                at = datetime.datetime.combine(day, datetime.time(12), datetime.timezone.utc)
                _, usage = provider.extract_usage(response, api_flavor=flavor)
                price = calc_price(
                    usage,
                    model,
                    provider_id=provider_id,
                    genai_request_timestamp=at,
                    price_context=context(tier),
                )
                line = {
                    "provider": provider_id,
                    "flavor": flavor,
                    "at": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "response": response,
                    "pypi": str(price.total_price),
                }
                print(json.dumps(line, separators=(",", ":")))


main()
