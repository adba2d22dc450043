"""Golden values of mistral-inference 1.6.0, the implementation by the models' authors.

From the repository root, with nothing of this project installed:

    python3.11 -m venv VENV
    VENV/bin/pip install torch==2.13.0 numpy safetensors simple-parsing
    VENV/bin/pip install --no-deps mistral-inference==1.6.0
    PYTHONPATH=tests VENV/bin/python -m golden.make_golden

It writes `golden.json` (what was run, and the tokens) and `golden.npz` (logits, logprobs) beside
itself, the same bytes each time. The weights are those of `weights.py`.

The package computes attention by xformers, which has kernels for CUDA only. Here a shim
takes its place: the masks that the package asks for, as dense booleans, and torch's SDPA in fp32.
The shim's masks were confirmed against those of xformers 0.0.35 (`materialize()`), for each call
that the package makes. To do so again:

    VENV/bin/pip install --no-deps xformers==0.0.35
    PYTHONPATH=tests VENV/bin/python -m golden.make_golden --check-masks

What the package does wrong or cannot do is kept out of the cases: a window without rope_theta (it
takes 1e6), calls without a cache (not causal), and, each an assertion, prompts of unequal lengths
in chunks and windows whose list does not divide the layers.
"""

from __future__ import annotations

import json
import math
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file
from torch import Tensor

from golden.weights import lora_shapes, make, shapes

HERE = Path(__file__).parent
MAX_TOKENS = 32
GAP = 0.01  # between the best and the second logit of each greedy step; seeds are chosen for it

# ── xformers' masks ─────────────────────────────────────────────────────────────────


class AttentionBias:
    """One block of booleans, (queries, keys), for each sequence; True where attended."""

    def __init__(self, blocks: Sequence[Tensor]) -> None:
        self.blocks = list(blocks)

    def dense(self) -> Tensor:
        """(all queries, all keys): no sequence sees another."""
        return torch.block_diag(*self.blocks).bool()


def band(queries: int, keys: int, shift: int, window: float = math.inf) -> Tensor:
    """Query i stands at key i + shift and sees it and the `window` - 1 before it."""
    behind = torch.arange(queries)[:, None] + shift - torch.arange(keys)
    return (behind >= 0) & (behind < window)


class BlockDiagonalMask(AttentionBias):
    """Each sequence sees all of its own keys."""

    @classmethod
    def from_seqlens(
        cls, q_seqlen: Sequence[int], kv_seqlen: Sequence[int] | None = None
    ) -> BlockDiagonalMask:
        sizes = zip(q_seqlen, kv_seqlen or q_seqlen, strict=True)
        return cls([cls.block(queries, keys) for queries, keys in sizes])

    @staticmethod
    def block(queries: int, keys: int) -> Tensor:
        return torch.ones((queries, keys), dtype=torch.bool)

    def make_local_attention(self, window_size: int) -> AttentionBias:
        """Causal from the top left; a query sees `window_size` keys, its own included."""
        return AttentionBias([band(*b.shape, 0, window_size) for b in self.blocks])

    def make_local_attention_from_bottomright(self, window_size: int) -> AttentionBias:
        """The same, the last query standing at the last key."""
        shifts = [b.shape[1] - b.shape[0] for b in self.blocks]
        return AttentionBias(
            [band(*b.shape, s, window_size) for b, s in zip(self.blocks, shifts, strict=True)]
        )


class BlockDiagonalCausalMask(BlockDiagonalMask):
    @staticmethod
    def block(queries: int, keys: int) -> Tensor:
        return band(queries, keys, 0)


class BlockDiagonalCausalWithOffsetPaddedKeysMask(AttentionBias):
    """Causal, the last query standing at the last valid key; each sequence's keys are padded
    to `kv_padding` places."""

    @classmethod
    def from_seqlens(
        cls, q_seqlen: Sequence[int], kv_padding: int, kv_seqlen: Sequence[int]
    ) -> BlockDiagonalCausalWithOffsetPaddedKeysMask:
        sizes = zip(q_seqlen, kv_seqlen, strict=True)
        return cls([band(queries, kv_padding, keys - queries) for queries, keys in sizes])


def memory_efficient_attention(q: Tensor, k: Tensor, v: Tensor, bias: AttentionBias) -> Tensor:
    """(1, tokens, heads, head_dim) → the same."""
    mask = bias.dense()
    seen = mask.any(0)  # padding is memory that nobody wrote: it may hold NaN
    q, k, v = (t.transpose(1, 2) for t in (q, k[:, seen], v[:, seen]))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, seen])
    return out.transpose(1, 2).contiguous()


def install_shim() -> None:
    """Let `import xformers.ops.fmha` find the above."""
    names = ("xformers", "xformers.ops", "xformers.ops.fmha", "xformers.ops.fmha.attn_bias")
    modules = {name: ModuleType(name) for name in names}
    vars(modules[names[2]])["memory_efficient_attention"] = memory_efficient_attention
    for mask in (
        AttentionBias,
        BlockDiagonalMask,
        BlockDiagonalCausalMask,
        BlockDiagonalCausalWithOffsetPaddedKeysMask,
    ):
        setattr(modules[names[3]], mask.__name__, mask)
    sys.modules.update(modules)


