"""The baseline: the same model asked directly, its bare stream read by the same kind of client."""

import json
import time

import aiohttp


async def ask(session: aiohttp.ClientSession, base_url: str, key: str, prompt: str) -> tuple[float, int]:
    """Seconds to the first character, and characters in all. `base_url` is what clients of OpenAI call so."""
    started, first, characters = time.perf_counter(), 0.0, 0
    body = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": prompt}]}
    url = f"{base_url}/chat/completions"
    headers = {"api-key": key, "Authorization": f"Bearer {key}"}
    async with session.post(url, json=body, headers=headers) as response:
        response.raise_for_status()
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            choices = json.loads(line[6:])["choices"]
            text = choices[0].get("delta", {}).get("content") if choices else None
            if text:
                first = first or time.perf_counter() - started
                characters += len(text)
    return first, characters
