"""Files that want to harm: each ends in one printable sentence, soon, in little memory, and
nothing of it is run. They are opened in a process of its own, which has to outlive them all."""

from __future__ import annotations

import io
import json
import os
import pickle
import pickletools
import random
import select
import shutil
import struct
import subprocess
import sys
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import hf
import tiny
from inference.errors import CheckpointError, InferenceError
from inference.folder import inspect_folder
from inference.params import from_params

MOST_SECONDS = 5
MOST_MB = 1024
SMALL: dict[str, Any] = {
    **tiny.PARAMS, "dim": 16, "head_dim": 4, "hidden_dim": 24, "vocab_size": 48,
}  # fmt: skip
FP8 = {"quantization": {"qformat_weight": "fp8_e4m3"}}
MOE = {"moe": {"num_experts": 4, "num_experts_per_tok": 2}}
YARN = {"factor": 4.0, "original_max_position_embeddings": 64, "apply_scale": True}
SCALING = {"original_max_position_embeddings": 64, "beta": 0.1}
INF, NAN = float("inf"), float("nan")
NO_NUMBERS = "no valid probabilities (NaN)"
ESCAPES = "\x1b]52;c;aGk=\x07\x1b[2J\r\n\u202e\u0085\x00"
LONG = "x" * 5000

# ── the process that opens them ─────────────────────────────────────────────────────

VICTIM = """
import json, resource, sys, time, traceback
from pathlib import Path
import torch
from inference import generate
from inference.errors import InferenceError
from inference.folder import inspect_folder
from inference.loading import load_engine
from inference.transformer import Transformer
torch.set_num_threads(1)

UNIT = 1e6 if sys.platform == "darwin" else 1e3

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / UNIT

def attack(folder, lora, tokenizer):
    if tokenizer:
        load_engine(folder, device="cpu", lora=lora)
        return
    inspect_folder(Path(folder), tokenizer=False)
    model = Transformer.from_folder(folder)
    if lora:
        model.load_lora(lora)
    generate([[1, 2, 3]], model, max_tokens=2)

# Imports that wait for the first use are no growth.
attack(sys.argv[1], "", False)
if sys.platform == "linux":
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (8 << 30), -1))
before = peak()
print("ready", flush=True)
for line in sys.stdin:
    said = trace = ""
    started = time.process_time()
    try:
        attack(**json.loads(line))
    except InferenceError as error:
        said = str(error)
    except BaseException:
        trace = traceback.format_exc()
    used = time.process_time() - started
    print(json.dumps([said, trace, used, peak() - before]), flush=True)
"""


@dataclass(frozen=True)
class Outcome:
    said: str
    """The sentence of an InferenceError; empty: it was loaded and ran."""
    trace: str
    """The traceback of anything else."""
    seconds: float
    """Of the processor; other tests may take turns."""
    grown_mb: float
    """Of the process's peak since its start."""


