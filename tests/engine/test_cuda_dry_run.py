"""The CUDA path without a GPU: fake tensors catch device and dtype mistakes and host syncs.

What a real GPU alone can show (kernels, memory, speed) is not shown here: not run on a GPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import tiny
from inference import lora
from inference.adapter import Adapter
from inference.generation import decode_rows
from inference.linear import Linear, LoraPair
from inference.params import from_params
from inference.transformer import Transformer

MOE = {"moe": {"num_experts": 4, "num_experts_per_tok": 2}}
YARN = {
    "factor": 4.0,
    "original_max_position_embeddings": 64,
    "beta": 32.0,
    "alpha": 1.0,
    "apply_scale": True,
}
CASES: dict[str, dict[str, Any]] = {
    "dense": {},
    "tied": {"tied_embeddings": True},
    "moe": MOE,
    "window": {"sliding_window": 16},
    "windows by layer": {"sliding_window": [16, None]},
    "yarn": {
        "yarn": YARN,
        "llama_4_scaling": {"original_max_position_embeddings": 64, "beta": 0.1},
    },
    "lora": {},
    "moe with lora": MOE,
    "lora, merged": {},
    # Merged into a stack of experts is beyond it: fake tensors refuse writes into a part.
}
_SYNCS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.item.default,
    torch.ops.aten.is_nonzero.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten.unique_consecutive.default,
}


class NoCrossing(TorchDispatchMode):
    """Fails on a copy between devices and on anything that makes the host wait."""

    def __init__(self) -> None:
        super().__init__()
        self.armed = False
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.armed:
            self.count += 1
            assert func not in _SYNCS, f"{func} waits for the device"
            if func is torch.ops.aten._to_copy.default:
                target = (kwargs or {}).get("device")
                assert target is None or torch.device(target).type == args[0].device.type
            devices = {a.device.type for a in args if isinstance(a, torch.Tensor) and a.dim()}
            assert devices <= {"cuda"}, f"{func} on {devices}"
        return func(*args, **(kwargs or {}))


def _fill(model: Transformer, dtype: torch.dtype) -> None:
    device = torch.device("cuda")
    for mixture in model.mixtures():
        mixture.stack(device, dtype)
    for module in model.modules():
        for name, weight in module.named_parameters(recurse=False):
            if weight.is_meta:
                empty = torch.empty(weight.shape, dtype=dtype, device=device)
                setattr(module, name, torch.nn.Parameter(empty, requires_grad=False))


def _adapter(path: Path, model: Transformer) -> Path:
    """One on every linear layer, of rank 8."""
    pairs = {}
    for name, n_in, n_out in model.config.linears():
        pairs[f"{name}.lora_A.weight"] = torch.ones(8, n_in)
        pairs[f"{name}.lora_B.weight"] = torch.ones(n_out, 8)
    save_file(pairs, str(path))
    return path


def _read(adapter: Adapter, model: Transformer) -> dict[str, LoraPair]:
    def empty(*shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=model.dtype, device=model.device)

    linears = model.config.linears()
    return {n: LoraPair(empty(8, i), empty(o, 8), adapter.scaling) for n, i, o in linears}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("case", CASES)
def test_prefill_and_decode_stay_on_the_device(
    monkeypatch: pytest.MonkeyPatch, case: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    config = from_params({**tiny.PARAMS, "vocab_size": 512, **CASES[case]})
    with torch.device("meta"):
        model = Transformer(config)
    adapter = _adapter(tmp_path / "lora.safetensors", model)
    with FakeTensorMode(allow_non_fake_inputs=True), NoCrossing() as guard:
        _fill(model, dtype)
        if "lora" in case:
            # Reading the file is left out: fake tensors have no place in it.
            monkeypatch.setattr(lora, "_read", _read)
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
        _fill(model, torch.bfloat16)
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
