"""A tiny model that has learned a few sequences by heart: it says what a test needs said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import hf
import tiny

_STEPS = 400
PARAMS = {**tiny.PARAMS, "rope_theta": 1e4, "max_position_embeddings": 2048}


def teach(folder: Path, sequences: Sequence[tuple[list[int], list[int]]]) -> Path:
    """Write a Hugging Face folder of a model that answers each prompt with its answer, greedily.

    Args:
        folder: where; a tokenizer has to be put beside it.
        sequences: (prompt ids, answer ids).
    """
    import transformers

    torch.manual_seed(0)
    model = transformers.MistralForCausalLM(hf.config(PARAMS))
    for weight in model.parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=0.05)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(_STEPS):
        loss = torch.zeros(())
        certain = True
        for prompt, answer in sequences:
            tokens = torch.tensor([prompt + answer])
            logits = model(tokens[:, :-1]).logits[0, len(prompt) - 1 :]
            target = torch.tensor(answer)
            loss = loss + F.cross_entropy(logits, target)
            best = logits.detach().softmax(-1)[torch.arange(len(answer)), target]
            certain &= bool((best > 0.95).all())
        if certain:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    else:
        raise AssertionError("the model did not learn its answers")
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    return folder
