"""What loading takes on each rank: its share, and little more."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

import tiny
from inference.config import ModelConfig
from inference.parallel.plan import Share, plan
from parallel import launching

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")

BIG: dict[str, Any] = {
    **tiny.PARAMS,
    "dim": 1024,
    "n_layers": 10,
    "head_dim": 64,
    "hidden_dim": 4096,
    "n_heads": 16,
    "n_kv_heads": 4,
    "vocab_size": 32768,
}
PROMISED = 500  # MB beside a share and its largest tensor
_REMAP = 128 << 20  # bytes, as the loader has it


def write(folder: Path, params: dict[str, Any]) -> int:
    """A checkpoint in bf16, its weights zeros that take no room on the disk; its bytes."""
    folder.mkdir()
    (folder / "params.json").write_text(json.dumps(params))
    header, place = {}, 0
    for name, shape in ModelConfig.from_params(params).tensor_shapes().items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with (folder / "consolidated.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + place)
    return place


def _measured(folder: Path, ranks: int, loads: str) -> list[list[list[float]]]:
    """For each load and rank: (peak, at the end, what is held, the largest part) in MB."""
    launching.run(ranks, "memory", folder, LOADS=loads)
    found = [json.loads((folder / f"memory-{rank}.json").read_text()) for rank in range(ranks)]
    return list(map(list, zip(*found, strict=True)))


def test_a_rank_takes_memory_for_its_share(tmp_path: Path) -> None:
    """The promise is for any size; of this model, which has a fifth of the 2 GB below, a fifth of
    it is allowed, the loader's own measure made smaller alike. Most of that is pages that the
    system maps around those that are read, up to 2 MB of them."""
    size = write(tmp_path / "model", BIG) / 1e6
    assert 350 < size < 450
    config = ModelConfig.from_params(BIG)
    small, endless = _REMAP // 5, 1 << 60
    loads = f"pipeline:{small} tensor:{small} tensor:{endless}"
    *measured, keeping = _measured(tmp_path, 2, loads)
    for how, found in zip(("pipeline", "tensor"), measured, strict=True):
        for share, (peak, end, held, largest) in zip(plan(config, 2, how), found, strict=True):
            assert held == pytest.approx(_held(share))
            print(f"{how}: peak {peak:.0f}, end {end:.0f}, share {held:.0f} MB of {size:.0f}")
            assert 0.9 * held < peak <= held + largest + PROMISED / 5 < 0.9 * size
    # Where no file is mapped anew the peak is what was read, and what was copied. Of what is cut
    # by columns whole rows are read; of all else nothing but the share.
    shapes = config.tensor_shapes()
    for share, (peak, _, held, _) in zip(plan(config, 2), keeping, strict=True):
        by_columns = [n for n in shapes if (cut := share.cut(n)) is not None and cut.dim]
        rows = sum(2 * math.prod(shapes[name]) for name in by_columns) / 1e6
        print(f"share {held:.0f}, cut by columns {rows:.0f}, read and copied {peak:.0f} MB")
        assert held < peak < held + rows + PROMISED / 4


def _held(share: Share) -> float:
    return sum(2 * math.prod(shape) for shape in share.shapes().values()) / 1e6


@pytest.mark.soak
@pytest.mark.parametrize(("ranks", "how"), [(2, "tensor"), (4, "tensor"), (3, "pipeline")])
def test_a_rank_of_a_2_gb_model_takes_memory_for_its_share(
    tmp_path: Path, ranks: int, how: str
) -> None:
    params = {**BIG, "dim": 2048, "n_layers": 20, "hidden_dim": 6144}
    size = write(tmp_path / "model", params) / 1e6
    assert 1900 < size < 2200
    (found,) = _measured(tmp_path, ranks, f"{how}:{_REMAP}")
    for peak, end, held, largest in found:
        print(f"{ranks} {how}: peak {peak:.0f}, end {end:.0f}, share {held:.0f} MB of {size:.0f}")
        assert held < 1.4 * size / ranks
        assert peak <= held + largest + PROMISED
