"""The one-file reference against transformers, on small random checkpoints on disk."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from safetensors.torch import save_file
from torch import Tensor

from inference import reference
from inference.reference import Reference, Refused, visible

ROOT = Path(__file__).parents[2]
PARAMS: dict[str, Any] = {
    "dim": 64,
    "n_layers": 3,
    "head_dim": 16,
    "hidden_dim": 96,
    "n_heads": 4,
    "n_kv_heads": 2,
    "norm_eps": 1e-5,
    "vocab_size": 512,
    "rope_theta": 1e6,
}
MOE = {"moe": {"num_experts": 4, "num_experts_per_tok": 2}}
SPM_V3 = "mistral_instruct_tokenizer_240323.model.v3"
IDS = torch.randint(0, 512, (70,), generator=torch.Generator().manual_seed(1)).tolist()

Weights = dict[str, Tensor]


def make(folder: Path, **changes: Any) -> tuple[dict[str, Any], Weights]:
    """A random model in Mistral's layout: on disk, and as it was written there."""
    p = {**PARAMS, **changes}
    p = {key: value for key, value in p.items() if value is not ...}
    generator = torch.Generator().manual_seed(7)

    def matrix(rows: int, columns: int, size: float = 1.0) -> Tensor:
        return torch.randn(rows, columns, generator=generator) * size * columns**-0.5

    def norm() -> Tensor:
        return 1 + 0.1 * torch.randn(p["dim"], generator=generator)

    d, q, kv = p["dim"], p["n_heads"] * p["head_dim"], p["n_kv_heads"] * p["head_dim"]
    w = {"tok_embeddings": matrix(p["vocab_size"], d, d**0.5), "norm": norm()}
    if not p.get("tied_embeddings"):
        w["output"] = matrix(p["vocab_size"], d)
    for n in range(p["n_layers"]):
        layer = f"layers.{n}."
        w |= {f"{layer}attention_norm": norm(), f"{layer}ffn_norm": norm()}
        w |= {f"{layer}attention.{x}": matrix(kv, d) for x in ("wk", "wv")}
        w |= {f"{layer}attention.wq": matrix(q, d), f"{layer}attention.wo": matrix(d, q)}
        places = ["feed_forward."]
        if p.get("moe"):
            experts = p["moe"]["num_experts"]
            w[f"{layer}feed_forward.gate"] = matrix(experts, d, 2.0)
            places = [f"feed_forward.experts.{e}." for e in range(experts)]
        for place in places:
            w |= {f"{layer}{place}{x}": matrix(p["hidden_dim"], d) for x in ("w1", "w3")}
            w[f"{layer}{place}w2"] = matrix(d, p["hidden_dim"])
    w = {f"{name}.weight": tensor for name, tensor in w.items()}
    folder.mkdir()
    (folder / "params.json").write_text(json.dumps(p))
    save_file(w, folder / "consolidated.safetensors")
    return p, w


