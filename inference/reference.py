"""The whole transformer in one file: slow and plain, to be checked against the papers.

    python -m inference.reference MODEL [TEXT] [--max-tokens N] [--temperature T] [--seed S]

It shares no code with the rest of this package, so that it can judge it. There is no cache
and no kernel: every new token computes the whole sequence anew, under a dense mask.

Papers (arXiv): attention 1706.03762, grouped queries 2305.13245, RoPE 2104.09864, RMSNorm
1910.07467, SwiGLU 2002.05202, sliding window 2310.06825, mixture of experts 2401.04088.
Shapes: T tokens, D = dim, F = hidden_dim, E experts, V = vocab_size; matrices (outputs, inputs).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

SIZES = ("dim", "n_layers", "head_dim", "hidden_dim", "n_heads", "n_kv_heads", "vocab_size")
OPTIONAL = ("rope_theta", "sliding_window", "_sliding_window", "tied_embeddings", "moe")
UNUSED = ("model_type", "max_position_embeddings", "max_seq_len", "max_batch_size")


class Refused(Exception):
    """One sentence on what is not understood here."""


def read_params(path: Path) -> SimpleNamespace:
    """The sizes in `params.json`, and what follows from the rest of it."""
    try:
        said = {k: v for k, v in json.loads(path.read_bytes()).items() if v is not None}
        moe, windows = said.get("moe", {}), said.get("sliding_window", said.get("_sliding_window"))
        odd = (said.keys() ^ {*SIZES, "norm_eps"}) - {*OPTIONAL, *UNUSED}
        odd |= moe.keys() ^ {"num_experts", "num_experts_per_tok"} if "moe" in said else set()
        if odd or said.get("model_type", "transformer") != "transformer":
            raise ValueError(f"unknown or missing is {sorted(odd) or 'its model_type'}")
        p = SimpleNamespace(**{key: said[key] for key in SIZES}, norm_eps=float(said["norm_eps"]))
        p.n_experts, p.n_chosen = moe.get("num_experts", 0), moe.get("num_experts_per_tok", 0)
        p.tied = bool(said.get("tied_embeddings"))  # the output matrix is the embedding matrix
        p.windows = (windows if isinstance(windows, list) else [windows]) or [None]
        sizes, limits = [said[key] for key in SIZES], [w for w in p.windows if w is not None]
        # The first releases leave theta out; it was 1e4 where there is a window.
        p.rope_theta = float(said.get("rope_theta", 1e4 if limits else 1e6))
        if not all(type(n) is int and n > 0 for n in [*sizes, *moe.values(), *limits]):
            raise ValueError("a size in it is no positive whole number")
        if p.head_dim % 2 or p.n_heads % p.n_kv_heads or p.n_chosen > p.n_experts:
            raise ValueError("its heads or its experts do not go together")
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Refused(f"{path} is not understood here: {error}.") from None
    return p


def tensor_shapes(p: SimpleNamespace) -> dict[str, tuple[int, ...]]:
    """Every tensor of the model, by its name without `.weight`."""
    d, q, kv = p.dim, p.n_heads * p.head_dim, p.n_kv_heads * p.head_dim
    layer = {"attention_norm": (d,), "ffn_norm": (d,), "attention.wo": (d, q)}
    layer |= {"attention.wq": (q, d), "attention.wk": (kv, d), "attention.wv": (kv, d)}
    layer |= {"feed_forward.gate": (p.n_experts, d)} if p.n_experts else {}
    for place in [f"feed_forward.experts.{e}" for e in range(p.n_experts)] or ["feed_forward"]:
        layer |= {f"{place}.{w}": (p.hidden_dim, d) for w in ("w1", "w3")}
        layer[f"{place}.w2"] = (d, p.hidden_dim)
    shapes = {f"layers.{n}.{name}": s for n in range(p.n_layers) for name, s in layer.items()}
    shapes |= {} if p.tied else {"output": (p.vocab_size, d)}
    return shapes | {"tok_embeddings": (p.vocab_size, d), "norm": (d,)}


def read_weights(folder: Path, p: SimpleNamespace, dtype: torch.dtype) -> dict[str, Tensor]:
    """All of `consolidated*.safetensors`, one file or shards."""
    weights: dict[str, Tensor] = {}
    try:
        for path in sorted(folder.glob("consolidated*.safetensors")):
            with safe_open(str(path), framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 (this is no dict)
                    weights[name.removesuffix(".weight")] = file.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise Refused(f"{folder} has weights that cannot be read: {error}.") from None
    # The files of December 2023 hold the w1 of all experts, one below the other, as one (E·F, D)
    # matrix, and so the w3 and the w2, each w2 transposed.
    for name in [name for name in weights if ".block_sparse_moe.w" in name]:
        layer, w = name.split("block_sparse_moe.")
        for e, part in enumerate(torch.split(weights.pop(name), p.hidden_dim)):
            weights[f"{layer}feed_forward.experts.{e}.{w}"] = part.T if w == "w2" else part
    weights = {k.replace(".block_sparse_moe.", ".feed_forward."): w for k, w in weights.items()}
    expected, found = tensor_shapes(p), {name: tuple(w.shape) for name, w in weights.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            said = f"{name} is {found.get(name, 'missing')}, not {expected.get(name, 'known')}"
            raise Refused(f"{folder} does not fit its params.json: {said}.")
    return {name: w.to(dtype) for name, w in weights.items()}


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x²) + eps) · weight, in fp32 up to the weight; x (T, D)."""
    wide = x.float()
    return (wide / torch.sqrt((wide * wide).mean(-1, keepdim=True) + eps)).to(x.dtype) * weight


