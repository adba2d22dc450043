"""The CUDA path without a GPU: fake tensors catch device and dtype mistakes and host syncs.

What a real GPU alone can show (kernels, memory, speed) is not shown here: not run on a GPU.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import tiny
from dry_run import CASES, NoCrossing, fill, read_adapter, write_adapter
from inference import lora
from inference.generation import decode_rows
from inference.linear import Linear, LoraPair
from inference.params import from_params
from inference.transformer import Transformer


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("case", CASES)
def test_prefill_and_decode_stay_on_the_device(
    monkeypatch: pytest.MonkeyPatch, case: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    config = from_params({**tiny.PARAMS, "vocab_size": 512, **CASES[case]})
    with torch.device("meta"):
        model = Transformer(config)
    adapter = write_adapter(tmp_path / "lora.safetensors", model)
    with FakeTensorMode(allow_non_fake_inputs=True), NoCrossing() as guard:
        fill(model, dtype)
        if "lora" in case:
            monkeypatch.setattr(lora, "_read", read_adapter)
            model.load_lora(adapter, merge="merged" in case)
        cache = model.new_cache()
        for count in (40, 300, 1, 1):  # a first chunk, one that makes the cache grow, tokens
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


@pytest.mark.parametrize("case", ["dense", "moe", "window", "yarn"])
def test_rows_from_one_prefill_stay_on_the_device(
    monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr("inference.cache._FIRST_CAPACITY", 4)  # so that the cache grows, too
    config = from_params({**tiny.PARAMS, "vocab_size": 512, **CASES[case]})
    with torch.device("meta"):
        model = Transformer(config)
    seen: list[torch.Tensor] = []

    def sampler(logits: torch.Tensor) -> tuple[int, float]:  # ours waits for its token, once
        seen.append(logits)
        return 7, 0.0

    with FakeTensorMode(allow_non_fake_inputs=True), NoCrossing() as guard:
        fill(model, torch.bfloat16)
        cache = model.new_cache()
        logits = model(torch.zeros((1, 300), dtype=torch.long, device="cuda"), cache)
        last = logits.select(0, 0).select(0, -1)
        guard.armed = True
        rows = model.fan_out(cache, 3, room=600)
        guard.armed = False
        # Between two steps the host tells the drawn ids, as for a single sequence.
        model.register_forward_pre_hook(lambda *_: setattr(guard, "armed", True))
        model.register_forward_hook(lambda *_: setattr(guard, "armed", False))
        active = {0, 1, 2}
        drawn = decode_rows(model, rows, [last] * 3, [sampler] * 3, active, max_tokens=12)
        for number, (row, _, _) in enumerate(drawn):
            if row == 1 and number > 12:
                active.discard(1)
    assert rows.lengths[0] == rows.lengths[2] == 300 + 11
    assert rows.lengths[1] == 304
    assert {(one.device.type, one.shape) for one in seen} == {("cuda", (512,))}
    assert guard.count > 500


def test_the_guard_sees_what_it_is_for() -> None:
    with FakeTensorMode(), NoCrossing() as guard:
        x = torch.ones(3, device="cuda")
        guard.armed = True
        with pytest.raises(AssertionError, match="waits for the device"):
            # Called by hand: torch itself refuses it sooner where there is no CUDA.
            guard.__torch_dispatch__(torch.ops.aten.nonzero.default, (), (x,))
        with pytest.raises(AssertionError):
            x.to("cpu")


@pytest.mark.parametrize("case", ["dense", "window", "yarn", "lora"])
def test_a_decode_step_compiles_without_a_graph_break(case: str) -> None:
    model = Transformer(from_params({**tiny.PARAMS, "vocab_size": 512, **CASES[case]}))
    for weight in model.requires_grad_(False).parameters():
        torch.nn.init.normal_(weight, std=0.05)
    if case == "lora":
        for module in model.modules():
            if isinstance(module, Linear):
                n_out, n_in = module.weight.shape
                module.lora = LoraPair(torch.randn(8, n_in), torch.randn(n_out, 8) * 0.01, 2.0)
    torch._dynamo.reset()
    prompt, token = torch.arange(3, 40).unsqueeze(0), torch.tensor([[7]])
    caches = [model.new_cache(max_length=64) for _ in range(2)]
    for cache in caches:
        model(prompt, cache)
    step = torch.compile(lambda t, c: model(t, c), fullgraph=True, backend="eager")
    for _ in range(3):
        torch.testing.assert_close(step(token, caches[0]), model(token, caches[1]))
    assert caches[0].lengths == caches[1].lengths
    explained = torch._dynamo.explain(lambda t, c: model(t, c))(token, caches[0])
    assert explained.graph_break_count == 0
    assert explained.graph_count == 1
