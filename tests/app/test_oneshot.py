"""`demo`, `fim`, `--no-instruct` and `--lora` as whole commands, on tiny real checkpoints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import overfit
import tiny
from inference import Transformer, generate
from inference.tokenizer import Tokenizer
from mistral_tui.oneshot import PROMPTS

CODESTRAL = {"n_heads": 6, "n_kv_heads": 1, "dim": 96}
MIXTRAL = {"moe": {"num_experts": 8, "num_experts_per_tok": 2}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("models") / "codestral", **CODESTRAL)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "STATE", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / name.lower()))


def _run(*args: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mistral_tui", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, input=stdin, timeout=120)


def _json(*args: str | Path, stdin: str = "") -> Any:
    done = _run(*args, "--json", stdin=stdin)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_demo_continues_three_prompts_as_the_python_api_does(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "mixtral", **MIXTRAL)
    tokenizer = Tokenizer.from_folder(folder)
    prompts = [tokenizer.encode_text(prompt) for prompt in PROMPTS]
    model = Transformer.from_folder(folder)
    expected, _ = generate(prompts, model, max_tokens=12, temperature=0, eos_id=tokenizer.stop_ids)
    told = _json("demo", folder, "--max_tokens", "12")
    assert [c["ids"] for c in told["completions"]] == expected
    assert [c["prompt"] for c in told["completions"]] == list(PROMPTS)
    assert [c["prompt_ids"] for c in told["completions"]] == prompts
    for completion, prompt in zip(told["completions"], prompts, strict=True):
        assert len(completion["logprobs"]) == len(prompt) - 1 + len(completion["ids"])
    text = _run("demo", folder, "--max-tokens", "12").stdout
    assert text.count("=" * 21) == 3
    assert all(prompt.strip() in text for prompt in PROMPTS)


def test_fim_prints_the_middle(folder: Path) -> None:
    told = _json("fim", folder, "--prefix", "def add(", "--suffix", "return x", "--max-tokens", "9")
    tokenizer = Tokenizer.from_folder(folder)
    prompt = tokenizer.fim_ids("def add(", "return x")
    assert told["prompt_ids"] == prompt
    model = Transformer.from_folder(folder)
    (expected,), _ = generate([prompt], model, max_tokens=9, temperature=0)
    assert told["ids"] == expected
    assert told["middle"] == told["text"] == told["candidates"][0]["middle"]
    assert told["finish_reason"] == told["candidates"][0]["finish_reason"] == "length"
    assert told["left_out"] == [0, 0]
    done = _run("fim", folder, "--prefix", "-", "--suffix", "return x", "--max-tokens", "9",
                stdin="def add(")  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.rstrip("\n") == told["middle"].rstrip("\n")


def test_fim_ends_where_the_suffix_begins(tmp_path: Path) -> None:
    """A model that goes on into the suffix, as they do, and would not stop by itself."""
    folder = tmp_path / "codestral"
    folder.mkdir()
    (folder / "tokenizer.model.v3").write_bytes(tiny.data_file("v3").read_bytes())
    tokenizer = Tokenizer.from_folder(folder)
    prefix, middle, suffix = "def add(a, b):\n", "    total = a + b\n", "    return total\n"
    rest = tokenizer._continued(middle + suffix + "\n\nprint(add(1, 2))\n")
    overfit.teach(folder, [(tokenizer.fim_ids(prefix, suffix), rest)])
    args = ("fim", folder, "--prefix", prefix, "--suffix", suffix, "--max-tokens", len(rest))
    told = _json(*map(str, args))
    assert told["middle"] == middle
    assert told["finish_reason"] == "stop"
    assert len(told["ids"]) < len(rest)


def test_a_model_without_fim_tokens_says_so(tmp_path: Path) -> None:
    done = _run("fim", tiny.make(tmp_path / "old", tokenizer="v1"), "--prefix", "a")
    assert done.returncode == 1
    assert "cannot fill in the middle" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_usage_of_fim(folder: Path) -> None:
    for args in (["fim", str(folder)], ["fim", str(folder), "--prefix", "-", "--suffix", "-"]):
        done = _run(*args)
        assert done.returncode == 2
        assert done.stderr.startswith("mistral-tui: ")


def test_without_instruct_the_text_is_continued(folder: Path) -> None:
    args = ("-p", "Once upon a time", "--max-tokens", "8", "--temperature", "0")
    told = _json(folder, "--no-instruct", *args)
    tokenizer = Tokenizer.from_folder(folder)
    assert told["prompt_ids"] == tokenizer.encode_text("Once upon a time")
    chatted = _json(folder, "--instruct", *args)
    assert chatted["prompt_ids"] != told["prompt_ids"]
    assert _run(folder, "--no-instruct", "--system", "x", *args).returncode == 2


def test_an_adapter_changes_the_answer_and_a_wrong_one_is_one_sentence(
    folder: Path, tmp_path: Path
) -> None:
    generator = torch.Generator().manual_seed(0)
    pairs = {}
    for n in range(2):
        name = f"layers.{n}.attention.wq"
        pairs[f"{name}.lora_A.weight"] = torch.randn(8, 96, generator=generator)
        pairs[f"{name}.lora_B.weight"] = torch.randn(96, 8, generator=generator)
    save_file(pairs, str(tmp_path / "lora.safetensors"))
    lora = {"lora": {"rank": 8, "scaling": 1.0}}
    (tmp_path / "params.json").write_text(json.dumps(lora))
    args = ("-p", "Hi", "--max-tokens", "8", "--temperature", "0")
    plain = _json(folder, *args)
    adapted = _json(folder, "--lora_path", tmp_path, *args)
    assert adapted["ids"] != plain["ids"]
    assert adapted["model"]["adapter"] == str(tmp_path)
    assert adapted["model"]["fingerprint"] != plain["model"]["fingerprint"]
    other = tiny.make(tmp_path / "other")
    done = _run(other, "--lora", tmp_path, *args)
    assert done.returncode == 1
    assert "does not fit the model" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_attention_that_cannot_be_had_is_one_sentence(folder: Path) -> None:
    done = _run(folder, "-p", "Hi", "--attention", "xformers")
    assert done.returncode == 1
    assert "on CUDA only" in done.stderr


def test_the_config_applies_to_one_answer_and_the_command_line_goes_first(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.toml").write_text(
        "[sampling]\ntemperature = 0\nmax_tokens = 3\ntop_p = 7\n"
        f"[chat]\nmodel = {str(folder)!r}\nsystem_prompt = 'Be brief.'\n"
    )
    done = _run("-p", "Hi", "--json")
    assert done.returncode == 0, done.stderr
    assert "top_p" in done.stderr  # said, and left out
    told = json.loads(done.stdout)
    assert len(told["ids"]) == 3
    assert told["model"]["path"] == str(folder)
    tokenizer = Tokenizer.from_folder(folder)
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert told["prompt_ids"] == tokenizer.encode_chat_completion(messages).tokens
    assert len(_json("-p", "Hi", "--max-tokens", "2")["ids"]) == 2