def rotate(x: Tensor, theta: float) -> Tensor:
    """RoPE: at position t the pair (2i, 2i + 1) of each head, read as a complex number, turns
    by the angle t / theta^(2i / head_dim); x (T, heads, head_dim)."""
    length, _, head_dim = x.shape
    speeds = 1 / theta ** (torch.arange(0, head_dim, 2).float() / head_dim)
    angles = torch.outer(torch.arange(length).float(), speeds)  # (T, head_dim / 2)
    turns = torch.polar(torch.ones_like(angles), angles)[:, None]  # the same for all heads
    pairs = torch.view_as_complex(x.float().view(length, -1, head_dim // 2, 2))
    return torch.view_as_real(pairs * turns).flatten(-2).to(x.dtype)


def visible(length: int, window: int | None) -> Tensor:
    """(T, T) booleans: query i sees key j if j is not after i and, under a window, one of the
    last `window` tokens, i itself counted."""
    i, j = torch.arange(length)[:, None], torch.arange(length)[None, :]
    return (j <= i) & (i - j < (window or length))


def attention(x: Tensor, w: dict[str, Tensor], p: SimpleNamespace, window: int | None) -> Tensor:
    """softmax(q·k / sqrt(head_dim)) · v of each head, over what is visible; x (T, D)."""
    q = rotate((x @ w["attention.wq"].T).view(len(x), p.n_heads, -1), p.rope_theta)
    k = rotate((x @ w["attention.wk"].T).view(len(x), p.n_kv_heads, -1), p.rope_theta)
    v = (x @ w["attention.wv"].T).view(len(x), p.n_kv_heads, -1)
    group = p.n_heads // p.n_kv_heads  # so many query heads in a row share one of k and v
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    scores = torch.einsum("ihd,jhd->hij", q.float(), k.float()) / math.sqrt(p.head_dim)
    scores = scores.masked_fill(~visible(len(x), window), -math.inf)
    heads = torch.einsum("hij,jhd->ihd", torch.softmax(scores, dim=-1).to(x.dtype), v)
    return heads.flatten(1) @ w["attention.wo"].T


def swiglu(x: Tensor, w: dict[str, Tensor], place: str) -> Tensor:
    """w2 (silu(w1 x) · w3 x), with silu(a) = a · sigmoid(a); x (T, D)."""
    a = x @ w[f"{place}.w1"].T  # (T, F)
    return (a * torch.sigmoid(a) * (x @ w[f"{place}.w3"].T)) @ w[f"{place}.w2"].T


def mixture(x: Tensor, w: dict[str, Tensor], p: SimpleNamespace) -> Tensor:
    """The experts with the k highest logits, weighted by the softmax over these k; x (T, D).
    All are computed; those not chosen have weight 0."""
    best, chosen = (x @ w["feed_forward.gate"].T).topk(p.n_chosen, dim=-1)  # (T, k)
    shares = torch.zeros(len(x), p.n_experts).scatter(1, chosen, torch.softmax(best.float(), -1))
    outs = [swiglu(x, w, f"feed_forward.experts.{e}") for e in range(p.n_experts)]
    return torch.einsum("te,etd->td", shares.to(x.dtype), torch.stack(outs))


class Reference:
    """One model; `logits` is all of it."""

    def __init__(self, params: SimpleNamespace, weights: dict[str, Tensor]) -> None:
        self.params, self.weights = params, weights

    @classmethod
    def from_folder(cls, folder: str | Path, dtype: torch.dtype = torch.float32) -> Reference:
        """Read `params.json` and `consolidated*.safetensors`; raises `Refused`."""
        params = read_params(Path(folder) / "params.json")
        return cls(params, read_weights(Path(folder), params, dtype))

    @torch.inference_mode()
    def logits(self, ids: list[int]) -> Tensor:
        """What may follow each of `ids`: (T, V), fp32."""
        p = self.params
        if not ids or not all(0 <= i < p.vocab_size for i in ids):
            raise Refused(f"A prompt is at least one id from 0 to {p.vocab_size - 1}.")
        x = self.weights["tok_embeddings"][torch.tensor(ids)]  # (T, D)
        for n in range(p.n_layers):
            start = f"layers.{n}."
            w = {k.removeprefix(start): v for k, v in self.weights.items() if k.startswith(start)}
            window = p.windows[n % len(p.windows)]
            x = x + attention(rms_norm(x, w["attention_norm"], p.norm_eps), w, p, window)
            normed = rms_norm(x, w["ffn_norm"], p.norm_eps)
            x = x + (mixture(normed, w, p) if p.n_experts else swiglu(normed, w, "feed_forward"))
        output = self.weights["tok_embeddings" if p.tied else "output"]
        return (rms_norm(x, self.weights["norm"], p.norm_eps) @ output.T).float()

    def stream(self, ids: list[int], most: int, eos_id: int | None, heat: float) -> Iterator[int]:
        """At most `most` new ids, up to `eos_id`; `heat` is the temperature, 0: the likeliest."""
        for _ in range(most):
            last = self.logits(ids)[-1]
            new = int(torch.softmax(last / heat, -1).multinomial(1) if heat else last.argmax())
            if new == eos_id:
                return
            yield new
            ids = [*ids, new]

    def greedy(
        self, prompt_ids: list[int], max_tokens: int, eos_id: int | None = None
    ) -> list[int]:
        return list(self.stream(prompt_ids, max_tokens, eos_id, 0.0))


def answer(folder: Path, text: str, most: int, heat: float) -> Iterator[str]:
    """The model's answer to `text` as a user's message, piece by piece."""
    from mistral_common.protocol.instruct.messages import UserMessage
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    files = [*sorted(folder.glob("tokenizer.model*")), *folder.glob("tekken.json")]
    if not files or (folder / "starter.json").exists():
        raise Refused(f"{folder} has no tokenizer with one of Mistral's chat layouts.")
    tokenizer = MistralTokenizer.from_file(files[-1])
    base = tokenizer.instruct_tokenizer.tokenizer
    if files[-1].name == "tokenizer.model" and base.n_words != 32000:
        raise Refused(f"{files[-1]} does not say its version: add .v2, .v3 or .v7 to its name.")
    model = Reference.from_folder(folder)
    if base.n_words != model.params.vocab_size:
        raise Refused(f"{files[-1]} has {base.n_words} tokens, not {model.params.vocab_size}.")
    request = ChatCompletionRequest(messages=[UserMessage(content=text)])
    ids: list[int] = []
    shown = ""
    prompt = tokenizer.encode_chat_completion(request).tokens
    for token in model.stream(prompt, most, base.eos_id, heat):
        ids.append(token)
        whole = base.decode(ids).rstrip("\ufffd")  # a character may take several tokens
        yield whole[len(shown) :]
        shown = whole
    yield base.decode(ids)[len(shown) :]


def main() -> None:
    parser = argparse.ArgumentParser("python -m inference.reference", description="Slow answers.")
    parser.add_argument("model", type=Path, metavar="MODEL", help="folder of params.json")
    parser.add_argument("text", nargs="?", default="Who are you?", metavar="TEXT")
    parser.add_argument("--max-tokens", type=int, default=32, metavar="N")
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T")
    parser.add_argument("--seed", type=int, metavar="S")
    given = parser.parse_args()
    if not 0 <= given.temperature < math.inf:
        raise Refused("The temperature must be 0 (always the likeliest token) or more.")
    torch.manual_seed(torch.seed() if given.seed is None else given.seed)
    for piece in answer(given.model, given.text, given.max_tokens, given.temperature):
        safe = "".join(c for c in piece if c in "\n\t" or unicodedata.category(c)[0] != "C")
        print(safe, end="", flush=True)  # noqa: T201
    print()  # noqa: T201


if __name__ == "__main__":
    try:
        main()
    except (Exception, KeyboardInterrupt) as error:
        sys.exit(" ".join(str(error).split()) or type(error).__name__)