def half_split(weight: Tensor, heads: int) -> Tensor:
    """Rows of interleaved rotary pairs in the order that Hugging Face expects."""
    rows, dim = weight.shape
    return weight.view(heads, rows // heads // 2, 2, dim).transpose(1, 2).reshape(rows, dim)


def to_hugging_face(p: dict[str, Any], w: Weights, theta: float) -> transformers.PreTrainedModel:
    """The same model in transformers; of `sliding_window` it knows one number, or one that
    holds for some of the layers."""
    shape: dict[str, Any] = {
        "vocab_size": p["vocab_size"],
        "hidden_size": p["dim"],
        "intermediate_size": p["hidden_dim"],
        "num_hidden_layers": p["n_layers"],
        "num_attention_heads": p["n_heads"],
        "num_key_value_heads": p["n_kv_heads"],
        "head_dim": p["head_dim"],
        "rms_norm_eps": p["norm_eps"],
        "rope_parameters": {"rope_theta": theta, "rope_type": "default"},
        "tie_word_embeddings": p.get("tied_embeddings", False),
        "attn_implementation": "eager",
    }
    windows = p.get("sliding_window")
    if isinstance(windows, list):
        (shape["sliding_window"],) = {window for window in windows if window}
        kinds = ["sliding_attention" if window else "full_attention" for window in windows]
        shape["layer_types"] = [kinds[n % len(kinds)] for n in range(p["n_layers"])]
        theirs = transformers.MinistralForCausalLM(transformers.MinistralConfig(**shape))
    elif p.get("moe"):
        shape["num_local_experts"] = p["moe"]["num_experts"]
        shape["num_experts_per_tok"] = p["moe"]["num_experts_per_tok"]
        config = transformers.MixtralConfig(**shape, sliding_window=windows)
        theirs = transformers.MixtralForCausalLM(config)
    else:
        config = transformers.MistralConfig(**shape, sliding_window=windows)
        theirs = transformers.MistralForCausalLM(config)

    names = {
        "attention.wq": "self_attn.q_proj",
        "attention.wk": "self_attn.k_proj",
        "attention.wv": "self_attn.v_proj",
        "attention.wo": "self_attn.o_proj",
        "feed_forward.w1": "mlp.gate_proj",
        "feed_forward.w2": "mlp.down_proj",
        "feed_forward.w3": "mlp.up_proj",
        "feed_forward.gate": "mlp.gate",
        "attention_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
    }
    state = {
        "model.embed_tokens.weight": w["tok_embeddings.weight"],
        "model.norm.weight": w["norm.weight"],
        "lm_head.weight": w.get("output.weight", w["tok_embeddings.weight"]),
    }
    for n in range(p["n_layers"]):
        ours, layer = f"layers.{n}.", f"model.layers.{n}."
        for name, their_name in names.items():
            weight = w.get(f"{ours}{name}.weight")
            if weight is None:
                continue
            if name in ("attention.wq", "attention.wk"):
                weight = half_split(weight, p["n_heads" if name[-1] == "q" else "n_kv_heads"])
            state[f"{layer}{their_name}.weight"] = weight
        if p.get("moe"):
            experts = [f"{ours}feed_forward.experts.{e}." for e in range(p["moe"]["num_experts"])]
            gate_up = [torch.cat([w[f"{e}w1.weight"], w[f"{e}w3.weight"]]) for e in experts]
            state[f"{layer}mlp.experts.gate_up_proj"] = torch.stack(gate_up)
            down = torch.stack([w[f"{e}w2.weight"] for e in experts])
            state[f"{layer}mlp.experts.down_proj"] = down
    theirs.load_state_dict(state, strict=True)
    return theirs.eval()


def agree(ours: Tensor, theirs: Tensor) -> None:
    difference = ((ours - theirs).abs().max() / theirs.abs().max()).item()
    print(f"max|Δlogit| / max|logit| = {difference:.1e}")
    assert difference < 1e-5
    assert torch.equal(ours.argmax(-1), theirs.argmax(-1))


@pytest.mark.parametrize(
    ("changes", "theta"),
    [
        ({}, 1e6),
        ({"rope_theta": ...}, 1e6),
        ({"rope_theta": ..., "sliding_window": 9}, 1e4),
        ({"sliding_window": 9}, 1e6),
        ({"sliding_window": [5, None]}, 1e6),
        ({"tied_embeddings": True, "moe": None, "max_seq_len": 64}, 1e6),
        ({"head_dim": 32, "n_kv_heads": 1}, 1e6),
        ({"dim": 48, "n_heads": 6, "n_kv_heads": 6, "rope_theta": 5e5}, 5e5),
        (MOE, 1e6),
        ({**MOE, "sliding_window": 9}, 1e6),
        ({"moe": {"num_experts": 8, "num_experts_per_tok": 3}}, 1e6),
        ({"moe": {"num_experts": 2, "num_experts_per_tok": 1}}, 1e6),
    ],
    ids=str,
)
def test_logits_and_greedy_tokens_equal_transformers(
    tmp_path: Path, changes: dict[str, Any], theta: float
) -> None:
    p, w = make(tmp_path / "m", **changes)
    ours, theirs = Reference.from_folder(tmp_path / "m"), to_hugging_face(p, w, theta)
    with torch.inference_mode():
        agree(ours.logits(IDS), theirs(torch.tensor([IDS])).logits[0])
    prompt = IDS[:12]
    tokens = theirs.generate(
        torch.tensor([prompt]), max_new_tokens=24, min_new_tokens=24, do_sample=False,
        pad_token_id=0, eos_token_id=None,
    )  # fmt: skip
    assert ours.greedy(prompt, 24) == tokens[0, len(prompt) :].tolist()


@pytest.mark.parametrize("windows", [[3, None, 7], [4, 11], [None, 1], [200]])
def test_a_window_for_each_layer(tmp_path: Path, windows: list[int | None]) -> None:
    """Against transformers with masks that are written here, token by token."""
    p, w = make(tmp_path / "m", n_layers=5, sliding_window=windows)
    length = len(IDS)
    theirs = to_hugging_face({**p, "sliding_window": None}, w, 1e6)
    for n, layer in enumerate(theirs.model.layers):
        window = windows[n % len(windows)]
        mask = torch.full((1, 1, length, length), torch.finfo(torch.float32).min)
        for i in range(length):
            for j in range(i + 1):
                if window is None or j in range(i - window + 1, i + 1):
                    mask[0, 0, i, j] = 0.0

        def masked(_: Any, args: Any, kwargs: dict[str, Any], mask: Tensor = mask) -> Any:
            return args, {**kwargs, "attention_mask": mask}

        layer.register_forward_pre_hook(masked, with_kwargs=True)
    with torch.inference_mode():
        agree(
            Reference.from_folder(tmp_path / "m").logits(IDS), theirs(torch.tensor([IDS])).logits[0]
        )


def test_a_window_counts_the_token_itself(tmp_path: Path) -> None:
    """One layer, window 5: the last token sees the four before it and nothing else."""
    make(tmp_path / "m", n_layers=1, sliding_window=5)
    model = Reference.from_folder(tmp_path / "m")
    before = model.logits(IDS)[-1]
    for back in range(1, 20):
        changed = list(IDS)
        changed[-1 - back] = (changed[-1 - back] + 1) % 512
        after = model.logits(changed)[-1]
        assert torch.equal(before, after) == (back >= 5), back
    # Two layers: through the last token but four, four more.
    make(tmp_path / "two", n_layers=2, sliding_window=5)
    model = Reference.from_folder(tmp_path / "two")
    before = model.logits(IDS)[-1]
    for back, same in ((8, False), (9, True)):
        changed = list(IDS)
        changed[-1 - back] = (changed[-1 - back] + 1) % 512
        assert torch.equal(before, model.logits(changed)[-1]) == same, back


def test_masks_by_hand() -> None:
    assert visible(4, None).int().tolist() == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [1, 1, 1, 0],
        [1, 1, 1, 1],
    ]
    assert visible(4, 2).int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    assert visible(3, 1).int().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_a_rotation_by_hand() -> None:
    """Theta 1, so every pair turns by one radian a token; neighbours are pairs."""
    x = torch.tensor([1.0, 0.0, 0.0, 1.0]).expand(3, 1, 4)
    turned = reference.rotate(x, 1.0)
    angle = torch.arange(3.0)
    expected = torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()], dim=-1)
    torch.testing.assert_close(turned[:, 0], expected)


