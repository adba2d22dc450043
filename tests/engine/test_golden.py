"""Our logits, logprobs and greedy tokens against those of mistral-inference 1.6.0, which
`tests/golden/make_golden.py` ran once on the same weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from golden.weights import lora_shapes, make, shapes
from inference import Transformer, generate

GOLDEN = Path(__file__).parents[1] / "golden"
CASES: dict[str, dict[str, Any]] = json.loads((GOLDEN / "golden.json").read_text())
ADAPTED = [name for name, case in CASES.items() if "lora" in case]
LOGITS = 1e-5  # largest difference, as a part of the largest logit
LOGPROBS = 1e-4

Values = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def values() -> Values:
    with np.load(GOLDEN / "golden.npz") as file:
        return dict(file)


def base_model(case: dict[str, Any], folder: Path) -> Transformer:
    """By the loader, from a checkpoint in Mistral's native layout."""
    folder.mkdir()
    (folder / "params.json").write_text(json.dumps(case["params"]))
    save_file(make(shapes(case["params"]), case["seed"]), folder / "consolidated.safetensors")
    return Transformer.from_folder(folder, dtype=torch.float32)


def write_adapter(case: dict[str, Any], folder: Path) -> Path:
    """The case's adapter as mistral-finetune leaves it, without its params.json."""
    folder.mkdir()
    lora = case["lora"]
    weights = make(lora_shapes(case["params"], lora["rank"], lora["targets"]), lora["seed"])
    save_file(weights, folder / "lora.safetensors")
    return folder / "lora.safetensors"


def whole_model(case: dict[str, Any], folder: Path) -> Transformer:
    """The base, with the case's adapter if it has one, whose folder states its scaling."""
    model = base_model(case, folder / "base")
    if "lora" in case:
        file = write_adapter(case, folder / "adapter")
        said = {key: case["lora"][key] for key in ("rank", "scaling")}
        (file.parent / "params.json").write_text(json.dumps({"lora": said}))
        model.load_lora(file.parent)
    return model


def compare_logits(name: str, model: Transformer, values: Values) -> None:
    for n, prompt in enumerate(CASES[name]["prompts"]):
        theirs = values[f"{name}/logits/{n}"]
        ours = model(torch.tensor([prompt]), model.new_cache(), last_only=False)
        assert ours.shape == (1, len(prompt), model.config.vocab_size)
        rows = ours[0, -len(theirs) :].numpy()
        difference = np.abs(rows - theirs).max() / np.abs(theirs).max()
        print(f"{name}: largest logit difference {difference:.1e} of the largest logit")
        assert difference < LOGITS


@pytest.mark.parametrize("name", CASES)
def test_logits_of_the_prompt_equal_the_reference(
    name: str, tmp_path: Path, values: Values
) -> None:
    compare_logits(name, whole_model(CASES[name], tmp_path), values)


@pytest.mark.parametrize("name", CASES)
def test_generation_equals_the_reference(name: str, tmp_path: Path, values: Values) -> None:
    """The prompt read at once, in the reference's chunks where it can, and in others."""
    case = CASES[name]
    model = whole_model(case, tmp_path)
    prompts = case["prompts"]
    for chunk in (max(map(len, prompts)), *case["chunks"], 7):
        tokens, logprobs = generate(
            prompts, model, max_tokens=len(case["tokens"][0]), temperature=0, chunk_size=chunk
        )
        assert tokens == case["tokens"]
        for n, ours in enumerate(logprobs):
            theirs = values.get(f"{name}/chunks/{chunk}", values[f"{name}/logprobs/{n}"])
            assert len(ours) == len(theirs) == len(prompts[n]) - 1 + len(tokens[n])
            difference = np.abs(np.array(ours) - theirs).max()
            print(f"{name}: largest logprob difference {difference:.1e} in chunks of {chunk}")
            assert difference < LOGPROBS


@pytest.mark.parametrize("merge", [False, True], ids=["beside", "merged"])
@pytest.mark.parametrize("name", ADAPTED)
def test_a_bare_adapter_file_equals_the_reference(
    name: str, merge: bool, tmp_path: Path, values: Values
) -> None:
    """Its scaling is given, or is the 2.0 that the reference assumes; the base keeps none of
    what an adapter before it did."""
    case = CASES[name]
    model = base_model(case, tmp_path / "base")
    file = write_adapter(case, tmp_path / "adapter")
    model.load_lora(file, scaling=3.0, merge=merge)
    scaling = case["lora"]["scaling"]
    model.load_lora(file, scaling=None if scaling == 2.0 else scaling, merge=merge)
    compare_logits(name, model, values)
