"""Let a model call a function, run it, and let the model answer with its result.

python examples/function_calling.py ~/models/7B-Instruct-v0.3
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from inference import Tokenizer, Transformer, generate

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_current_weather",
            "description": "Get the current weather",
            "parameters": {
                "type": "object",
                "properties": {
                    "location": {"type": "string", "description": "The city and its country"},
                    "format": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                },
                "required": ["location", "format"],
            },
        },
    }
]


def get_current_weather(location: str, format: str) -> dict[str, Any]:
    """The function itself; a real one would look out of the window."""
    return {"location": location, "temperature": 22, "unit": format}


def main() -> None:
    parser = argparse.ArgumentParser(description="Let a model call a function.")
    parser.add_argument("model", help="the model's folder")
    parser.add_argument("--max-tokens", type=int, default=128)
    options = parser.parse_args()

    tokenizer = Tokenizer.from_folder(options.model)
    model = Transformer.from_folder(options.model)

    def ask(messages: list[dict[str, Any]]) -> list[int]:
        prompt = tokenizer.encode_chat_completion(messages, TOOLS).tokens
        ids, _ = generate(
            [prompt],
            model,
            max_tokens=options.max_tokens,
            temperature=0.0,
            eos_id=tokenizer.eos_id,
        )
        return ids[0]

    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "What is the weather like today in Paris?"}
    ]
    # Ids, not text: the model's control tokens say where a call begins.
    reply = tokenizer.parse(ask(messages))
    if not reply.tool_calls:
        print(f"The model called no function and said: {reply.text}")
        return
    calls = []
    results = []
    for number, call in enumerate(reply.tool_calls):
        call_id = call.id or f"call{number:05}"
        print(f"{call.name}({call.arguments})")
        result = get_current_weather(**call.parsed_arguments)
        function = {"name": call.name, "arguments": call.arguments}
        calls.append({"id": call_id, "type": "function", "function": function})
        results.append({"role": "tool", "tool_call_id": call_id, "content": json.dumps(result)})
    messages += [{"role": "assistant", "content": reply.text, "tool_calls": calls}, *results]
    print(tokenizer.parse(ask(messages)).text)


if __name__ == "__main__":
    main()