def test_an_expert_by_hand() -> None:
    """Experts that return silu(1) times their number; logits 1, 3, 2, the best two of them."""
    p = reference.SimpleNamespace(n_experts=3, n_chosen=2)
    w = {"feed_forward.gate": torch.tensor([[1.0], [3.0], [2.0]])}
    for e in range(3):
        one = torch.ones(1, 1)
        w |= {f"feed_forward.experts.{e}.{x}": one for x in ("w1", "w3")}
        w[f"feed_forward.experts.{e}.w2"] = one * e
    share = 1 / (1 + torch.tensor(-1.0).exp())  # of expert 1; expert 2 has the rest
    silu = 1 / (1 + torch.tensor(-1.0).exp())
    out = reference.mixture(torch.ones(1, 1), w, p)
    torch.testing.assert_close(out[0, 0], silu * (1 * share + 2 * (1 - share)))


@pytest.mark.parametrize(
    ("changes", "theta", "windows"),
    [
        ({}, 1e6, [None]),
        ({"sliding_window": None}, 1e6, [None]),
        ({"_sliding_window": 4096}, 1e4, [4096]),
        ({"sliding_window": [None, 8]}, 1e4, [None, 8]),
        ({"sliding_window": [None]}, 1e6, [None]),
        ({"sliding_window": [8], "rope_theta": 5e5}, 5e5, [8]),
    ],
    ids=str,
)
def test_windows_and_the_theta_that_is_left_out(
    tmp_path: Path, changes: dict[str, Any], theta: float, windows: list[int | None]
) -> None:
    path = tmp_path / "params.json"
    path.write_text(json.dumps({**PARAMS, "rope_theta": None, **changes}))
    p = reference.read_params(path)
    assert (p.rope_theta, p.windows) == (theta, windows)


# ── files ───────────────────────────────────────────────────────────────────────────