class Victim:
    """A process that opens one model after the other; a new one where it died."""

    def __init__(self, sound: Path) -> None:
        self._sound = sound
        self._process: subprocess.Popen[str] | None = None

    def open(self, folder: Path, *, lora: Path | str = "", tokenizer: bool = False) -> Outcome:
        """Load and run the folder. Fails the test if that ends or hangs the process."""
        process = self._process or self._start()
        request = {"folder": str(folder), "lora": str(lora), "tokenizer": tokenizer}
        assert process.stdin
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        outcome = Outcome(*json.loads(self._answer(process)))
        if outcome.grown_mb > MOST_MB:
            self.close()  # the peak is that of the process's life
        return outcome

    def close(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", VICTIM, str(self._sound)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self._process = process
        assert self._answer(process, 60).strip() == "ready"
        return process

    def _answer(self, process: subprocess.Popen[str], seconds: float = 4 * MOST_SECONDS) -> str:
        assert process.stdout
        ready, _, _ = select.select([process.stdout], [], [], seconds)
        line = process.stdout.readline() if ready else ""
        if not line:
            self.close()
            pytest.fail("it hangs" if not ready else f"it died with {process.returncode}")
        return line


def check_outcome(outcome: Outcome) -> None:
    """What holds for every file whatever is in it."""
    assert not outcome.trace
    assert outcome.seconds < MOST_SECONDS
    assert outcome.grown_mb < MOST_MB
    if outcome.said:
        check_sentence(outcome.said)


def check_sentence(said: str) -> None:
    assert said.isprintable(), repr(said)
    assert said.endswith("."), said
    assert len(said) <= 600


# ── models to be damaged ────────────────────────────────────────────────────────────


def quantized(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    stored = {}
    for name, weight in weights.items():
        stored[name] = weight.bfloat16()
        if "layers." in name and weight.dim() == 2:
            stored[name] = (weight * 100).to(torch.float8_e4m3fn)
            stored[name.removesuffix("weight") + "qscale_weight"] = torch.tensor(0.01).bfloat16()
    return stored


def write_adapter(folder: Path, **changes: torch.Tensor | None) -> Path:
    folder.mkdir(exist_ok=True)
    pairs: dict[str, torch.Tensor | None] = {}
    for n in range(SMALL["n_layers"]):
        pairs[f"layers.{n}.attention.wq.lora_A.weight"] = torch.ones(2, 16)
        pairs[f"layers.{n}.attention.wq.lora_B.weight"] = torch.ones(16, 2)
    pairs |= changes
    kept = {name: tensor for name, tensor in pairs.items() if tensor is not None}
    save_file(kept, str(folder / "lora.safetensors"))
    (folder / "params.json").write_text(json.dumps({"lora": {"rank": 2, "scaling": 1.5}}))
    return folder


def write_models(place: Path) -> Path:
    """A folder of small sound models in every layout."""
    weights = tiny.random_weights(SMALL)
    tiny.write(place / "native", SMALL, weights)
    write_adapter(place / "native" / "adapter")
    tiny.write(place / "parts", SMALL, weights, "shards")
    tiny.write(place / "pth", SMALL, weights, "pth")
    tiny.write(place / "fp8", {**SMALL, **FP8}, quantized(weights))
    rich = {**SMALL, **MOE, "sliding_window": [None, 4], "yarn": YARN, "llama_4_scaling": SCALING}
    tiny.write(place / "rich", rich, tiny.random_weights(rich))
    tiny.write(place / "2023", {**SMALL, **MOE}, tiny.random_weights({**SMALL, **MOE}), "2023")
    hf.write(place / "hf", SMALL, weights)
    hf.write(place / "shards", SMALL, weights, shards=2)
    tiny.make(place / "whole", n_layers=1, dim=16, head_dim=4, hidden_dim=24)
    return place


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="module")
def victim(models: Path) -> Iterator[Victim]:
    victim = Victim(models / "native")
    yield victim
    victim.close()


Damage = Callable[[Path], object]
Case = tuple[Damage, str]
Attack = Callable[..., None]


@pytest.fixture
def attack(models: Path, victim: Victim, tmp_path: Path) -> Attack:
    """(model, damage, words): damage a copy of the model, open it, look for the words in what
    is said; no words: it has to run."""

    def run(model: str, damage: Damage, words: str, *, lora: str = "") -> None:
        folder = Path(shutil.copytree(models / model, tmp_path / model))
        damage(folder)
        outcome = victim.open(folder, lora=folder / lora if lora else "")
        assert not (tmp_path / "canary").exists()
        check_outcome(outcome)
        assert words in outcome.said, outcome.said
        assert bool(words) == bool(outcome.said), outcome.said

    return run


def test_the_sound_models_are_sound(models: Path, victim: Victim) -> None:
    for folder in sorted(models.iterdir()):
        adapter = folder / "adapter"
        outcome = victim.open(folder, lora=adapter if adapter.exists() else "")
        check_outcome(outcome)
        assert outcome.said == "", folder


# ── params.json ─────────────────────────────────────────────────────────────────────


def params(**changes: Any) -> Damage:
    return lambda f: (f / "params.json").write_text(json.dumps({**SMALL, **changes}))


def raw_params(text: str | bytes) -> Damage:
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return lambda f: (f / "params.json").write_bytes(data)


def _object(value: str, *names: object) -> str:
    return "{" + ",".join(f'"{name}":{value}' for name in names) + "}"


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


PARAMS: dict[str, Case] = {
    "layers times experts": (
        params(n_layers=1000, moe={"num_experts": 1024, "num_experts_per_tok": 2}),
        "more tensors than any model",
    ),
    "as many tensors as are allowed": (
        params(n_layers=10, moe={"num_experts": 1000, "num_experts_per_tok": 2}),
        "lacks layers.0",
    ),
    "as many layers as are allowed": (params(n_layers=1000), "lacks layers.10"),
    "more layers than are allowed": (params(n_layers=10**6), '"n_layers" is 1000000'),
    "shapes of petabytes": (params(dim=1 << 24, hidden_dim=1 << 24), "where (1"),
    "a million windows": (params(sliding_window=[4096] * 150_000), '"sliding_window" is [4096'),
    "a window of 5000 digits as text": (params(sliding_window="9" * 5000), '"sliding_window"'),
    "windows in windows": (params(sliding_window=[[4096]]), '"sliding_window" is [[4096]]'),
    "a window of nothing": (params(sliding_window=[0]), '"sliding_window" is [0]'),
    "no windows": (params(sliding_window=[]), '"sliding_window" is []'),
    "yarn by infinity": (params(yarn={**YARN, "factor": INF}), '"factor" is inf'),
    "yarn by NaN": (params(yarn={**YARN, "factor": NAN}), '"factor" is nan'),
    "yarn by 1e308": (params(yarn={**YARN, "factor": 1e308}), '"factor" is 1e+308'),
    "yarn beyond floats": (
        raw_params(json.dumps({**SMALL, "yarn": YARN}).replace("4.0", "1e999")),
        '"factor" is inf',
    ),
    "yarn from a logarithm of zero": (params(yarn=YARN, rope_theta=1.0), '"rope_theta"'),
    "yarn is a list": (params(yarn=[YARN]), '"yarn" is [{"factor"'),
    "theta zero": (params(rope_theta=0), '"rope_theta" is 0'),
    "theta infinite": (params(rope_theta=INF), '"rope_theta" is inf'),
    "theta negative": (params(rope_theta=-1e6), '"rope_theta" is -1'),
    "norm_eps negative": (params(norm_eps=-1e-5), '"norm_eps" is -1e-05'),
    "norm_eps NaN": (params(norm_eps=NAN), '"norm_eps" is nan'),
    "no heads": (params(n_heads=0), '"n_heads" is 0'),
    "more kv heads than heads": (params(n_kv_heads=8), "must be a multiple"),
    "2^70 heads": (params(n_heads=2**70), '"n_heads" is 1180591620717411303424'),
    "an experts' list": (params(moe=[8]), '"moe" is [8]'),
    "more experts a token than experts": (
        params(moe={"num_experts": 2, "num_experts_per_tok": 3}),
        "3 of 2 experts",
    ),
    "an integer of 5000 digits": (
        raw_params(json.dumps(SMALL).replace("48", "9" * 5000)),
        "is not valid JSON",
    ),
    "a key twice": (raw_params(json.dumps(SMALL)[:-1] + ', "dim": 32}'), "it names dim twice"),
    "a key twice among 90,000": (
        raw_params(_object("0", *range(90_000), 89_999)),
        "it names 89999 twice",
    ),
    "70,000 keys": (params(**{f"{n:x}": 0 for n in range(70_000)}), "which this version does not"),
    "a long key": (params(**{LONG: 1}), "which this version does not know"),
    "a key of escapes": (params(**{ESCAPES: 1}), "which this version does not know"),
    "a key of half a character": (params(**{"\ud800": 1}), "which this version does not know"),
    "an escaped value": (params(model_type=ESCAPES), 'model_type "\\u001b'),
    "a long value": (params(model_type=LONG), 'model_type "xxx'),
    "half a character": (params(model_type="\udfff"), 'model_type "\\udfff"'),
    "raw half a character": (raw_params(b'{"dim": "\xed\xa0\x80"}'), 'lacks "n_layers'),
    "raw escapes": (raw_params('{"\x1b[2J": 1}'), "is not valid JSON"),
    "deep nesting": (raw_params(nested(500_000)), "is not valid JSON"),
    "deep nesting of objects": (raw_params('{"a":' * 100_000), "is not valid JSON"),
    "nested as deep as can be read": (
        raw_params(json.dumps(SMALL)[:-1] + ', "model_type": ' + nested(900) + "}"),
        "model_type",
    ),
    "not UTF-8": (raw_params(b"\xff\xfe\xfd" * 9), "is not valid JSON"),
    "zeros": (raw_params(bytes(1000)), "is not valid JSON"),
    "empty": (raw_params(b""), "is not valid JSON"),
    "half of it": (raw_params(json.dumps(SMALL)[:60]), "is not valid JSON"),
    "a number": (raw_params("1e999"), "should hold a JSON object"),
    "a vision part that is a number": (params(vision_encoder=3), '"vision_encoder" is 3'),
    "an unknown quantization": (
        params(quantization={"qformat_weight": ESCAPES}),
        '"qformat_weight" is "\\u001b',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PARAMS)
def test_params(attack: Attack, case: str) -> None:
    attack("native", *PARAMS[case])


def test_params_of_wrong_types() -> None:
    values = (
        True, "x", "", ESCAPES, [], {}, [[]], {"a": {}}, 1.5, -1, 0, 2**70, 10**400, NAN, INF,
        -INF, LONG, ["\ud800"], 1e-320,
    )  # fmt: skip
    whole = {**SMALL, **MOE, **FP8, "yarn": YARN, "sliding_window": 8, "causal": True,
             "llama_4_scaling": SCALING,
             "vision_encoder": {}, "multimodal": {"vision_encoder": {}}, "max_seq_len": 8,
             "tied_embeddings": True, "lora": None}  # fmt: skip
    from_params(whole)
    for key, before in whole.items():
        for value in values:
            changes = [{key: value}]
            if isinstance(before, dict):
                changes += [{key: {**before, inner: value}} for inner in [*before, "new"]]
            for change in changes:
                try:
                    from_params({**whole, **change})
                except InferenceError as error:
                    check_sentence(str(error))


# ── config.json ─────────────────────────────────────────────────────────────────────


def config(**changes: Any) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return damage


ROPE = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
CONFIGS: dict[str, Case] = {
    "another architecture": (config(architectures=["MambaForCausalLM"]), "the architecture Mamba"),
    "an architecture of escapes": (config(architectures=[ESCAPES]), "names the architecture"),
    "a long architecture": (config(architectures=[LONG]), "names the architecture xxx"),
    "an architecture that is an object": (config(architectures=[{}]), "names no architecture"),
    "no architectures": (config(architectures=[]), "names no architecture"),
    "architectures of text": (config(architectures="Mistral"), "names no architecture"),
    "a wrapper around nothing": (
        config(architectures=["Mistral3ForConditionalGeneration"]),
        'lacks "text_config"',
    ),
    "a wrapper around a list": (
        config(architectures=["Mistral3ForConditionalGeneration"], text_config=[1]),
        '"text_config" is [1]',
    ),
    "a wrapper around a foreigner": (
        config(architectures=["Mistral3ForConditionalGeneration"], text_config={"model_type": []}),
        "model_type []",
    ),
    "biases": (config(attention_bias=True), '"attention_bias"'),
    "biases of text": (config(mlp_bias="no"), '"mlp_bias" is "no"'),
    "another activation": (config(hidden_act={"gelu": 1}), '"hidden_act"'),
    "no heads": (config(num_attention_heads=0), '"num_attention_heads" is 0'),
    "layers of nothing": (config(layer_types=[[]], sliding_window=4), '"layer_types"'),
    "rotations by a list": (config(rope_parameters=[]), '"rope_parameters" is []'),
    "rotations of escapes": (config(rope_parameters={"rope_type": ESCAPES}), "scales positions by"),
    "yarn by infinity": (config(rope_parameters={**ROPE, "factor": INF}), '"factor" is inf'),
    "yarn with mscale NaN": (config(rope_parameters={**ROPE, "mscale": NAN}), '"mscale" is nan'),
    "yarn from a logarithm of zero": (
        config(rope_parameters={**ROPE, "rope_theta": 1.0}),
        '"rope_theta"',
    ),
    "quantized by others": (config(quantization_config={"quant_method": ESCAPES}), "only fp8"),
    "an unknown key": (config(**{ESCAPES: 1}), "which this version does not know"),
    "negative window": (config(sliding_window=-1), '"sliding_window" is -1'),
    "many layers": (config(num_hidden_layers=1000), "lacks model.layers.10"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_config(attack: Attack, case: str) -> None:
    attack("hf", *CONFIGS[case])


# ── safetensors ─────────────────────────────────────────────────────────────────────


def write_header(path: Path, header: bytes, data: bytes = bytes(64)) -> None:
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def edit_header(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the header of a safetensors file; the data stays."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    write_header(path, change(data[8 : 8 + length]), data[8 + length :])


def edit_entries(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    def edit(header: bytes) -> bytes:
        entries = json.loads(header)
        change(entries)
        return json.dumps(entries).encode()

    edit_header(path, edit)


WEIGHTS = "consolidated.safetensors"


def header(change: Callable[[bytes], bytes]) -> Damage:
    return lambda f: edit_header(f / WEIGHTS, change)


def entries(change: Callable[[dict[str, Any]], object]) -> Damage:
    return lambda f: edit_entries(f / WEIGHTS, change)


def raw_header(make: str | Callable[[], str], data: bytes = bytes(64)) -> Damage:
    """`make` makes the large ones only when it is their turn."""

    def damage(folder: Path) -> None:
        text = make if isinstance(make, str) else make()
        write_header(folder / WEIGHTS, text.encode(), data)

    return damage


def entry(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [16], "data_offsets": [0, 64], **changes}


def one(name: str = "norm.weight", **changes: Any) -> Damage:
    return raw_header(json.dumps({name: entry(**changes)}))


def weights(**changes: torch.Tensor) -> Damage:
    """Save the small model with other tensors."""

    def damage(folder: Path) -> None:
        state = {**tiny.random_weights(SMALL), **changes}
        save_file(state, str(folder / WEIGHTS))

    return damage


def _same_place(h: dict[str, Any]) -> None:
    first, second, *_ = (name for name in h if h[name]["shape"] == [16, 16])
    h[first]["data_offsets"] = h[second]["data_offsets"]


def _one_more_if_even(header: bytes) -> bytes:
    return header.rstrip() + b" " * (1 + len(header.rstrip()) % 2)


SAFETENSORS: dict[str, Case] = {
    **{
        f"cut after {n} bytes": (
            lambda f, n=n: os.truncate(f / WEIGHTS, n),
            "is incomplete" if n < 1000 else "is truncated",
        )
        for n in (0, 1, 7, 8, 9, 100, 999, 5000)
    },
    "a header of exabytes": (
        lambda f: (f / WEIGHTS).write_bytes(b"\xff" * 8 + bytes(99)),
        "its header is incomplete",
    ),
    "an empty header": (raw_header(""), "is damaged"),
    "an escaped name twice": (
        raw_header('{"\\u001b[2J": %s, "\\u001b[2J": %s}' % ((json.dumps(entry()),) * 2)),
        "twice",
    ),
    "a name twice among 50,000": (
        raw_header(lambda: _object(json.dumps(entry()), *range(50_000), 49_999)),
        "names 49999 twice",
    ),
    "300,000 keys": (raw_header(lambda: _object("0", *range(300_000))), "is damaged"),
    "a million lists": (raw_header(lambda: '{"a":[' + "[]," * 1_000_000 + "[]]}"), "is damaged"),
    "more than a header": (raw_header(lambda: "[]" * 5_000_000), "is incomplete"),
    "30,000 empty tensors": (
        raw_header(
            lambda: _object(json.dumps(entry(shape=[0], data_offsets=[0, 0])), *range(30_000)), b""
        ),
        "does not fit its params.json",
    ),
    "deep nesting": (raw_header('{"a":' * 1_000_000), "is damaged"),
    "an integer of 5000 digits": (raw_header('{"a":' + "9" * 5000 + "}"), "is damaged"),
    "a shape of 4000 digits": (one(shape=[10**4000]), "is damaged"),
    "a place of 4000 digits": (one(data_offsets=[0, 10**4000]), "is damaged"),
    "a shape whose product wraps": (one(shape=[1 << 32, 1 << 32, 4]), "wrong length"),
    "a negative size": (one(shape=[-16]), "is damaged"),
    "a shape of truth": (one(shape=[True]), "is damaged"),
    "a shape of floats": (one(shape=[16.0]), "is damaged"),
    "a shape of Infinity": (raw_header('{"a": {"dtype": "F32", "shape": [Infinity]}}'), "is damag"),
    "a hundred dimensions": (one(shape=[1] * 100), "is damaged"),
    "places that run backwards": (one(data_offsets=[64, 0]), "wrong length"),
    "three places": (one(data_offsets=[0, 64, 64]), "is damaged"),
    "places of text": (one(data_offsets="ab"), "is damaged"),
    "a hole before": (one(data_offsets=[64, 128]), "norm.weight is not where"),
    "bytes behind": (raw_header(json.dumps({"a": entry()}), bytes(999)), "after its last tensor"),
    "two tensors in one place": (entries(_same_place), "is damaged"),
    "a dtype of escapes": (one(dtype=ESCAPES), "norm.weight has dtype"),
    "a dtype that is a list": (one(dtype=["F32"]), "is damaged"),
    "a long dtype": (one(dtype=LONG), "norm.weight has dtype"),
    "a name of escapes": (one(ESCAPES), "has unexpected"),
    "a name of escapes in a hole": (one(ESCAPES, data_offsets=[64, 128]), "is not where"),
    "a name of escapes and a wrong length": (one(ESCAPES, shape=[3]), "wrong length"),
    "a name of half a character": (one("\ud800"), "has unexpected"),
    "a long name": (one(LONG), "has unexpected"),
    "an empty name": (one(""), "has unexpected"),
    "metadata that are numbers": (
        entries(lambda h: h.update(__metadata__={"a": [1]})),
        "damaged or incomplete weights",
    ),
    "a header in UTF-16": (
        header(lambda text: text.decode().encode("utf-16")),
        "damaged or incomplete weights",
    ),
    # Legal, and what older files have.
    "data at an odd place": (header(_one_more_if_even), ""),
    "NaN everywhere": (
        weights(**{n: w * NAN for n, w in tiny.random_weights(SMALL).items()}),
        NO_NUMBERS,
    ),
    "infinite weights": (weights(**{"output.weight": torch.full((48, 16), INF)}), NO_NUMBERS),
    **{
        str(dtype): (
            weights(**{"norm.weight": torch.ones(16).to(dtype)}),
            "norm.weight has dtype",
        )
        for dtype in (torch.float64, torch.int64, torch.int8, torch.bool, torch.complex64)
    },
}


@pytest.mark.parametrize("case", SAFETENSORS)
def test_safetensors(attack: Attack, case: str) -> None:
    attack("native", *SAFETENSORS[case])


SCALE = "layers.0.attention.wq.qscale_weight"


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        (torch.tensor(INF), "inf"),
        (torch.tensor(NAN), "nan"),
        (torch.tensor(-1.0), "-1"),
        (torch.tensor(0.0), "0"),
        (torch.ones(3), "where one number belongs"),
        (torch.tensor(1), "where one number belongs"),
        (None, "lacks layers.0.attention.wq.qscale_weight"),
    ],
)
def test_scales(attack: Attack, scale: torch.Tensor | None, words: str) -> None:
    def damage(folder: Path) -> None:
        state = quantized(tiny.random_weights(SMALL))
        del state[SCALE]
        if scale is not None:
            state[SCALE] = scale
        save_file(state, str(folder / WEIGHTS))

    attack("fp8", damage, words)


# ── .pth files ──────────────────────────────────────────────────────────────────────


def text(value: str | bytes) -> bytes:
    """BINUNICODE"""
    data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    """LONG1"""
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def tuple_(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def call(function: str, *arguments: bytes) -> bytes:
    """GLOBAL, REDUCE"""
    module, _, name = function.rpartition(".")
    return f"c{module}\n{name}\n".encode() + tuple_(*arguments) + b"R"


def storage(numel: int = 16, key: str = "0", kind: str = "FloatStorage") -> bytes:
    """BINPERSID"""
    words = (text("storage"), f"ctorch\n{kind}\n".encode(), text(key), text("cpu"), number(numel))
    return tuple_(*words) + b"Q"


PICKLED = "consolidated.00.pth"
HOOKS = call("collections.OrderedDict")
REBUILD = "torch._utils._rebuild_tensor_v2"


def tensor(
    size: tuple[int, ...] = (16,),
    stride: tuple[int, ...] = (1,),
    *,
    offset: int = 0,
    source: bytes | None = None,
    hooks: bytes = HOOKS,
) -> bytes:
    return call(
        REBUILD,
        source or storage(),
        number(offset),
        tuple_(*map(number, size)),
        tuple_(*map(number, stride)),
        b"\x89",
        hooks,
    )


def state(*pairs: tuple[str, bytes]) -> bytes:
    """A pickle of a dict."""
    return b"\x80\x02}(" + b"".join(text(name) + value for name, value in pairs) + b"u."


Record = tuple[str, bytes]


def archive(pickled: bytes, *more: Record, prefix: str = "archive/", **how: Any) -> bytes:
    records = (("data.pkl", pickled), ("data/0", bytes(64)), ("version", b"3\n"))
    return zipped(*((prefix + name, data) for name, data in records), *more, **how)


def zipped(*records: Record, compression: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as archive:
        for name, data in records:
            archive.writestr(name, data)
    return made.getvalue()


def pth(make: bytes | Callable[[], bytes]) -> Damage:
    """`make` makes the large ones only when it is their turn."""
    return lambda f: (f / PICKLED).write_bytes(make if isinstance(make, bytes) else make())


def in_pth(value: bytes) -> Damage:
    """A .pth file with something else in the place of a tensor."""
    return pth(archive(state(("norm.weight", value))))


class Code:
    """Pickles to a call that leaves a file behind."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.how = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.how


def running(wrap: Callable[[str], bytes]) -> Damage:
    """A .pth file whose pickle, made by `wrap` from a shell command, runs it."""

    def damage(folder: Path) -> None:
        pickled = wrap(f"touch {folder.parent / 'canary'}")
        (folder / PICKLED).write_bytes(archive(pickled))

    return damage


def saved(wrap: Callable[[Any], Any]) -> Damage:
    """A .pth file as torch.save writes it, with code in what is saved."""

    def damage(folder: Path) -> None:
        code = Code(os.system, f"touch {folder.parent / 'canary'}")
        torch.save(wrap(code), folder / PICKLED)

    return damage


def saving(value: Callable[[], Any]) -> Damage:
    return lambda f: torch.save({"norm.weight": value()}, f / PICKLED)


class Odd(torch.Tensor):
    pass


def _quantized_tensor() -> torch.Tensor:
    return torch.quantize_per_tensor(torch.ones(16), 0.1, 0, torch.qint8)


def _huge_directory(folder: Path) -> None:
    """A sparse file of 4 GB, all of it said to be the list of the archive's records."""
    with (folder / PICKLED).open("wb") as file:
        size = file.seek((4 << 30) - 500)
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, size, 0, 0))


def _huge_record(name: str) -> Damage:
    """A sparse record of 3 GB where a few bytes belong."""

    def damage(folder: Path) -> None:
        sound = archive(state(("norm.weight", tensor())), ("archive/byteorder", b"little"))
        path = folder / PICKLED
        with zipfile.ZipFile(path, "w") as made, zipfile.ZipFile(io.BytesIO(sound)) as source:
            for info in source.infolist():
                made.writestr(info.filename, source.read(info))
        with zipfile.ZipFile(path, "a") as made:
            info = made.getinfo(f"archive/{name}")
            info.header_offset = made.start_dir
            info.file_size = info.compress_size = 3 << 30
            assert made.fp
            made.fp.seek(made.start_dir)
            made.fp.write(info.FileHeader(zip64=True))
            made.start_dir = made.fp.seek(3 << 30, os.SEEK_CUR)
            made._didModify = True  # type: ignore[attr-defined]

    return damage


CODE = "wants to run code"
FOREIGN = "is not a file of weights that torch has written"
ODD = "only plain tensors belong"
DAMAGED = "is damaged"
PTH: dict[str, Case] = {
    "GLOBAL and REDUCE": (running(lambda c: pickle.dumps(Code(os.system, c), 2)), CODE),
    "REDUCE of protocol 0": (running(lambda c: pickle.dumps(Code(os.system, c), 0)), CODE),
    "STACK_GLOBAL": (running(lambda c: pickle.dumps(Code(os.system, c), 4)), ODD),
    "INST": (running(lambda c: f"(S'{c}'\nios\nsystem\n.".encode()), ODD),
    "INST without a text": (running(lambda c: b"(ios\nabort\n."), CODE),
    "OBJ": (running(lambda c: f"(cos\nsystem\nS'{c}'\no.".encode()), CODE),
    "NEWOBJ": (
        running(lambda c: b"\x80\x02csubprocess\nPopen\n" + tuple_(text(c)) + b"\x81."),
        CODE,
    ),
    "EXT1": (running(lambda c: b"\x80\x02\x82\x01."), CODE),
    "BUILD": (running(lambda c: b"\x80\x02" + HOOKS + b"}(X\1\0\0\0xcos\nsystem\nub."), CODE),
    "eval by a builtin": (
        running(lambda c: state(("a", call("builtins.eval", text(f"open('{c[6:]}', 'w')"))))),
        CODE,
    ),
    "getattr on torch": (
        running(lambda c: state(("a", call("builtins.getattr", b"ctorch\nos\n", text("system"))))),
        CODE,
    ),
    "torch.load of another file": (in_pth(call("torch.load", text("/dev/zero"))), ODD),
    "a dotted name within torch": (in_pth(b"ctorch\nos.system\n"), ODD),
    "code in a tensor's hooks": (
        running(lambda c: state(("norm.weight", tensor(hooks=call("os.system", text(c)))))),
        CODE,
    ),
    "code in a tensor's size": (
        running(
            lambda c: state(("a", call(REBUILD, storage(), call("os.system", text(c)))))
        ),
        CODE,
    ),
    "code as a storage": (
        running(lambda c: state(("a", tensor(source=call("posix.system", text(c)))))),
        CODE,
    ),
    "code beside tensors": (saved(lambda code: {"norm.weight": torch.ones(16), "a": code}), CODE),
    "code as a key": (saved(lambda code: {code: torch.ones(16)}), CODE),
    "code in metadata": (saved(lambda code: OrderedDict(a=[{"b": (code,)}])), ODD),
    "code of escapes": (in_pth(b"c\x1b[2J\nx\n"), CODE),
    "an object of one's own": (saving(lambda: Code(print)), CODE),
    "a storage that is code": (
        in_pth(tuple_(text("module"), b"cos\nsystem\n", text("0"), text("cpu"), number(4)) + b"Q"),
        CODE,
    ),
    "a deep key": (pth(lambda: archive(b"\x80\x02}N" + b"\x85" * 900_000 + b"Ns.")), DAMAGED),
    "a deep list": (pth(lambda: archive(b"\x80\x02" + b"]" * 900_000 + b"a" * 900_000)), ODD),
    "deep marks": (pth(lambda: archive(b"\x80\x02" + b"(" * 900_000)), DAMAGED),
    "dicts of dicts of dicts": (
        in_pth(b"}q\0" + b"".join(b"}(X\1\0\0\0ah\0X\1\0\0\0bh\0uq\0" for _ in range(500))),
        DAMAGED,
    ),
    "dicts of dicts as a storage": (
        in_pth(
            b"}q\0" + b"}(X\1\0\0\0ah\0X\1\0\0\0bh\0uq\0" * 500 + b"("
            + text("storage") + b"ctorch\nFloatStorage\nh\0" + text("cpu") + number(1) + b"tQ"
        ),
        DAMAGED,
    ),
    "a dict that is in itself": (
        pth(archive(b"\x80\x02}q\0X\1\0\0\0ah\0s.")),
        "no plain set of named tensors",
    ),
    "three gigabytes of zeros": (in_pth(call("builtins.bytearray", number(3 << 30))), CODE),
    "a tensor of its own size": (in_pth(call("torch.FloatTensor", number(3 << 30))), ODD),
    "a counter": (in_pth(call("collections.Counter", text(LONG))), CODE),
    "a memo index of billions": (
        pth(archive(b"\x80\x02}r\xff\xff\xff\x7f(" + text("norm.weight") + tensor() + b"u.")),
        "lacks layers.0",
    ),
    "a number of 255 bytes": (in_pth(tensor((1 << 2000,))), DAMAGED),
    "a number of gigabytes": (in_pth(b"\x8b\xff\xff\xff\x7f"), DAMAGED),
    "a text of gigabytes": (in_pth(b"X\xff\xff\xff\xff"), DAMAGED),
    "a text of exabytes": (in_pth(b"\x8d" + b"\xff" * 8), DAMAGED),
    "not UTF-8": (in_pth(text(b"\xff\xfe")), DAMAGED),
    "an unknown opcode": (in_pth(b"\xff"), DAMAGED),
    "no end": (pth(archive(b"\x80\x02}")), DAMAGED),
    "an empty stack": (pth(archive(b"\x80\x02\x85.")), DAMAGED),
    "no dict": (pth(archive(b"\x80\x02N.")), "no plain set of named tensors"),
    "an empty dict": (pth(archive(b"\x80\x02}.")), "no plain set of named tensors"),
    "a name twice": (
        pth(archive(state(("norm.weight", tensor()), ("norm.weight", tensor())))),
        "norm.weight twice",
    ),
    "a number as a name": (pth(archive(b"\x80\x02}K\x01" + tensor() + b"s.")), DAMAGED),
    "a name of escapes": (pth(archive(state((ESCAPES, tensor())))), "does not fit its params.json"),
    "a name of half a character": (pth(archive(state(("\ud800", tensor())))), "does not fit"),
    "a tensor of a nested dict": (saving(lambda: {"a": torch.ones(16)}), "no plain set of named"),
    "a tensor out of its storage": (in_pth(tensor((17,))), DAMAGED),
    "a tensor behind its storage": (in_pth(tensor(offset=1)), DAMAGED),
    "a tensor before its storage": (in_pth(tensor(offset=-1)), DAMAGED),
    "a tensor of negative size": (in_pth(tensor((-16,))), DAMAGED),
    "a tensor of stride 0": (in_pth(tensor((1 << 40,), (0,))), ODD),
    "a tensor of negative stride": (in_pth(tensor((16,), (-1,))), ODD),
    "a tensor of terabytes": (in_pth(tensor((1 << 38,), source=storage(1 << 38))), DAMAGED),
    "a storage of negative size": (in_pth(tensor(source=storage(-16))), DAMAGED),
    "a storage that is not there": (in_pth(tensor(source=storage(key="7"))), DAMAGED),
    "a storage elsewhere": (in_pth(tensor(source=storage(key="../data.pkl"))), DAMAGED),
    "a storage of text": (in_pth(tensor(source=text("0"))), DAMAGED),
    "a storage of quantized numbers": (in_pth(tensor(source=storage(kind="QInt8Storage"))), ODD),
    "an untyped storage": (in_pth(tensor(source=storage(kind="UntypedStorage"))), ODD),
    "sizes of text": (in_pth(tensor().replace(number(16) + b"t", text("16") + b"t")), DAMAGED),
    "a sparse tensor": (saving(lambda: torch.eye(4).to_sparse()), ODD),
    "a compressed tensor": (saving(lambda: torch.eye(4).to_sparse_csr()), ODD),
    "a quantized tensor": (saving(_quantized_tensor), ODD),
    "a meta tensor": (saving(lambda: torch.ones(16, device="meta")), ODD),
    "a parameter": (saving(lambda: torch.nn.Parameter(torch.ones(16))), ODD),
    "a tensor of a class of its own": (saving(lambda: torch.ones(16).as_subclass(Odd)), ODD),
    "a storage by itself": (saving(lambda: torch.ones(16).untyped_storage()), ODD),
    "a transposed view": (saving(lambda: torch.ones(4, 8).t()), ODD),
    "an expanded view": (saving(lambda: torch.ones(1).expand(16)), ODD),
    "float64": (saving(lambda: torch.ones(16).double()), "norm.weight has dtype F64"),
    "complex": (saving(lambda: torch.ones(16, dtype=torch.complex64)), "norm.weight has dtype"),
    "bool": (saving(lambda: torch.ones(16).bool()), "norm.weight has dtype BOOL"),
    "a whole module": (lambda f: torch.save(torch.nn.Linear(2, 2), f / PICKLED), ODD),
    "a torchscript archive": (
        pth(archive(state(("a", tensor())), ("archive/constants.pkl", b"."))),
        FOREIGN,
    ),
    "torch's format before 2020": (
        lambda f: torch.save({}, f / PICKLED, _use_new_zipfile_serialization=False),
        "before 2020",
    ),
    "a bare pickle": (
        lambda f: pth(pickle.dumps(Code(os.system, f"touch {f.parent / 'canary'}")))(f),
        DAMAGED,
    ),
    "no zip": (pth(b"PK\3\4" + bytes(500)), DAMAGED),
    "empty": (pth(b""), DAMAGED),
    "compressed": (
        pth(archive(state(("a", tensor())), compression=zipfile.ZIP_DEFLATED)),
        "is compressed",
    ),
    "a zip bomb": (
        pth(lambda: archive(bytes(100 << 20), compression=zipfile.ZIP_DEFLATED)),
        FOREIGN,
    ),
    "two pickles": (
        pth(archive(state(("a", tensor())), ("other/data.pkl", b"\x80\x02}."))),
        FOREIGN,
    ),
    "records elsewhere": (pth(archive(state(("a", tensor())), ("../../canary", b"x"))), FOREIGN),
    "records from the root": (pth(archive(state(("a", tensor())), prefix="/etc/")), FOREIGN),
    "a record of escapes": (
        pth(archive(state(("a", tensor())), ("archive/data/\x1b[2J", b"x"))),
        FOREIGN,
    ),
    "20,000 records": (
        pth(
            lambda: archive(
                state(("a", tensor())), *((f"archive/data/1{n}", b"") for n in range(20_000))
            )
        ),
        "does not fit its params.json",
    ),
    "another byte order": (
        pth(archive(state(("a", tensor())), ("archive/byteorder", b"big"))),
        "byte order",
    ),
    "a byte order of escapes": (
        pth(archive(state(("a", tensor())), ("archive/byteorder", ESCAPES.encode()))),
        "byte order",
    ),
    "a directory of gigabytes": (_huge_directory, DAMAGED),
    "a byte order of gigabytes": (_huge_record("byteorder"), "not a file of weights"),
    "a version of gigabytes": (_huge_record("version"), "not a file of weights"),
    "a pickle of gigabytes": (_huge_record("data.pkl"), "not a file of weights"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", PTH)
def test_pth(attack: Attack, case: str) -> None:
    attack("pth", *PTH[case])


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_record_twice(attack: Attack) -> None:
    twice = archive(state(("norm.weight", tensor())), ("archive/data/0", bytes(64)))
    attack("pth", pth(twice), FOREIGN)


@pytest.mark.parametrize("share", [n / 16 for n in range(16)])
def test_a_pth_file_that_is_cut(attack: Attack, share: float) -> None:
    def damage(folder: Path) -> None:
        path = folder / PICKLED
        os.truncate(path, int(path.stat().st_size * share))

    attack("pth", damage, DAMAGED)


# ── things in the place of files ────────────────────────────────────────────────────


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _dangling(path: Path) -> None:
    path.symlink_to(f"gone{ESCAPES[:-1]}")


FILES = {
    "native": ("params.json", "consolidated.safetensors"),
    "pth": ("params.json", "consolidated.00.pth"),
    "parts": ("consolidated-00002-of-00003.safetensors",),
    "hf": ("config.json", "model.safetensors"),
    "shards": (
        "config.json",
        "model.safetensors.index.json",
        "model-00002-of-00002.safetensors",
    ),
}
IN_PLACE = [
    (model, name, put)
    for model, names in FILES.items()
    for name in names
    for put in (_fifo, _zeros, _loop, _dangling, Path.mkdir)
]


@pytest.mark.parametrize(("model", "name", "put"), IN_PLACE)
def test_no_file(attack: Attack, model: str, name: str, put: Damage) -> None:
    attack(model, lambda f: ((f / name).unlink(), put(f / name)), name)


@pytest.mark.parametrize("put", [_fifo, _zeros, _loop, _dangling, Path.mkdir])
@pytest.mark.parametrize("name", ["lora.safetensors", "params.json"])
def test_no_file_of_an_adapter(attack: Attack, name: str, put: Damage) -> None:
    path = Path("adapter", name)
    attack("native", lambda f: ((f / path).unlink(), put(f / path)), name, lora="adapter")


@pytest.mark.parametrize("put", [_fifo, _zeros, _loop, _dangling, Path.mkdir])
@pytest.mark.parametrize(
    "name", ["tokenizer.model.v3", "tekken.json", "starter.json", "tokenizer_config.json"]
)
def test_no_file_of_a_tokenizer(
    models: Path, victim: Victim, tmp_path: Path, name: str, put: Damage
) -> None:
    folder = Path(shutil.copytree(models / "whole", tmp_path / "whole"))
    (folder / name).unlink(missing_ok=True)
    put(folder / name)
    outcome = victim.open(folder, tokenizer=True)
    check_outcome(outcome)
    assert bool(outcome.said) == (name == "tokenizer.model.v3"), outcome.said
    if outcome.said:
        assert "tokenizer" in outcome.said


@pytest.mark.parametrize("how", ["stat", "open"])
@pytest.mark.parametrize(
    ("model", "name"), [(model, name) for model, names in FILES.items() for name in names]
)
def test_files_that_may_not_be_read(
    models: Path, monkeypatch: pytest.MonkeyPatch, model: str, name: str, how: str
) -> None:
    """As root may read everything, the system's refusal is imitated."""
    original = getattr(Path, how)

    def refuse(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self.name == name:
            raise PermissionError(13, "Permission denied", str(self))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Path, how, refuse)
    with pytest.raises(CheckpointError, match=f"{name} cannot be read: Permission denied"):
        inspect_folder(models / model, tokenizer=False)


# ── shards and their index ──────────────────────────────────────────────────────────

INDEX = "model.safetensors.index.json"


def index(change: Callable[[dict[str, Any]], object]) -> Damage:
    def damage(folder: Path) -> None:
        content = json.loads((folder / INDEX).read_text())
        content = change(content["weight_map"]) or content
        (folder / INDEX).write_text(json.dumps(content))

    return damage


def points_to(name: Any) -> Damage:
    return index(lambda places: places.update({"lm_head.weight": name}))


def _same_tensor_twice(folder: Path) -> None:
    save_file({"a": torch.ones(3)}, str(folder / "model-00001-of-00002.safetensors"))
    save_file({"a": torch.ones(3)}, str(folder / "model-00002-of-00002.safetensors"))


def _escaped_parts(folder: Path) -> None:
    for path in folder.glob("model*"):
        path.unlink()
    save_file(
        {"a": torch.ones(3)}, str(folder / f"model-{ESCAPES[:-1]}-00001-of-00003.safetensors")
    )


def _renamed(*names: str) -> Damage:
    def damage(folder: Path) -> None:
        for path, name in zip(sorted(folder.glob("consolidated-*")), names, strict=False):
            path.rename(folder / name)

    return damage


NO_FILE = "which is no file beside it"
SHARDS: dict[str, Case] = {
    "a place above": (points_to("../model.safetensors"), NO_FILE),
    "an absolute place": (points_to("/etc/passwd"), NO_FILE),
    "a device": (points_to("/dev/zero"), NO_FILE),
    "the folder itself": (points_to("."), NO_FILE),
    "no name": (points_to(""), NO_FILE),
    "a place of escapes": (points_to(f"{ESCAPES}.safetensors"), NO_FILE),
    "a place of half a character": (points_to("\ud800.safetensors"), NO_FILE),
    "a place with a zero byte": (points_to("a\0.safetensors"), NO_FILE),
    "a long place": (points_to(f"{LONG}.safetensors"), "lacks xxx"),
    "a place that is a number": (points_to(7), NO_FILE),
    "a place that is a list": (points_to(json.loads(nested(900))), NO_FILE),
    "a missing shard": (points_to("model-00003-of-00003.safetensors"), "lacks model-00003"),
    "thousands of missing shards": (
        index(lambda p: p.update({f"{n}": f"{n}.safetensors" for n in range(50_000)})),
        "and 49,996 more",
    ),
    "no map": (index(lambda p: {"weight_map": []}), 'lacks its "weight_map"'),
    "an empty map": (index(lambda p: {"weight_map": {}}), 'lacks its "weight_map"'),
    "an index of another model": (
        index(lambda p: {"weight_map": {"a": "model-00001-of-00002.safetensors"}}),
        "does not fit its config.json",
    ),
    "deep nesting": (lambda f: (f / INDEX).write_text(nested(500_000)), "is not valid JSON"),
    "a tensor twice": (_same_tensor_twice, "it can be in one file only"),
    "parts of escapes": (_escaped_parts, "its weights are missing"),
}
PARTS: dict[str, Case] = {
    "a part is missing": (
        lambda f: (f / "consolidated-00002-of-00003.safetensors").unlink(),
        "has 2 of 3 parts",
    ),
    "two totals": (
        _renamed("consolidated-00001-of-00002.safetensors"),
        "parts of several sets of weights (of 2, 3 parts)",
    ),
    "a total that is too large": (
        _renamed(*(f"consolidated-{n}-of-99999.safetensors" for n in ("00001", "00002", "99999"))),
        "has 3 of 99999 parts",
    ),
    "numbers from zero": (
        _renamed(*(f"consolidated-0000{n}-of-00003.safetensors" for n in range(3))),
        "has 3 of 3 parts",
    ),
    "no numbers": (
        _renamed(*(f"consolidated-{n}-of-3.safetensors" for n in "abc")),
        "its weights are missing",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SHARDS)
def test_shards(attack: Attack, case: str) -> None:
    attack("shards", *SHARDS[case])


@pytest.mark.parametrize("case", PARTS)
def test_parts(attack: Attack, case: str) -> None:
    attack("parts", *PARTS[case])


# ── adapters ────────────────────────────────────────────────────────────────────────

WQ = "layers.0.attention.wq.lora_"


def adapter(**changes: torch.Tensor | None) -> Damage:
    return lambda f: write_adapter(f / "adapter", **changes)


def adapter_params(content: str) -> Damage:
    return lambda f: (f / "adapter" / "params.json").write_text(content)


def adapter_header(change: Callable[[dict[str, Any]], object]) -> Damage:
    return lambda f: edit_entries(f / "adapter" / "lora.safetensors", change)


def _endless_rank(folder: Path) -> None:
    """A sparse file of 256 GB that makes a sound pair."""
    path = folder / "adapter" / "lora.safetensors"
    rank, names = 1 << 31, (f"{WQ}A.weight", f"{WQ}B.weight")
    size = rank * 16 * 4
    text = {
        names[0]: {"dtype": "F32", "shape": [rank, 16], "data_offsets": [0, size]},
        names[1]: {"dtype": "F32", "shape": [16, rank], "data_offsets": [size, 2 * size]},
    }
    write_header(path, json.dumps(text).encode(), b"")
    os.truncate(path, path.stat().st_size + 2 * size)


ADAPTERS: dict[str, Case] = {
    "foreign names": (adapter(**{f"base_model.{ESCAPES}": torch.ones(2)}), "match no layer"),
    "a foreign name with a foreign dtype": (
        adapter(**{ESCAPES: torch.ones(2).long()}),
        "match no layer",
    ),
    "half a pair": (adapter(**{f"{WQ}B.weight": None}), "lacks its lora_B"),
    "two ranks": (adapter(**{f"{WQ}B.weight": torch.ones(16, 3)}), "has lora_A (2, 16) and lora_B"),
    "no rank": (
        adapter(**{f"{WQ}A.weight": torch.ones(0, 16), f"{WQ}B.weight": torch.ones(16, 0)}),
        "has lora_A (0, 16)",
    ),
    "a rank of billions": (_endless_rank, "has lora_A (2147483648, 16)"),
    "another width": (adapter(**{f"{WQ}A.weight": torch.ones(2, 17)}), "on a layer of 16"),
    "three dimensions": (adapter(**{f"{WQ}A.weight": torch.ones(2, 16, 1)}), "on a layer of 16"),
    "integers": (adapter(**{f"{WQ}A.weight": torch.ones(2, 16).long()}), "has dtype I64"),
    "a dtype of escapes": (
        adapter_header(lambda h: h[f"{WQ}A.weight"].update(dtype=ESCAPES)),
        "has dtype",
    ),
    "NaN": (adapter(**{f"{WQ}A.weight": torch.full((2, 16), NAN)}), NO_NUMBERS),
    "cut": (lambda f: os.truncate(f / "adapter" / "lora.safetensors", 600), "is truncated"),
    "scaled by NaN": (adapter_params('{"lora": {"scaling": NaN}}'), '"scaling" is nan'),
    "scaled by infinity": (adapter_params('{"lora": {"scaling": -1e999}}'), '"scaling" is -inf'),
    "scaled by text": (adapter_params('{"lora": {"scaling": "2"}}'), '"scaling" is "2"'),
    "a list of scalings": (adapter_params('{"lora": [2]}'), '"lora" is [2]'),
    "no JSON": (adapter_params("{lora: 3"), "is not valid JSON"),
    "deep nesting": (adapter_params(nested(100_000)), "is not valid JSON"),
}


@pytest.mark.parametrize("case", ADAPTERS)
def test_adapters(attack: Attack, case: str) -> None:
    attack("native", *ADAPTERS[case], lora="adapter")


@pytest.mark.parametrize("path", ["no\x1b[2Jthing", "a\nb", "a\0b", "\ud800", LONG, "/dev/zero"])
def test_paths_that_harm(victim: Victim, models: Path, path: str) -> None:
    for outcome in (victim.open(Path(path)), victim.open(models / "native", lora=path)):
        check_outcome(outcome)
        assert outcome.said


# ── damage at random ────────────────────────────────────────────────────────────────

NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 7, 2**31, 2**32 - 1, 2**63, 2**64, 10**400, 0.5, -0.0,
    1e308, 1e-320, INF, -INF, NAN, "", "0", "F32", "BF16", "F8_E4M3", "U8", ESCAPES, "\ud800",
    LONG, [], {}, [[]], [0], [None], {"": 0}, [1] * 50,
)  # fmt: skip
OPCODES = (
    b"(.012FIJKLMNPQRSTUVXabcdeghijlopqrstu}]\x80\x81\x82\x85\x86\x87\x88\x89\x8a\x8b\x8c\x93\x94"
)


def damage_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flips, cuts, repetitions and numbers of extreme size, mostly in the first bytes."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        reach = len(data) if rng.random() < 0.3 else min(len(data), 4096)
        at = rng.randrange(reach) if reach else 0
        length = rng.choice((1, 2, 8, 40, 400))
        match rng.randrange(7):
            case 0 | 1 if data:
                data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
            case 2:
                data = data[:at] + data[at + length :]
            case 3:
                data = data[:at] + data[at : at + length] * rng.randrange(2, 5) + data[at:]
            case 4:
                data = data[:at] + rng.randbytes(length) + data[at + length :]
            case 5:
                extreme = rng.choice((0, 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1))
                data = data[:at] + struct.pack("<Q", extreme) + data[at + 8 :]
            case _ if rng.random() < 0.3:
                data = data[:at]
    return data


def damage_json(value: Any, rng: random.Random) -> Any:
    """Another value, name or order somewhere in it."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        match rng.randrange(8):
            case 0:
                return {k: v for k, v in value.items() if k != key}
            case 1:
                new = rng.choice([ESCAPES, LONG, "", "\ud800", key + "x", *value])
                return {new if k == key else k: v for k, v in value.items()}
            case 2:
                return {**value, key: value[rng.choice(list(value))]}
            case _:
                return {**value, key: damage_json(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        return [*value[:at], damage_json(value[at], rng), *value[at + rng.randrange(2) :]]
    if type(value) is int and rng.random() < 0.5:
        return value + rng.choice((-1, 1, value, 4, 1 << 20))
    return rng.choice(NASTY)


def damage_pickle(data: bytes, rng: random.Random) -> bytes:
    """Steps left out, repeated, exchanged, or others put between them."""
    places = [place for _, _, place in pickletools.genops(data) if place is not None]
    ends = [*places[1:], len(data)]
    steps = [data[a:b] for a, b in zip(places, ends, strict=True)]
    for _ in range(rng.randrange(1, 4)):
        at, other = rng.randrange(len(steps)), rng.randrange(len(steps))
        match rng.randrange(5):
            case 0:
                del steps[at : at + rng.randrange(1, 4)]
            case 1:
                steps.insert(at, steps[other])
            case 2:
                steps[at] = steps[other]
            case 3:
                steps.insert(at, bytes([rng.choice(OPCODES)]))
            case _:
                wrong = (storage(), tensor(), number(1 << 62), text(ESCAPES), call("os.getpid"))
                steps.insert(at, rng.choice(wrong))
        steps = steps or [b"."]
    return b"".join(steps)


def damage_file(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    knowingly = rng.random() < 0.7
    if path.suffix == ".json" and knowingly:
        changed = json.dumps(damage_json(json.loads(data), rng))
        path.write_text(changed)
    elif path.suffix == ".safetensors" and knowingly:
        edit_header(path, lambda h: json.dumps(damage_json(json.loads(h), rng)).encode())
    elif path.suffix == ".pth" and knowingly:
        with zipfile.ZipFile(path) as source:
            records = [(name, source.read(name)) for name in source.namelist()]
        how = damage_pickle if rng.random() < 0.8 else damage_bytes
        changed_records = [(n, how(d, rng) if n.endswith(".pkl") else d) for n, d in records]
        path.write_bytes(zipped(*changed_records))
    else:
        path.write_bytes(damage_bytes(data, rng))


def damage_and_open(
    victim: Victim, sound: Path, place: Path, seeds: range, *, tokenizer: bool = False
) -> Counter[str]:
    """Damage one file of a model, once for each seed; what came of it, in words."""
    results: Counter[str] = Counter()
    for seed in seeds:
        print(f"{sound.name}, seed {seed}")  # seen where it fails
        rng = random.Random(seed)
        folder = Path(shutil.copytree(sound, place / "damaged"))
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if tokenizer:
            files = [path for path in files if "tokenizer" in path.name]
        damage_file(rng.choice(files), rng)
        adapter = folder / "adapter"
        lora = adapter if adapter.exists() else ""
        outcome = victim.open(folder, lora=lora, tokenizer=tokenizer)
        check_outcome(outcome)
        results["refused" if outcome.said else "ran"] += 1
        shutil.rmtree(folder)
    return results


LAYOUTS = ("native", "parts", "pth", "fp8", "rich", "2023", "hf", "shards")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_damage_at_random(models: Path, victim: Victim, tmp_path: Path, layout: str) -> None:
    results = damage_and_open(victim, models / layout, tmp_path, range(80))
    assert results["refused"] > 40, results