def check_masks(rounds: int = 2000) -> None:
    """Ask the real xformers and the shim for the same masks, as cache.py of the package does."""
    from xformers.ops.fmha import attn_bias as real

    ours = sys.modules[__name__]
    dice = random.Random(0)
    for _ in range(rounds):
        batch, window = dice.randint(1, 4), dice.randint(1, 12)
        chunk = [dice.randint(1, 20) for _ in range(batch)]
        kept = [dice.randint(0, window) for _ in range(batch)]
        made = []
        for where in (real, ours):
            first = where.BlockDiagonalCausalMask.from_seqlens(chunk)
            later = where.BlockDiagonalMask.from_seqlens(
                q_seqlen=chunk, kv_seqlen=[c + k for c, k in zip(chunk, kept, strict=True)]
            )
            token = where.BlockDiagonalCausalWithOffsetPaddedKeysMask.from_seqlens(
                q_seqlen=[1] * batch, kv_padding=window, kv_seqlen=[max(1, k) for k in kept]
            )
            made.append(
                [
                    first,
                    first.make_local_attention(window),
                    later,
                    later.make_local_attention_from_bottomright(window),
                    token,
                ]
            )
        for theirs, mine in zip(*made, strict=True):
            mask = mine.dense()
            assert torch.equal(theirs.materialize(tuple(mask.shape)) == 0, mask), theirs
    print(f"{rounds} rounds of 5 masks are equal")


# ── cases ───────────────────────────────────────────────────────────────────────────

BASE: dict[str, Any] = {
    "dim": 64,
    "n_layers": 4,
    "head_dim": 16,
    "hidden_dim": 96,
    "n_heads": 4,
    "n_kv_heads": 2,
    "norm_eps": 1e-5,
    "vocab_size": 96,
}
EVERY = ("wq", "wk", "wv", "wo", "w1", "w2", "w3")
WINDOW = {"rope_theta": 1e4, "sliding_window": 7}
MIXED = {"rope_theta": 1e4, "sliding_window": [7, None]}


@dataclass(frozen=True)
class Case:
    params: dict[str, Any]
    seed: int
    lengths: tuple[int, ...] = (48,)
    chunks: tuple[int, ...] = ()  # sizes in which the prompt is also read
    lora: dict[str, Any] | None = None
    unlike: str = ""  # a case of the same weights and prompt that must come out differently
    rows: int = 0  # how many of the prompt's last positions to keep the logits of; 0: all


def lora(rank: int, scaling: float, seed: int, targets: Sequence[str] = EVERY) -> dict[str, Any]:
    return {"rank": rank, "scaling": scaling, "seed": seed, "targets": list(targets)}


def moe(experts: int) -> dict[str, Any]:
    return {"moe": {"num_experts": experts, "num_experts_per_tok": 2}}


CASES = {
    "dense": Case(BASE, 382, chunks=(11,)),  # without rope_theta: 1e6
    "theta": Case(BASE | {"rope_theta": 1e4}, 382, unlike="dense"),
    "head_dim": Case(BASE | {"head_dim": 24}, 3),
    "one_kv_head": Case(BASE | {"n_kv_heads": 1, "n_layers": 3}, 5),
    "eps": Case(BASE | {"n_kv_heads": 4, "norm_eps": 0.05}, 2),
    "long": Case(BASE, 1, (2000,), (600,), rows=8),
    "batch": Case(BASE, 2, (41, 5, 23)),
    "window": Case(BASE | WINDOW, 382, chunks=(5, 11, 47), unlike="theta"),
    "window_reached_by_answer": Case(BASE | WINDOW | {"sliding_window": 56}, 1, chunks=(20,)),
    "windows": Case(BASE | MIXED, 382, chunks=(5, 11), unlike="window"),
    "windows_of_each_layer": Case(
        BASE | {"rope_theta": 1e4, "_sliding_window": [None, 9, 4, 13]}, 1, chunks=(11,)
    ),
    "window_batch": Case(BASE | WINDOW, 4, (41, 5, 23)),
    "moe": Case(BASE | moe(8), 8, chunks=(11,)),
    "moe_window": Case(BASE | moe(4) | MIXED, 7, chunks=(5, 11)),
    "moe_window_batch": Case(BASE | moe(4) | MIXED, 12, (41, 5, 23)),
    "lora": Case(BASE, 382, chunks=(11,), lora=lora(4, 2.0, 1), unlike="dense"),
    "lora_scaling": Case(BASE, 382, lora=lora(8, 0.75, 1, ("wq", "wv")), unlike="dense"),
    "lora_moe": Case(BASE | moe(8), 8, lora=lora(4, 1.5, 1), unlike="moe"),
}

# ── running the package ─────────────────────────────────────────────────────────────