def test_the_layout_of_december_2023_is_the_same_model(tmp_path: Path) -> None:
    p, w = make(tmp_path / "new", **MOE)
    old = {name: tensor for name, tensor in w.items() if ".experts." not in name}
    for n in range(p["n_layers"]):
        new_name, old_name = f"layers.{n}.feed_forward", f"layers.{n}.block_sparse_moe"
        old[f"{old_name}.gate.weight"] = old.pop(f"{new_name}.gate.weight")
        for x in ("w1", "w2", "w3"):
            parts = [w[f"{new_name}.experts.{e}.{x}.weight"] for e in range(4)]
            old[f"{old_name}.{x}"] = torch.cat([part.T if x == "w2" else part for part in parts])
            assert old[f"{old_name}.{x}"].shape == (4 * 96, 64)
    (tmp_path / "old").mkdir()
    shutil.copy(tmp_path / "new" / "params.json", tmp_path / "old")
    save_file(old, tmp_path / "old" / "consolidated.safetensors")
    logits = [Reference.from_folder(tmp_path / name).logits(IDS) for name in ("new", "old")]
    assert torch.equal(*logits)


def test_shards_are_the_same_model(tmp_path: Path) -> None:
    _, w = make(tmp_path / "m")
    whole = Reference.from_folder(tmp_path / "m").logits(IDS)
    (tmp_path / "m" / "consolidated.safetensors").unlink()
    for n in range(3):
        part = dict(list(w.items())[n::3])
        save_file(part, tmp_path / "m" / f"consolidated-0000{n + 1}-of-00003.safetensors")
    assert torch.equal(Reference.from_folder(tmp_path / "m").logits(IDS), whole)


def test_narrow_weights_stay_close(tmp_path: Path) -> None:
    make(tmp_path / "m", **MOE)
    wide = Reference.from_folder(tmp_path / "m").logits(IDS)
    narrow = Reference.from_folder(tmp_path / "m", dtype=torch.bfloat16).logits(IDS)
    assert narrow.dtype is torch.float32
    assert torch.nn.functional.cosine_similarity(wide, narrow).median() > 0.99


def test_greedy_ends_at_the_end_token(tmp_path: Path) -> None:
    make(tmp_path / "m")
    model = Reference.from_folder(tmp_path / "m")
    free = model.greedy(IDS[:5], 12)
    stop = free[4]
    assert model.greedy(IDS[:5], 12, eos_id=stop) == free[: free.index(stop)]
    assert model.greedy(IDS[:5], 0) == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"yarn": {"factor": 2.0}}, "yarn"),
        ({"vision_encoder": {}}, "vision_encoder"),
        ({"model_type": "mamba"}, "model_type"),
        ({"dim": ...}, "dim"),
        ({"n_heads": 3}, "heads"),
        ({"n_layers": "3"}, "whole number"),
        ({"sliding_window": [4, 0]}, "whole number"),
        ({"moe": {"num_experts": 4, "num_experts_per_tok": 5}}, "experts"),
        ({"moe": {"num_experts": 4, "top_k": 2}}, "top_k"),
        ({"moe": []}, "not understood"),
        ({"vocab_size": 511}, "tok_embeddings|output"),
        ({"n_layers": 4}, "layers.3.* is missing"),
        ({"n_layers": 2}, "layers.2.*not known"),
        ({"tied_embeddings": True}, "output"),
        (MOE, "feed_forward.experts"),
    ],
    ids=str,
)
def test_what_is_not_understood_is_refused_in_a_sentence(
    tmp_path: Path, changes: dict[str, Any], word: str
) -> None:
    make(tmp_path / "m")
    p = {key: value for key, value in {**PARAMS, **changes}.items() if value is not ...}
    (tmp_path / "m" / "params.json").write_text(json.dumps(p))
    with pytest.raises(Refused, match=word) as refused:
        Reference.from_folder(tmp_path / "m")
    assert re.fullmatch(r"[^\n]+\.", str(refused.value))


def test_damaged_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    make(tmp_path / "m")
    path = tmp_path / "m" / "consolidated.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(Refused, match="cannot be read"):
        Reference.from_folder(tmp_path / "m")
    path.unlink()
    with pytest.raises(Refused, match="missing"):
        Reference.from_folder(tmp_path / "m")
    for content in ("[]", "{", '{"dim": 1e999}'):
        (tmp_path / "m" / "params.json").write_text(content)
        with pytest.raises(Refused, match="params"):
            Reference.from_folder(tmp_path / "m")
    with pytest.raises(Refused, match="No such file"):
        Reference.from_folder(tmp_path / "nowhere")


