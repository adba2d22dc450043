"""Ask a model one thing.

python examples/instruct.py ~/models/7B-Instruct-v0.3 "Who painted the Mona Lisa?"
"""

from __future__ import annotations

import argparse

from inference import Tokenizer, Transformer, generate


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask a model one thing.")
    parser.add_argument("model", help="the model's folder")
    parser.add_argument("question", nargs="?", default="Explain attention in one paragraph.")
    parser.add_argument("--max-tokens", type=int, default=256)
    options = parser.parse_args()

    tokenizer = Tokenizer.from_folder(options.model)
    model = Transformer.from_folder(options.model)

    # Dicts as here, or mistral-common's ChatCompletionRequest.
    messages = [{"role": "user", "content": options.question}]
    prompt = tokenizer.encode_chat_completion(messages).tokens
    ids, logprobs = generate(
        [prompt],
        model,
        max_tokens=options.max_tokens,
        temperature=0.0,
        eos_id=tokenizer.eos_id,
    )
    print(tokenizer.decode(ids[0]))
    print(f"({len(ids[0])} tokens, mean logprob {sum(logprobs[0]) / len(logprobs[0]):.2f})")


if __name__ == "__main__":
    main()
