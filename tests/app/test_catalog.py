"""`mistral-tui models`: what is on disk, told without torch and without a model being opened."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import hf
import tiny
from mistral_tui import catalog

MOE = {"moe": {"num_experts": 4, "num_experts_per_tok": 2}}


def _one(folder: Path) -> catalog.Listed:
    (found,) = catalog.find([folder])
    return found


def test_a_folder_is_described_from_its_headers(tmp_path: Path) -> None:
    found = _one(tiny.make(tmp_path / "Tiny-7B", dtype=torch.bfloat16))
    size = (tmp_path / "Tiny-7B" / "consolidated.safetensors").stat().st_size
    expected = sum(w.numel() for w in tiny.random_weights(tiny.PARAMS).values())
    assert found.name == "Tiny-7B"
    assert (found.n_params, found.n_active_params) == (expected, expected)
    assert (found.dtype, found.nbytes, found.context) == ("bfloat16", size, 512)
    assert (found.layout, found.tokenizer) == ("mistral", "spm v3")
    assert found.capabilities == ("instruct", "fim", "tools")
    assert found.problem == ""


def test_experts_count_as_active_only_where_they_are(tmp_path: Path) -> None:
    found = _one(tiny.make(tmp_path / "mix", **MOE))
    assert 0 < found.n_active_params < found.n_params


@pytest.mark.parametrize(
    ("version", "capabilities"),
    [
        ("v1", ("instruct",)),
        ("v2", ("instruct", "tools")),
        ("v7", ("instruct", "fim", "tools")),
        ("tekken-v3", ("instruct", "fim", "tools")),
    ],
)
def test_what_the_tokenizer_can(
    tmp_path: Path, version: str, capabilities: tuple[str, ...]
) -> None:
    folder = tiny.make(tmp_path / "m", tokenizer=version, dim=32, hidden_dim=32)
    assert _one(folder).capabilities == capabilities


@pytest.mark.parametrize("version", ["v1", "v2", "v3", "v7", "tekken-v3"])
def test_the_list_and_the_loaded_model_agree(tmp_path: Path, version: str) -> None:
    """Also where a bare file's version has to be guessed, and where there are several."""
    from inference.loading import load_engine

    folder = tiny.make(tmp_path / "m", tokenizer=version, dim=32, hidden_dim=32)
    (path,) = folder.glob("*tok*") if "tekken" not in version else folder.glob("tekken*")
    for name in (path.name, "tokenizer.model" if "tekken" not in version else path.name):
        path = path.rename(folder / name)
        listed, card = _one(folder), load_engine(str(folder), device="cpu").card
        assert card is not None
        assert listed.capabilities == card.capabilities
        assert card.tokenizer.startswith(listed.tokenizer)
    other = "v1" if version != "v1" else "v3"
    (folder / f"tokenizer.model.{other}").write_bytes(tiny.data_file(other).read_bytes())
    listed, card = _one(folder), load_engine(str(folder), device="cpu").card
    assert card is not None
    assert listed.capabilities == card.capabilities


def test_every_layout_is_found(tmp_path: Path) -> None:
    weights = tiny.random_weights(tiny.PARAMS)
    hf.write(tmp_path / "hf", tiny.PARAMS, weights, shards=2)
    tiny.write(tmp_path / "pth", tiny.PARAMS, weights, "pth")
    for folder in (tmp_path / "hf", tmp_path / "pth"):
        (folder / "tokenizer.model.v3").write_bytes(tiny.data_file("v3").read_bytes())
    found = {model.name: model for model in catalog.find([tmp_path])}
    assert found["hf"].layout == "huggingface"
    assert found["hf"].dtype == "float32"
    assert found["pth"].layout == "mistral"
    assert found["pth"].dtype == "float32"


def test_hugging_faces_cache_shows_repositories(tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--mistralai--Tiny-v0.1" / "snapshots" / "abc"
    tiny.make(snapshot)
    other = tmp_path / "hub" / "models--google--bert" / "snapshots" / "abc"
    other.mkdir(parents=True)
    (other / "config.json").write_text('{"architectures": ["BertModel"]}')
    (other / "model.safetensors").write_bytes(b"")
    assert [model.name for model in catalog.find([tmp_path / "hub"])] == ["mistralai/Tiny-v0.1"]


def test_what_cannot_be_opened_is_listed_with_its_reason(tmp_path: Path) -> None:
    tiny.make(tmp_path / "good")
    (tiny.make(tmp_path / "bad") / "tokenizer.model.v3").unlink()
    found = catalog.find([tmp_path])
    assert [bool(model.problem) for model in found] == [True, False]
    table = catalog.as_table(found)
    assert "Folders that cannot be opened" in table
    assert "has no tokenizer" in table


def test_links_and_places_that_are_not_there_do_no_harm(tmp_path: Path) -> None:
    tiny.make(tmp_path / "m")
    (tmp_path / "again").symlink_to(tmp_path / "m")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "self").symlink_to(tmp_path)
    assert len(catalog.find([tmp_path, tmp_path / "nowhere", tmp_path / "m"])) == 1
    assert "No models found" in catalog.as_table([])


def test_names_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    tiny.make(tmp_path / "\x1b[31mred\x1b]52;c;aGk=\x07")
    assert "\x1b" not in catalog.as_table(catalog.find([tmp_path]))


def test_the_command(tmp_path: Path) -> None:
    tiny.make(tmp_path / "Tiny")

    def run(*args: str) -> str:
        command = [sys.executable, "-m", "mistral_tui", *args]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    (model,) = json.loads(run("models", str(tmp_path), "--json"))
    assert model["name"] == "Tiny"
    assert set(model) == {
        "name", "path", "n_params", "n_active_params", "dtype", "nbytes", "context", "layout",
        "tokenizer", "capabilities", "problem",
    }  # fmt: skip
    assert "Tiny" in run("models", str(tmp_path))