@pytest.mark.parametrize("ids", [[], [512], [-1]])
def test_impossible_prompts_are_refused(tmp_path: Path, ids: list[int]) -> None:
    make(tmp_path / "m")
    with pytest.raises(Refused, match="from 0 to 511"):
        Reference.from_folder(tmp_path / "m").logits(ids)


def test_it_is_short_and_stands_alone() -> None:
    source = Path(reference.__file__).read_text()
    assert len(source.splitlines()) < 250
    imported = set(re.findall(r"^\s*(?:from|import) (\w+)", source, re.M))
    assert imported - sys.stdlib_module_names == {"torch", "safetensors", "mistral_common"}


# ── the command ─────────────────────────────────────────────────────────────────────


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "inference.reference", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def _give_tokenizer(folder: Path, shipped: str, name: str) -> Any:
    shutil.copy(MistralTokenizer._data_path() / shipped, folder / name)
    return MistralTokenizer.from_file(folder / name)


def _ids(tokenizer: Any, text: str) -> list[int]:
    from mistral_common.protocol.instruct.messages import UserMessage
    from mistral_common.protocol.instruct.request import ChatCompletionRequest

    request = ChatCompletionRequest(messages=[UserMessage(content=text)])
    return list(tokenizer.encode_chat_completion(request).tokens)


def test_the_command_answers(tmp_path: Path) -> None:
    make(tmp_path / "m", n_layers=1, vocab_size=32768)
    tokenizer = _give_tokenizer(tmp_path / "m", SPM_V3, "tokenizer.model.v3")
    base = tokenizer.instruct_tokenizer.tokenizer
    ids = Reference.from_folder(tmp_path / "m").greedy(_ids(tokenizer, "Ça va ?"), 8, base.eos_id)
    done = _run(str(tmp_path / "m"), "Ça va ?", "--max-tokens", "8")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(ids) == 8
    assert done.stdout == base.decode(ids) + "\n"


def test_pieces_of_an_answer_never_split_a_character(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "m", n_layers=1, dim=16, vocab_size=131072)
    tokenizer = _give_tokenizer(tmp_path / "m", "tekken_240911.json", "tekken.json")
    base = tokenizer.instruct_tokenizer.tokenizer
    ids = base.encode("né à l'été: 𝔘𝔫𝔦𝔠𝔬𝔡𝔢", bos=False, eos=False)  # some of them in four parts
    script = iter(ids)
    monkeypatch.setattr(Reference, "stream", lambda *_: script)
    pieces = list(reference.answer(tmp_path / "m", "Hi", 100, 0.0))
    assert len(ids) > len([piece for piece in pieces if piece])
    assert "".join(pieces) == base.decode(ids)
    assert "\ufffd" not in "".join(pieces)


def test_a_seed_and_a_temperature(tmp_path: Path) -> None:
    make(tmp_path / "m")
    model = Reference.from_folder(tmp_path / "m")

    def drawn(seed: int, temperature: float) -> list[int]:
        torch.manual_seed(seed)
        return list(model.stream(IDS[:5], 8, None, temperature))

    assert drawn(1, 1.0) == drawn(1, 1.0) != drawn(2, 1.0)
    assert drawn(1, 1e-3) == model.greedy(IDS[:5], 8)


def test_the_command_fails_with_a_sentence(tmp_path: Path) -> None:
    make(tmp_path / "m", yarn={"factor": 4})
    shutil.copy(MistralTokenizer._data_path() / SPM_V3, tmp_path / "m" / "tokenizer.model.v3")
    done = _run(str(tmp_path / "m"), "Hi")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"[^\n]+ \['yarn'\]\.\n", done.stderr)


@pytest.mark.parametrize(
    ("file", "word"),
    [(None, "chat layouts"), ("starter.json", "chat layouts"), ("tokenizer.model", r"\.v3"),
     ("tokenizer.model.v3", "32768 tokens, not 512")],
)  # fmt: skip
def test_tokenizers_that_do_not_fit_are_refused(tmp_path: Path, file: str, word: str) -> None:
    make(tmp_path / "m")
    if file:
        shutil.copy(MistralTokenizer._data_path() / SPM_V3, tmp_path / "m" / file)
    with pytest.raises(Refused, match=word):
        next(reference.answer(tmp_path / "m", "Hi", 1, 0.0))
