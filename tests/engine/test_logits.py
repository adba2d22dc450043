"""Our logits against transformers, which we did not write, on the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import tiny
from inference.config import ModelConfig
from inference.generation import generate, prefill
from inference.transformer import Transformer

TEXT = (
    "The capital of France is Paris. def fibonacci(n):\n    return n if n < 2 else …\n"
    "Once upon a time, in a small village by the sea, 1,234 people lived happily. "
)


def _half_split(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Mistral's interleaved rotary rows in the order that Hugging Face expects."""
    rows, dim = weight.shape
    return weight.view(heads, rows // heads // 2, 2, dim).transpose(1, 2).reshape(rows, dim)


def to_hugging_face(model: Transformer) -> transformers.PreTrainedModel:
    """The same weights in transformers' Mistral."""
    c = model.config
    config = transformers.MistralConfig(
        vocab_size=c.vocab_size,
        hidden_size=c.dim,
        intermediate_size=c.hidden_dim,
        num_hidden_layers=c.n_layers,
        num_attention_heads=c.n_heads,
        num_key_value_heads=c.n_kv_heads,
        head_dim=c.head_dim,
        rms_norm_eps=c.norm_eps,
        rope_parameters={"rope_theta": c.rope_theta, "rope_type": "default"},
        max_position_embeddings=c.max_position_embeddings,
        tie_word_embeddings=c.tied_embeddings,
        sliding_window=None,
        attn_implementation="eager",
    )
    names = {
        "attention.wq": "self_attn.q_proj",
        "attention.wk": "self_attn.k_proj",
        "attention.wv": "self_attn.v_proj",
        "attention.wo": "self_attn.o_proj",
        "feed_forward.w1": "mlp.gate_proj",
        "feed_forward.w2": "mlp.down_proj",
        "feed_forward.w3": "mlp.up_proj",
        "attention_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
    }
    state: dict[str, Any] = {}
    for name, weight in model.state_dict().items():
        if name.startswith("layers."):
            _, number, rest = name.split(".", 2)
            ours = rest.removesuffix(".weight")
            if ours in ("attention.wq", "attention.wk"):
                weight = _half_split(weight, c.n_heads if ours.endswith("q") else c.n_kv_heads)
            state[f"model.layers.{number}.{names[ours]}.weight"] = weight
    state["model.embed_tokens.weight"] = model.tok_embeddings.weight
    state["model.norm.weight"] = model.norm.weight
    state["lm_head.weight"] = (
        model.tok_embeddings.weight if model.output is None else model.output.weight
    )
    theirs = transformers.MistralForCausalLM(config)
    theirs.load_state_dict(state, strict=True)
    return theirs.eval()


def _compare(model: Transformer, ids: list[int], bound: float) -> None:
    tokens = torch.tensor([ids])
    with torch.inference_mode():
        ours = model(tokens, model.new_cache(), last_only=False)
        theirs = to_hugging_face(model)(tokens).logits.float()
    difference = (ours - theirs).abs().max().item()
    print(f"largest logit difference {difference:.2e} over {len(ids)} positions")
    assert difference < bound
    assert torch.equal(ours.argmax(-1), theirs.argmax(-1))


def test_starter_model_equals_transformers(starter_folder: Path) -> None:
    from inference.tokenizer import Tokenizer

    model = Transformer.from_folder(starter_folder, dtype=torch.float32)
    ids = Tokenizer.from_folder(starter_folder).encode_text(TEXT * 4)
    assert len(ids) > 150
    _compare(model, ids, 1e-3)


@pytest.mark.parametrize(
    "changes",
    [{}, {"tied_embeddings": True}, {"head_dim": 32}, {"n_kv_heads": 4}, {"rope_theta": 1e4}],
    ids=str,
)
def test_random_model_equals_transformers(tmp_path: Path, changes: dict[str, Any]) -> None:
    model = Transformer.from_folder(tiny.make(tmp_path / "m", **changes))
    ids = torch.randint(3, 32768, (90,), generator=torch.Generator().manual_seed(1)).tolist()
    _compare(model, ids, 1e-4)


def test_greedy_tokens_equal_transformers(starter_folder: Path) -> None:
    model = Transformer.from_folder(starter_folder, dtype=torch.float32)
    from inference.tokenizer import Tokenizer

    prompt = Tokenizer.from_folder(starter_folder).encode_text("The three largest planets are")
    (ours,), _ = generate([prompt], model, max_tokens=24, temperature=0)
    theirs = to_hugging_face(model).generate(
        torch.tensor([prompt]), max_new_tokens=24, do_sample=False, pad_token_id=2
    )
    assert ours == theirs[0, len(prompt) :].tolist()


def test_bf16_upcast_of_prefill_agrees_with_fp32(starter_folder: Path) -> None:
    """Same weights, bf16 activations: the most likely token is the same nearly always."""
    from inference.tokenizer import Tokenizer

    ids = Tokenizer.from_folder(starter_folder).encode_text(TEXT)
    wide = Transformer.from_folder(starter_folder, dtype=torch.float32)
    narrow = Transformer.from_folder(starter_folder)
    assert narrow.dtype is torch.bfloat16
    tokens = torch.tensor([ids])
    with torch.inference_mode():
        a = wide(tokens, wide.new_cache(), last_only=False)
        b = narrow(tokens, narrow.new_cache(), last_only=False)
    agreement = (a.argmax(-1) == b.argmax(-1)).float().mean().item()
    print(f"top-1 agreement of bf16 with fp32: {agreement:.3f}")
    assert agreement > 0.9


def test_weights_in_the_files_own_dtype_are_views_of_the_file(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "m")
    model = Transformer.from_folder(folder)
    mapped = [
        line.split()[0].split("-")
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith("consolidated.safetensors")
    ]
    ranges = [(int(low, 16), int(high, 16)) for low, high in mapped]
    for name, parameter in model.named_parameters():
        address = parameter.data_ptr()
        assert any(low <= address < high for low, high in ranges), name


def test_last_row_logits_are_those_of_the_whole(tmp_path: Path) -> None:
    model = Transformer.from_folder(tiny.make(tmp_path / "m"))
    tokens = torch.tensor([[5, 6, 7, 8]])
    whole = model(tokens, model.new_cache(), last_only=False)
    last = model(tokens, model.new_cache())
    assert last.shape == (1, 1, model.config.vocab_size)
    torch.testing.assert_close(last[0, 0], whole[0, -1])


def test_prefill_returns_nothing_when_stopped(tmp_path: Path) -> None:
    model = Transformer.from_folder(tiny.make(tmp_path / "m"))
    cache = model.new_cache()
    stopped = prefill(model, cache, list(range(3, 43)), chunk_size=10, done=lambda chunk: False)
    assert stopped is None
    assert cache.lengths == [10]


def test_parameter_count_of_mistral_7b() -> None:
    """The published size, from the published shape, without memory for it."""
    config = ModelConfig.from_params(
        {
            "dim": 4096,
            "n_layers": 32,
            "head_dim": 128,
            "hidden_dim": 14336,
            "n_heads": 32,
            "n_kv_heads": 8,
            "norm_eps": 1e-5,
            "vocab_size": 32768,
            "rope_theta": 1e6,
        }
    )
    with torch.device("meta"):
        model = Transformer(config)
    assert model.n_params == 7_248_023_552
