"""The CUDA path without a GPU: fake tensors catch device and dtype mistakes and host syncs.

What a real GPU alone can show (kernels, memory, speed) is not shown here.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import tiny
from inference.config import ModelConfig
from inference.transformer import Transformer


class NoCrossing(TorchDispatchMode):
    """Fails on a copy between devices and on anything that makes the host wait."""

    syncs = (
        torch.ops.aten._local_scalar_dense.default,
        torch.ops.aten.nonzero.default,
        torch.ops.aten.item.default,
    )

    def __init__(self) -> None:
        super().__init__()
        self.armed = False
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.armed:
            self.count += 1
            assert func not in self.syncs, f"{func} waits for the device"
            if func is torch.ops.aten._to_copy.default:
                target = (kwargs or {}).get("device")
                assert target is None or torch.device(target).type == args[0].device.type
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("tied", [False, True])
def test_prefill_and_decode_stay_on_the_device(dtype: torch.dtype, tied: bool) -> None:
    config = ModelConfig.from_params({**tiny.PARAMS, "tied_embeddings": tied})
    with torch.device("meta"):
        model = Transformer(config)
    with FakeTensorMode(allow_non_fake_inputs=True), NoCrossing() as guard:
        state = {
            name: torch.empty(weight.shape, dtype=dtype, device="cuda")
            for name, weight in model.state_dict().items()
        }
        model.load_state_dict(state, assign=True)
        model.requires_grad_(False)
        cache = model.new_cache()
        for count in (40, 300, 1):  # a first chunk, one that makes the cache grow, a token
            tokens = torch.zeros((1, count), dtype=torch.long, device="cuda")
            guard.armed = True
            logits = model(tokens, cache)
            guard.armed = False
            assert logits.device.type == "cuda"
            assert logits.dtype is torch.float32
            assert logits.shape == (1, 1, config.vocab_size)
        batch = model.new_cache(batch=3)
        for row in range(3):
            model(torch.zeros((1, 5 + row), dtype=torch.long, device="cuda"), batch, row=row)
        guard.armed = True
        out = model(torch.zeros((3, 1), dtype=torch.long, device="cuda"), batch)
        guard.armed = False
        assert out.shape == (3, 1, config.vocab_size)
    assert guard.count > 100
