"""A tiny model that has learned to fill in one kind of Python function, in a real FIM layout.

It needs both sides: what to read is named in the prefix, what to call it in the suffix.

    def read_width(box):
        ▮                       total = box.width
                                check(total)
        return total
"""

from __future__ import annotations

import functools
import math
import random
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import hf
import tiny
from inference.tokenizer import Tokenizer

Example = tuple[str, str, str]
"""(prefix, middle, suffix)"""

NAMES = ("width", "height", "color", "price", "name", "size", "title", "speed", "label", "level")
RESULTS = ("total", "value", "result", "number", "amount", "count", "score", "text")
PARAMS: dict[str, Any] = {
    **tiny.PARAMS,
    "n_kv_heads": 2,
    "rope_theta": 1e4,
    "max_position_embeddings": 4096,
}
_HEADS = ("", "", "import os\n\n\n", "class Box:\n    pass\n\n\n")
_TAILS = ("", "", "\n\nprint(read_all())\n")
_BATCH, _STEPS, _LOSS = 16, 800, 0.006
_IGNORED = -100  # of a target
_OTHER = -1  # any token that has nothing to do with it


def example(name: str, result: str) -> Example:
    """One function, the cursor on its first line."""
    return (
        f"def read_{name}(box):\n    ",
        f"{result} = box.{name}\n    check({result})",
        f"\n    return {result}\n",
    )


EXAMPLES: tuple[Example, ...] = tuple(
    example(name, RESULTS[(place + 3) % len(RESULTS)]) for place, name in enumerate(NAMES)
)
"""None of them was learned; their names and results were, with others."""


def make(folder: Path, tokenizer: str = "v3", *, ends: bool = True) -> Path:
    """A model folder, trained in a few seconds. Greedy, it fills in `EXAMPLES` exactly, also
    from behind any word of a middle, and with other code around it.

    Args:
        tokenizer: `v3` or `tekken-v3`.
        ends: False: it goes on into the suffix, as real models sometimes do, and knows no other
            code around it.
    """
    folder.mkdir(parents=True)
    target = "tekken.json" if tokenizer in tiny.TEKKEN else f"tokenizer.model.{tokenizer}"
    shutil.copy(tiny.data_file(tokenizer), folder / target)
    taught = Tokenizer.from_folder(folder)
    known, weights = _trained(tokenizer, ends)
    _write(folder, weights, known, taught.n_words)
    return folder


@functools.cache
def _trained(tokenizer: str, ends: bool) -> tuple[Sequence[int], hf.Weights]:
    """The tokens that were needed, and the weights."""
    taught = Tokenizer.from_file(tiny.data_file(tokenizer))
    dice = random.Random(0)
    samples = [_sample(taught, dice, ends=ends) for _ in range(1000)]
    known = sorted({token for prompt, answer in samples for token in prompt + answer} - {_OTHER})
    return known, _train(taught, known, dice, ends=ends)


def _sample(
    tokenizer: Tokenizer, dice: random.Random, *, ends: bool, around: bool = True
) -> tuple[list[int], list[int]]:
    """(prompt ids, answer ids) of one function that is to be learned."""
    while (picked := example(dice.choice(NAMES), dice.choice(RESULTS))) in EXAMPLES:
        pass
    prefix, middle, suffix = picked
    words = re.findall(r"\W?\w+|\s+|\W", middle)
    cut = dice.choice((0, dice.randrange(len(words) + 1)))
    head, tail = dice.choice(_HEADS), dice.choice(_TAILS)
    if dice.random() < 0.1:
        suffix = suffix.rstrip()
    if around and dice.random() < 0.3:
        head += "".join(example(dice.choice(NAMES), dice.choice(RESULTS))) + "\n\n"
    if around and dice.random() < 0.3:
        tail += "\n\n" + "".join(example(dice.choice(NAMES), dice.choice(RESULTS)))
    answer = "".join(words[cut:])
    if not ends:
        answer, tail = answer + suffix, ""
    ids = tokenizer._continued(answer)
    prompt = tokenizer.fim_ids(head + prefix + "".join(words[:cut]), suffix + tail)
    if around and dice.random() < 0.2:  # other code around it
        border = prompt.index(tokenizer.control_id("[PREFIX]") or 0)
        more = [_OTHER] * dice.randrange(50)
        prompt = [*prompt[:border], *more, prompt[border], *more, *prompt[border + 1 :]]
    return prompt, [*ids, tokenizer.eos_id]


def _train(
    tokenizer: Tokenizer, known: Sequence[int], dice: random.Random, *, ends: bool
) -> hf.Weights:
    """Weights for the known tokens, in order, and one row more for all others."""
    import transformers

    torch.manual_seed(0)
    place = {token: row for row, token in enumerate(known)}
    others = len(known)
    prefix = tokenizer.control_id("[PREFIX]")
    assert prefix is not None
    model = transformers.MistralForCausalLM(hf.config({**PARAMS, "vocab_size": others + 1}))
    for weight in model.parameters():
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=0.08)
    # As many as the last row stands for, so that their probability is learned to be small.
    many = torch.zeros(others + 1)
    many[others] = math.log(tokenizer.n_words - others)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    sure, around = 0, False
    for _ in range(_STEPS):
        samples = [_sample(tokenizer, dice, ends=ends, around=around) for _ in range(_BATCH)]
        longest = max(len(prompt) + len(answer) for prompt, answer in samples)
        tokens = torch.full((_BATCH, longest), others)
        positions = torch.arange(longest).repeat(_BATCH, 1)
        targets = torch.full((_BATCH, longest), _IGNORED)
        for row, (prompt, answer) in enumerate(samples):
            ids = torch.tensor([place.get(token, others) for token in prompt + answer])
            border = prompt.index(prefix)
            positions[row, border:] += dice.choice((0, dice.randrange(500)))
            tokens[row, : len(ids)] = ids
            targets[row, len(prompt) - 1 : len(ids) - 1] = ids[len(prompt) :]
        logits = model(tokens, position_ids=positions).logits + many
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=_IGNORED)
        sure = sure + 1 if float(loss.detach()) < _LOSS else 0
        if sure == 5:
            if around or not ends:
                return model.state_dict()
            sure, around = 0, True  # alone it is learned faster
            optimizer.param_groups[0]["lr"] /= 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    raise AssertionError("the model did not learn to fill in")


def _write(folder: Path, weights: hf.Weights, known: Sequence[int], n_words: int) -> None:
    """A Hugging Face folder with the rows of the whole vocabulary."""
    hf.config({**PARAMS, "vocab_size": n_words}).save_pretrained(folder)
    whole = dict(weights)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        rows = weights[name]
        whole[name] = rows[-1].expand(n_words, -1).clone()
        whole[name][torch.tensor(known)] = rows[:-1]
    save_file(whole, str(folder / "model.safetensors"))
