"""Masks equal xformers' own; its way of calling computes what SDPA does; choosing a backend.

xformers' kernels run on a GPU only, so here a stand-in takes their place, written after the
"equivalent PyTorch code" of their documentation. Not run on a GPU.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from inference.attention import Span, attend, pick_backend, xformers_bias
from inference.errors import SettingError

pytest.importorskip("xformers", reason="xformers has no wheel for this platform")
from xformers.ops import fmha
from xformers.ops.fmha import attn_bias

WINDOWS = [None, 1, 4, 100]


def _span(starts: list[int], count: int, window: int | None) -> Span:
    positions = torch.stack([torch.arange(s, s + count) for s in starts])
    return Span(starts, count, window, positions)


def _full_mask(span: Span) -> torch.Tensor:
    """The span's mask over all keys from position 0 on, (B, T, S)."""
    keys = span.first + span.length
    mask = torch.zeros(len(span.starts), span.count, keys, dtype=torch.bool)
    part = span.mask
    mask[:, :, span.first :] = True if part is None else part
    return mask


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("start", "count"), [(0, 1), (0, 9), (13, 1), (13, 5), (40, 17)])
def test_masks_of_one_sequence_equal_xformers(start: int, count: int, window: int | None) -> None:
    """From the start, in mid-cache, a chunk and a token."""
    theirs: Any = attn_bias.LowerTriangularFromBottomRightMask()
    if window:
        theirs = theirs.make_local_attention(window)
    expected = theirs.materialize((count, start + count)) == 0
    assert torch.equal(_full_mask(_span([start], count, window))[0], expected)


@pytest.mark.parametrize("window", WINDOWS)
def test_masks_of_unequal_sequences_equal_xformers(window: int | None) -> None:
    """One new token each, as the reference decodes a batch: keys padded to one length."""
    starts = [3, 17, 0, 8]
    span = _span(starts, 1, window)
    padding = max(starts) + 1
    lengths = [start + 1 for start in starts]
    if window is None:
        theirs: Any = attn_bias.BlockDiagonalCausalWithOffsetPaddedKeysMask.from_seqlens(
            q_seqlen=[1] * 4, kv_padding=padding, kv_seqlen=lengths
        )
    else:
        theirs = attn_bias.BlockDiagonalCausalLocalAttentionPaddedKeysMask.from_seqlens_local(
            q_seqlen=[1] * 4, kv_padding=padding, kv_seqlen=lengths, window_size=window
        )
    expected = theirs.materialize((4, 4 * padding)) == 0
    ours = torch.zeros(4, 4 * padding, dtype=torch.bool)
    for row, mask in enumerate(_full_mask(span)):
        ours[row, row * padding : (row + 1) * padding] = mask[0]
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("start", "count"), [(0, 1), (0, 9), (13, 1), (13, 5)])
def test_what_xformers_is_told_is_our_mask(start: int, count: int, window: int | None) -> None:
    span = _span([start], count, window)
    length = span.length
    bias = xformers_bias(span)
    told = torch.zeros(count, length) if bias is None else bias.materialize((count, length))
    mask = span.mask
    assert torch.equal(
        told == 0, torch.ones_like(told, dtype=torch.bool) if mask is None else mask[0]
    )


def _stand_in(query: Any, key: Any, value: Any, attn_bias: Any = None) -> torch.Tensor:
    """BMGHK: (batch, positions, groups, heads of a group, head_dim)."""
    assert query.dim() == key.dim() == value.dim() == 5
    assert query.shape[2:] == key.shape[2:] == value.shape[2:]
    assert query.stride(-1) == key.stride(-1) == value.stride(-1) == 1
    q, k, v = (t.permute(0, 2, 3, 1, 4) for t in (query, key, value))
    scores = (q * query.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if attn_bias is not None:
        shape = (scores.shape[-2], scores.shape[-1])
        scores = scores + attn_bias.materialize(shape, device=scores.device)
    return (scores.softmax(-1) @ v).permute(0, 3, 1, 2, 4)


def _inputs(batch: int, count: int, keys: int, **kind: Any) -> list[torch.Tensor]:
    q = torch.randn(batch, count, 6, 16, **kind)
    return [q, *(torch.randn(batch, 2, keys, 16, **kind) for _ in range(2))]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(
    ("starts", "count"), [([0], 1), ([0], 9), ([13], 5), ([30], 1), ([3, 17, 0, 8], 1)]
)
def test_both_backends_compute_the_same(
    monkeypatch: pytest.MonkeyPatch, starts: list[int], count: int, window: int | None
) -> None:
    monkeypatch.setattr(fmha, "memory_efficient_attention_forward", _stand_in)
    torch.manual_seed(0)
    q, k, v = _inputs(len(starts), count, 40)
    span = _span(starts, count, window)
    torch.testing.assert_close(
        attend(q, k, v, span, "xformers"), attend(q, k, v, span), atol=1e-5, rtol=0
    )


def test_the_call_stays_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fmha, "memory_efficient_attention_forward", _stand_in)
    with FakeTensorMode():
        kind = {"device": "cuda", "dtype": torch.bfloat16}
        q, k, v = _inputs(1, 5, 40, **kind)
        span = Span([13], 5, 4, torch.arange(13, 18, device="cuda").unsqueeze(0))
        monkeypatch.setattr(
            attn_bias.LowerTriangularFromBottomRightLocalAttentionMask,
            "materialize",
            lambda self, shape, device: torch.zeros(shape, device=device, dtype=torch.bfloat16),
        )
        out = attend(q, k, v, span, "xformers")
    assert out.shape == (1, 5, 96)
    assert out.device.type == "cuda"
    assert out.dtype is torch.bfloat16


CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_auto_is_sdpa_where_xformers_cannot_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_backend("auto", CPU, torch.bfloat16) == "sdpa"
    assert pick_backend("sdpa", CUDA, torch.bfloat16) == "sdpa"
    monkeypatch.setitem(sys.modules, "xformers.ops", None)
    assert pick_backend("auto", CUDA, torch.bfloat16) == "sdpa"
    assert pick_backend("auto", CUDA, torch.float32) == "sdpa"


def test_auto_is_xformers_where_its_kernels_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fmha, "memory_efficient_attention_forward", _stand_in)
    monkeypatch.setattr(torch, "zeros", lambda shape, device, dtype: torch.ones(shape))
    assert pick_backend("auto", CUDA, torch.bfloat16) == "xformers"
    assert pick_backend("auto", CUDA, torch.float32) == "sdpa"
    assert pick_backend("xformers", CUDA, torch.float16) == "xformers"


def test_what_cannot_be_had_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match="'flash' is not known"):
        pick_backend("flash", CPU, torch.float32)
    with pytest.raises(SettingError, match="on CUDA only"):
        pick_backend("xformers", CPU, torch.float32)
    # Imports, but has no kernels for this torch: what a wrong wheel does.
    with pytest.raises(SettingError, match=r"does not work here .*--attention sdpa"):
        pick_backend("xformers", CUDA, torch.bfloat16)
    for name in [name for name in sys.modules if name.split(".")[0] == "xformers"]:
        monkeypatch.delitem(sys.modules, name)

    class Missing:
        def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> None:
            if name.split(".")[0] == "xformers":
                raise ModuleNotFoundError("No module named 'xformers'", name="xformers")

    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(SettingError, match="is not installed"):
        pick_backend("xformers", CUDA, torch.bfloat16)
