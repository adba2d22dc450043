"""Let a code model write what belongs between two pieces of code.

python examples/fill_in_the_middle.py ~/models/codestral-22B-v0.1
"""

from __future__ import annotations

import argparse

from inference import Tokenizer, Transformer, generate

PREFIX = "def fibonacci(n: int) -> int:\n"
SUFFIX = "\n\nprint(fibonacci(int(input())))\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Fill in the middle.")
    parser.add_argument("model", help="the model's folder")
    parser.add_argument("--max-tokens", type=int, default=256)
    options = parser.parse_args()

    tokenizer = Tokenizer.from_folder(options.model)
    model = Transformer.from_folder(options.model)

    # Two texts as here, or mistral-common's FIMRequest.
    prompt = tokenizer.encode_fim(PREFIX, SUFFIX).tokens
    ids, _ = generate(
        [prompt],
        model,
        max_tokens=options.max_tokens,
        temperature=0.0,
        eos_id=tokenizer.eos_id,
    )
    # A model may go on into the suffix; what is meant ends where that begins.
    # It continues the prefix: a space that it starts with is part of it.
    middle = tokenizer.decode(ids[0], continues=True).split(SUFFIX)[0]
    print(PREFIX + middle + SUFFIX)


if __name__ == "__main__":
    main()
