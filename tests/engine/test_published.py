"""Every model of the table, built on the meta device from its published shape."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch

from inference.config import ModelConfig
from inference.errors import CheckpointError
from inference.folder import inspect_folder
from inference.params import from_params
from inference.transformer import Transformer
from published import PUBLISHED, REFUSED, Published, Refused

_VISION_NAMES = (
    "vision_encoder.patch_conv.weight",
    "vision_encoder.transformer.layers.0.attention.wq.weight",
    "vision_language_adapter.w_in.weight",
    "patch_merger.merging_layer.weight",
    "pre_mm_projector_norm.weight",
)


@pytest.mark.parametrize("model", PUBLISHED, ids=lambda m: m.name)
def test_the_parameter_count_is_the_published_one(model: Published) -> None:
    config = from_params(model.params)
    with torch.device("meta"):
        built = Transformer(config)
    assert built.n_params == model.n_params == config.n_params
    assert (model.n_params + model.vision) / 1e9 == pytest.approx(model.billions, rel=0.03)
    if model.active is not None:
        assert config.n_active_params == model.active
    else:
        assert config.n_active_params == config.n_params
    assert {name: tuple(w.shape) for name, w in built.state_dict().items()} == (
        config.tensor_shapes()
    )


def _key_list(path: Path, config: ModelConfig, *, vision: bool) -> None:
    """A safetensors file as large as the real one, all holes: what matters is its header."""
    header: dict[str, object] = {}
    place = 0

    def add(name: str, dtype: str, shape: tuple[int, ...], width: int) -> None:
        nonlocal place
        size = width
        for n in shape:
            size *= n
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + size]}
        place += size

    for name, shape in config.tensor_shapes().items():
        narrow = config.fp8 and name.startswith("layers.") and len(shape) == 2
        add(name, "F8_E4M3" if narrow else "BF16", shape, 1 if narrow else 2)
        if narrow:
            for scale in ("qscale_weight", "qscale_act"):
                add(name.removesuffix("weight") + scale, "BF16", (), 2)
    for name in _VISION_NAMES if vision else ():
        add(name, "BF16", (8, 8), 2)
    encoded = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        file.truncate(8 + len(encoded) + place)


@pytest.mark.parametrize("model", PUBLISHED, ids=lambda m: m.name)
def test_a_synthetic_key_list_loads_without_a_complaint(model: Published, tmp_path: Path) -> None:
    (tmp_path / "params.json").write_text(json.dumps(model.params))
    config = from_params(model.params)
    _key_list(tmp_path / "consolidated.safetensors", config, vision=config.vision)
    found = inspect_folder(tmp_path, tokenizer=False)
    assert found.config == config
    assert found.nbytes > model.n_params * (1 if config.fp8 else 2)


@pytest.mark.parametrize("model", REFUSED, ids=lambda m: m.name)
def test_what_cannot_run_is_refused_by_name(model: Refused) -> None:
    with pytest.raises(CheckpointError) as caught:
        from_params(model.params)
    assert model.section in str(caught.value)
    assert "\n" not in str(caught.value)


def test_both_lists_are_there() -> None:
    assert len(PUBLISHED) >= 20
    assert len(REFUSED) >= 3


def test_windows_and_theta_of_the_first_7b_and_of_ministral() -> None:
    by_name = {model.name: from_params(model.params) for model in PUBLISHED}
    first = next(config for name, config in by_name.items() if "7B v0.1" in name)
    assert first.rope_theta == 1e4
    assert first.windows == (4096,)
    ministral = next(config for name, config in by_name.items() if "Ministral 8B" in name)
    assert len(ministral.windows) == 2
    assert ministral.window(0) is None or ministral.window(1) is None