def load(case: Case) -> Any:
    """The package's model, its own way: from a folder."""
    from mistral_inference.transformer import Transformer

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "params.json").write_text(json.dumps(case.params))
        save_file(make(shapes(case.params), case.seed), folder / "consolidated.safetensors")
        model = Transformer.from_folder(
            folder, max_batch_size=len(case.lengths), device="cpu", dtype=torch.float32
        )
        if case.lora:
            adapter = lora_shapes(case.params, case.lora["rank"], case.lora["targets"])
            save_file(make(adapter, case.lora["seed"]), folder / "lora.safetensors")
            model.load_lora(folder / "lora.safetensors", scaling=case.lora["scaling"])
    return model.eval()


@torch.inference_mode()
def logits(model: Any, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
    """What the package predicts at each position, every sequence read at once."""
    from mistral_inference.cache import BufferCache

    lengths = [len(ids) for ids in sequences]
    args = model.args
    cache = BufferCache(
        model.n_local_layers,
        args.max_batch_size,
        max(lengths),
        args.n_kv_heads,
        args.head_dim,
        args.sliding_window,
    )
    ids = torch.tensor([token for ids in sequences for token in ids])
    return list(model.forward(ids, seqlens=lengths, cache=cache).split(lengths))


class Router:
    """Watches how close the chosen experts are to those left aside: rounding must not choose."""

    def __init__(self, model: Any) -> None:
        self.closest = math.inf
        for name, module in model.named_modules():
            if name.endswith("feed_forward.gate"):
                module.register_forward_hook(self._seen)

    def _seen(self, module: Any, inputs: Any, scores: Tensor) -> None:
        best = scores.sort(-1, descending=True).values
        self.closest = min(self.closest, (best[:, 1] - best[:, 2]).min().item())


def run(name: str, case: Case) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A case's entry in `golden.json` and its arrays; raises where they are worth little."""
    from mistral_inference.generate import generate

    dice = np.random.RandomState(case.seed + 1000)
    prompts = [dice.randint(0, case.params["vocab_size"], n).tolist() for n in case.lengths]
    model = load(case)
    router = Router(model)
    settings: dict[str, Any] = {"max_tokens": MAX_TOKENS, "temperature": 0.0}
    tokens, logprobs = generate(prompts, model, **settings)
    arrays = {}
    whole = logits(model, [p + t for p, t in zip(prompts, tokens, strict=True)])
    for n, values in enumerate(logits(model, prompts)):
        arrays[f"{name}/logits/{n}"] = values[-case.rows :].numpy()
        arrays[f"{name}/logprobs/{n}"] = np.array(logprobs[n], np.float32)
    for chunk in case.chunks:
        again, scores = generate(prompts, model, chunk_size=chunk, **settings)
        assert again == tokens, f"{name}: other tokens in chunks of {chunk}"
        arrays[f"{name}/chunks/{chunk}"] = np.array(scores[0], np.float32)
        assert np.allclose(scores, logprobs, rtol=0, atol=5e-5), f"{name}: chunks of {chunk}"

    gaps, distinct = [], []
    for n, (prompt, answer) in enumerate(zip(prompts, tokens, strict=True)):
        ids = torch.tensor([*prompt, *answer])
        known = whole[n][:-1].log_softmax(-1).gather(1, ids[1:, None])[:, 0].numpy()
        assert np.allclose(known, logprobs[n], rtol=0, atol=5e-5), f"{name}: reading ≠ decoding"
        best = whole[n][len(prompt) - 1 : -1].topk(2).values
        gaps.append((best[:, 0] - best[:, 1]).min().item())
        distinct.append(len(set(answer)))
    assert min(gaps) > GAP, f"{name}: a tie nearly, {min(gaps):.1e}"
    assert min(distinct) >= 8, f"{name}: {min(distinct)} different tokens only"
    assert router.closest > 1e-4, f"{name}: experts nearly tie, {router.closest:.1e}"
    print(
        f"{name:26} gap {min(gaps):.3f}  distinct tokens {min(distinct):2}  experts' gap "
        f"{router.closest:.1e}  largest logit {max(w.abs().max().item() for w in whole):.1f}"
    )
    entry: dict[str, Any] = {"params": case.params, "seed": case.seed, "chunks": case.chunks}
    if case.lora:
        entry["lora"] = case.lora
    return entry | {"prompts": prompts, "tokens": tokens}, arrays


def main() -> None:
    install_shim()
    torch.set_num_threads(1)
    entries, arrays = {}, {}
    for name, case in CASES.items():
        entries[name], found = run(name, case)
        arrays |= found
        if case.unlike:
            other = arrays[f"{case.unlike}/logits/0"]
            apart = np.abs(found[f"{name}/logits/0"] - other).max()
            assert apart > 0.5, f"{name} is nearly {case.unlike}"
            assert entries[name]["tokens"] != entries[case.unlike]["tokens"]
            print(f"{'':26} logits differ from those of {case.unlike} by up to {apart:.1f}")
    fields = [f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items()]
    (HERE / "golden.json").write_text("{\n" + ",\n".join(fields) + "\n}\n")
    np.savez(HERE / "golden.npz", allow_pickle=False, **arrays)


if __name__ == "__main__":
    check_masks() if "--check-masks" in sys.argv else main()
