"""`mistral-tui doctor`: what it says of a model, a machine and an installation."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import tiny
from mistral_tui import cli, machine

MIB = 1 << 20
BIG: dict[str, Any] = {"dim": 512, "hidden_dim": 2048, "n_heads": 8, "n_kv_heads": 8}
TORCH_CUDA = machine._torch_cuda


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders and a home of its own, no GPU and no say in which, no cgroup; a torch for CUDA."""
    monkeypatch.setattr(machine, "_torch_cuda", lambda version: "12.8")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "_OWN_CGROUP", tmp_path / "own_cgroup")
    for name in ("DATA", "STATE", "CONFIG", "CACHE"):
        monkeypatch.setenv(f"MISTRAL_TUI_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


def nvidia_smi(folder: Path, *lines: str, code: int = 0, then: str = "") -> None:
    """A program of that name which prints these lines."""
    (folder / "bin").mkdir(exist_ok=True)
    program = folder / "bin" / "nvidia-smi"
    said = "\n".join(lines)
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' {shlex.quote(said)}\n{then}\nexit {code}\n")
    program.chmod(0o755)


def cards(count: int, mib: int, name: str = "NVIDIA Tiny") -> list[str]:
    return [f"GPU-{n}{n}, {name}, {mib}, {mib - 1}" for n in range(count)]


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    with pytest.raises(SystemExit) as left:
        cli.main(["doctor", *args])
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def told(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    code, out, err = run(capsys, *args, "--json")
    found: dict[str, Any] = json.loads(out)
    assert (code, err) == (int(bool(found["model"] and not found["model"]["proposal"])), "")
    return found


# ── a model ─────────────────────────────────────────────────────────────────────────


def test_a_model_without_a_gpu_runs_on_the_cpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny.make(tmp_path / "Tiny 7B")
    code, out, err = run(capsys, str(folder))
    assert (code, err) == (0, "")
    assert f"Start it:  mistral-tui '{folder}' --device cpu\n" in out
    assert "This machine: no NVIDIA GPU" in out
    (cpu, *_) = [line.split() for line in out.splitlines() if line.startswith("CPU")]
    assert (cpu[1], cpu[-1]) == ("float32", "yes")


def test_the_proposed_number_of_ranks_is_the_smallest_that_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny.make(tmp_path / "m", dtype=torch.bfloat16, vocab_size=32768, **BIG)
    needed = {1: 0, 2: 0, 4: 0}
    for way in told(capsys, str(folder))["model"]["ways"]:
        if way["device"] == "cuda" and way["dtype"] == "bfloat16" and way["ranks"] in needed:
            needed[way["ranks"]] = way["needed_bytes"]
    for ranks, size in needed.items():
        nvidia_smi(tmp_path, *cards(4, size // MIB + 2))
        model = told(capsys, str(folder))["model"]
        here = {w["ranks"] for w in model["ways"] if w["fits"] and w["device"] == "cuda"}
        assert min(here) == model["proposal"]["ranks"] == ranks
        assert 8 not in here
    assert model["proposal"]["commands"] == [
        f"torchrun --nproc-per-node 4 --no-python mistral-tui {folder}",
        f"mistral-tui {folder} --ranks 4",
    ]


def test_another_machine_can_be_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tiny.make(tmp_path / "m"))
    code, out, _ = run(capsys, folder, "--gpus", "3", "--gpu-memory", "24")
    assert code == 0
    assert "Asked for: 3 GPUs of 24.0 GiB" in out
    assert "CPU" not in out.split("GiB on each")[0]
    assert f"Start it:  mistral-tui {folder}\n" in out
    for half in (("--gpus", "3"), ("--gpu-memory", "24")):
        code, out, err = run(capsys, folder, *half)
        assert (code, out) == (2, "")
        assert "go together" in err


def test_a_shorter_conversation_that_fits_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny.make(tmp_path / "m", max_position_embeddings=1 << 20, **BIG)
    whole = ["--gpus", "1", "--gpu-memory", "40"]
    assert told(capsys, str(folder), *whole)["model"]["proposal"]["tokens"] == 1 << 20
    few = ["--gpus", "1", "--gpu-memory", "3"]
    way = told(capsys, str(folder), *few)["model"]["proposal"]
    assert 256 <= way["tokens"] < 1 << 20
    code, out, _ = run(capsys, str(folder), *few)
    assert code == 0
    assert f"Only about {way['tokens']:,} of 1,048,576 tokens fit" in " ".join(out.split())
    shorter = told(capsys, str(folder), *few, "--context", str(way["tokens"]))["model"]
    assert shorter["proposal"]["tokens"] == shorter["tokens"] == way["tokens"]


def test_a_model_that_fits_in_no_way_exits_with_1_after_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny.make(tmp_path / "m")
    code, out, err = run(capsys, str(folder), "--gpus", "1", "--gpu-memory", "1")
    assert (code, err) == (1, "")
    assert "It does not fit" in out
    assert "All of it fits 1 GPU of 24 GiB." in " ".join(out.split())
    found = told(capsys, str(folder), "--gpus", "1", "--gpu-memory", "1")
    assert found["model"]["proposal"] is None


def test_what_does_not_fit_the_gpus_may_fit_the_cpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nvidia_smi(tmp_path, *cards(1, 1000))
    way = told(capsys, str(tiny.make(tmp_path / "m")))["model"]["proposal"]
    assert (way["device"], way["tokens"]) == ("cpu", 512)
    assert way["commands"] == [f"mistral-tui {tmp_path / 'm'} --device cpu"]


def test_a_folder_that_is_no_model_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tiny.make(tmp_path / "dumb") / "tokenizer.model.v3").unlink()
    hostile = tmp_path / "esc\x1b]52;c;AAAA\x07"
    hostile.mkdir()
    for folder, word in (
        (tmp_path / "empty", "is empty"),
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path / "dumb", "has no tokenizer"),
        (hostile, "is empty"),
    ):
        for more in ((), ("--json",)):
            code, out, err = run(capsys, str(folder), *more)
            assert (code, out, err.count("\n")) == (1, "", 1)
            assert word in err
            assert "\x1b" not in err
    code, out, err = run(capsys, "starter")
    assert (code, out) == (1, "")
    assert "pull starter" in err


def test_more_tokens_than_the_model_has_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, str(tiny.make(tmp_path / "m")), "--context", "513")
    assert (code, out) == (2, "")
    assert "512" in err


@pytest.mark.parametrize("gpus", [0, 4])
def test_the_report_fits_a_small_screen(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    gpus: int,
) -> None:
    nvidia_smi(tmp_path, *cards(gpus, 81559, "NVIDIA H100 80GB HBM3 with a long name"))
    folder = tiny.make(tmp_path / "m", n_layers=8, n_heads=6, n_kv_heads=6)  # pipelines, too
    _, out, _ = run(capsys, str(folder))
    lines = out.splitlines()
    assert len(lines) <= 24
    assert all(len(line) <= 80 for line in lines if "mistral-tui" not in line)
    assert "pipeline" in out


def test_a_model_named_like_a_command_is_started_by_its_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.make(tmp_path / "pull")
    monkeypatch.chdir(tmp_path)
    commands = told(capsys, "pull")["model"]["proposal"]["commands"]
    assert commands == ["mistral-tui ./pull --device cpu"]


# ── the machine ─────────────────────────────────────────────────────────────────────


def test_gpus_are_told_by_nvidia_smi(tmp_path: Path) -> None:
    assert machine.look({}).gpus == ()
    nvidia_smi(tmp_path, "GPU-a, NVIDIA A100, 40960, 40000", "GPU-b, Odd, Name, 24564, [N/A]")
    found = machine.look({})
    assert found.gpus == (
        machine.Gpu("NVIDIA A100", 40960 * MIB, 40000 * MIB),
        machine.Gpu("Odd, Name", 24564 * MIB, 24564 * MIB),
    )
    assert found.problems == ()
    nvidia_smi(tmp_path, "NVIDIA-SMI has failed because it could not reach the driver.", code=9)
    assert machine.look({}).gpus == ()
    nvidia_smi(tmp_path, "No devices were found")
    assert machine.look({}).gpus == ()
    nvidia_smi(tmp_path, "GPU-a, NVIDIA GB10, [N/A], [N/A]")
    found = machine.look({})
    assert found.gpus == ()
    assert "GB10" in found.problems[0]


@pytest.mark.parametrize(
    ("said", "names", "understood"),
    [
        ("1,0", "BA", True),
        ("2", "C", True),
        ("", "", True),
        ("-1", "", True),
        ("0,-1,2", "A", True),
        ("0,7,2", "A", False),
        ("1,1", "B", False),
        ("GPU-c", "C", True),
        ("GPU-c1, GPU-a", "CA", True),
        ("MIG-1234", "", False),
        ("X,MIG-1234", "", False),
        ("GPU-", "", False),
        ("0,\x1b[31m", "A", False),
    ],
)
def test_cuda_visible_devices_leaves_what_cuda_would(
    tmp_path: Path, said: str, names: str, understood: bool
) -> None:
    nvidia_smi(tmp_path, *(f"GPU-{n.lower()}1, {n}, 1000, 900" for n in "ABC"))
    found = machine.look({"CUDA_VISIBLE_DEVICES": said})
    assert "".join(gpu.name for gpu in found.gpus) == names
    assert bool(found.problems) is not understood
    assert all("\x1b" not in problem for problem in found.problems)
    assert found.mig is ("MIG-" in said)


def test_a_gpu_with_nothing_free_holds_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nvidia_smi(tmp_path, "GPU-a, NVIDIA A100, 40960, 0")
    assert machine.look({}).gpus == (machine.Gpu("NVIDIA A100", 40960 * MIB, 0),)
    model = told(capsys, str(tiny.make(tmp_path / "m")))["model"]
    assert model["proposal"]["device"] == "cpu"
    assert not any(way["fits"] for way in model["ways"] if way["device"] == "cuda")


def test_for_mig_slices_nothing_is_proposed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(tiny.make(tmp_path / "models" / "m"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1234")
    assert told(capsys, folder)["model"]["proposal"]["device"] == "cpu"  # there is no GPU at all
    nvidia_smi(tmp_path, *cards(1, 40960))
    code, out, _ = run(capsys, folder)
    assert code == 0  # not: it does not fit
    assert "! MIG slices are not judged; use --gpus and --gpu-memory" in out
    assert not any(words in out for words in ("Start it", "not fit", "no GPU", "no NVIDIA GPU"))
    assert run(capsys)[1].count("not judged") == 3
    code, out, _ = run(capsys, folder, "--json")
    assert (code, json.loads(out)["model"]["proposal"]) == (0, None)
    code, out, _ = run(capsys, folder, "--gpus", "1", "--gpu-memory", "10")
    assert (code, "MIG" in out) == (0, False)
    assert f"Start it:  mistral-tui {folder}\n" in out
    monkeypatch.setattr(machine, "_torch_cuda", lambda version: "")
    assert told(capsys, folder)["model"]["proposal"]["device"] == "cpu"


def test_an_nvidia_smi_that_hangs_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_SMI_SECONDS", 0.3)
    nvidia_smi(tmp_path, *cards(1, 1000), then="exec /bin/sleep 60")
    found = machine.look({})
    assert found.gpus == ()
    assert "does not answer" in found.problems[0]


def test_what_nvidia_smi_says_cannot_write_to_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = cards(2, 81559, "\x1b[31mred\x1b]52;c;aGk=\x07" + "x" * 500)
    nvidia_smi(tmp_path, *lines, "\x1b]0;title\x07", "GPU-z, \x1b[2Jwiped, x, y")
    folder = tiny.make(tmp_path / "\x1b[1mmodel")
    for args in ((), (str(folder),)):
        _, out, err = run(capsys, *args)
        assert "2 × red" in out
        assert not any(c in out + err for c in "\x1b\x07")


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "sys", SimpleNamespace(platform="linux"))
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    assert machine._memory() == (0, None)
    assert "memory" in machine.look({}).problems[0]
    (tmp_path / "meminfo").write_text("MemTotal: 4000 kB\nMemFree: 1 kB\nMemAvailable: 3000 kB\n")
    assert machine._memory() == (4000 << 10, 3000 << 10)
    (tmp_path / "memory.current").write_text("1000000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 400000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert machine._memory() == (4000 << 10, 3000 << 10)
    (tmp_path / "memory.max").write_text("2000000\n")
    assert machine._memory() == (2_000_000, 1_400_000)
    (tmp_path / "memory.current").unlink()
    assert machine._memory() == (2_000_000, 2_000_000)


@pytest.mark.parametrize(
    ("root", "own", "limit", "usage", "stat"),
    [
        ("", "0::{}", "memory.max", "memory.current", "inactive_file"),
        (
            "memory",
            "9:name=systemd:/elsewhere\n4:cpuset,memory:{}\n0::/",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "inactive_file 999999\ntotal_inactive_file",
        ),
    ],
)
def test_the_smallest_limit_on_the_way_to_the_processs_cgroup_counts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    root: str,
    own: str,
    limit: str,
    usage: str,
    stat: str,
) -> None:
    monkeypatch.setattr(machine, "sys", SimpleNamespace(platform="linux"))
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text("MemTotal: 4000 kB\nMemAvailable: 3000 kB\n")
    top = tmp_path / "cgroup" / root

    def limited(path: str, to: object, used: int = 0, cached: int = 0) -> None:
        (top / path).mkdir(parents=True, exist_ok=True)
        (top / path / limit).write_text(f"{to}\n")
        (top / path / usage).write_text(f"{used}\n")
        (top / path / "memory.stat").write_text(f"anon 1\n{stat} {cached}\n")

    def within(path: str) -> tuple[int, int | None]:
        (tmp_path / "own_cgroup").write_text(own.format(path) + "\n")
        return machine._memory()

    unlimited = (4000 << 10, 3000 << 10)
    limited("user/job: 1/step", "max" if not root else (1 << 63) - 4096, 3_900_000)
    limited("user/other", 1_000)
    assert within("/user/job: 1/step") == unlimited
    limited("user/job: 1", 2_000_000, 700_000, 100_000)
    assert within("/user/job: 1/step") == (2_000_000, 1_400_000)
    limited("user", 3_000_000, 2_900_000, 200_000)  # more, but siblings use it
    assert within("/user/job: 1/step") == (2_000_000, 300_000)
    limited("user/job: 1/step", 1_500_000, 1_600_000)  # just now more than allowed
    assert within("/user/job: 1/step") == (1_500_000, 0)
    assert within("/user") == (3_000_000, 300_000)
    limited("", 4000 << 10, 4000 << 10)  # as much as there is: no limit
    assert within("/") == within("/../user") == within("/gone/meanwhile") == unlimited
    limited("", 2_500_000)  # a container that sees its own cgroup at the root
    assert within("/gone/meanwhile") == (2_500_000, 2_500_000)


def test_a_full_cgroup_has_no_memory_for_a_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_memory", lambda: (64 << 30, 0))
    code, out, _ = run(capsys, str(tiny.make(tmp_path / "m")))
    assert (code, "It does not fit" in out) == (1, True)


def test_on_a_mac_nothing_turns_its_gpu_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(tiny.make(tmp_path / "models" / "m"))
    monkeypatch.setattr(machine, "sys", SimpleNamespace(platform="darwin"))
    monkeypatch.setattr(machine, "_sysctl", lambda name: 16 << 30)
    code, out, _ = run(capsys, folder)
    assert code == 0
    assert f"Start it:  mistral-tui {folder}\n" in out
    assert "This machine: memory 16.0 GiB; " in out
    assert "This machine: the GPU (MPS) shares this memory\n" in out
    assert not any(words in out for words in ("--device", "available", "no NVIDIA", "no GPU"))
    found = told(capsys, folder)
    assert found["machine"]["available_bytes"] is None
    assert found["model"]["proposal"]["commands"] == [f"mistral-tui {folder}"]
    assert run(capsys)[1].rstrip().endswith("CPU and MPS")
    monkeypatch.setattr(machine, "_sysctl", lambda name: 0)
    _, out, _ = run(capsys, folder)
    assert "This machine: memory unknown; " in out


# ── the installation ────────────────────────────────────────────────────────────────


def test_without_a_model_the_installation_and_the_models_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from importlib.metadata import version

    tiny.make(tmp_path / "models" / "Tiny-7B")
    tiny.make(tmp_path / "models" / "Large", max_position_embeddings=1 << 24, **BIG)
    (tmp_path / "models" / "bad").mkdir()
    (tmp_path / "models" / "bad" / "params.json").write_text("{")
    nvidia_smi(tmp_path, *cards(2, 9000))
    code, out, err = run(capsys)
    assert (code, err) == (0, "")
    assert f"mistral-tui {version('mistral-tui')}" in out
    assert f"PyTorch {version('torch')}" in out
    assert f"Data: ~{os.sep}data" in out
    (tiny_line,) = [line for line in out.splitlines() if line.startswith("Tiny-7B")]
    assert tiny_line.endswith("1 GPU")
    (large_line,) = [line for line in out.splitlines() if line.startswith("Large")]
    assert large_line.endswith("tokens")
    assert "1 folder cannot be opened" in out


def test_extras_that_are_not_there_say_what_they_are_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = machine._is_there
    monkeypatch.setattr(machine, "_is_there", lambda name: name != "mcp" and there(name))
    _, out, _ = run(capsys)
    assert 'tools from MCP servers: pip install "mistral-tui[mcp]"' in out


def test_a_torch_without_cuda_beside_gpus_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_torch_cuda", lambda version: "")
    assert not any("without CUDA" in problem for problem in told(capsys)["problems"])
    nvidia_smi(tmp_path, *cards(1, 9000))
    assert any("without CUDA" in problem for problem in told(capsys)["problems"])
    monkeypatch.setattr(machine, "_torch_cuda", lambda version: "12.8")
    assert not any("without CUDA" in problem for problem in told(capsys)["problems"])


def test_a_torch_without_cuda_is_proposed_the_cpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(tiny.make(tmp_path / "models" / "m"))
    nvidia_smi(tmp_path, *cards(2, 9000))
    assert told(capsys, folder)["model"]["proposal"]["device"] == "cuda"
    monkeypatch.setattr(machine, "_torch_cuda", lambda version: "")
    model = told(capsys, folder)["model"]
    assert model["proposal"]["commands"] == [f"mistral-tui {folder} --device cpu"]
    assert any(way["fits"] for way in model["ways"] if way["device"] == "cuda")
    assert f"Start it:  mistral-tui {folder} --device cpu\n" in run(capsys, folder)[1]
    assert run(capsys)[1].split("\n!")[0].rstrip().endswith("the CPU")
    asked = told(capsys, folder, "--gpus", "1", "--gpu-memory", "9")["model"]
    assert asked["proposal"]["device"] == "cuda"
    monkeypatch.setattr(machine, "_memory", lambda: (1 << 20, 1 << 20))
    code, out, _ = run(capsys, folder)
    assert (code, "It does not fit the CPU, not even" in out) == (1, True)


def test_the_cuda_of_torch_is_told_as_torch_tells_it() -> None:
    assert TORCH_CUDA(torch.__version__) == (torch.version.cuda or "")


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MISTRAL_TUI_STATE", str(tmp_path / "file" / "state"))
    found = machine.installation({})
    assert "MISTRAL_TUI_STATE" in found.problems[0]
    assert set(found.folders) == {"data", "config", "cache"}

    def full(**_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(machine.tempfile, "TemporaryFile", full)
    assert any("No space left" in problem for problem in machine.installation({}).problems)


def test_a_foreign_package_of_our_engines_name_is_said(tmp_path: Path) -> None:
    (tmp_path / "inference").mkdir()
    (tmp_path / "inference" / "__init__.py").write_text("raise SystemExit('foreign')")
    command = [sys.executable, "-m", "mistral_tui", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert str(tmp_path / "inference" / "__init__.py") in done.stderr
    assert "pip uninstall inference" in done.stderr


def test_a_distribution_installed_over_ours_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.shadowed() == ""
    version = machine._version
    monkeypatch.setattr(machine, "_version", lambda n: "1" if n == "inference" else version(n))
    assert "installed over ours" in machine.shadowed()


def test_the_published_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, str(tiny.make(tmp_path / "m")))
    assert set(found) == {"model", "models", "broken", "machine", "installation", "problems"}
    assert set(found["machine"]) == {
        "asked", "gpus", "memory_bytes", "available_bytes", "cores",
    }  # fmt: skip
    assert set(found["installation"]) == {
        "version", "python", "torch", "cuda", "extras", "folders", "terminal",
    }  # fmt: skip
    model = found["model"]
    assert set(model) == {
        "name", "path", "n_params", "n_active_params", "dtype", "context", "tokens", "ways",
        "proposal",
    }  # fmt: skip
    assert set(model["ways"][0]) == {
        "device", "ranks", "mode", "dtype", "weights_bytes", "cache_bytes", "work_bytes",
        "needed_bytes", "here", "fits", "tokens", "problem",
    }  # fmt: skip
    assert set(model["proposal"]) == {"device", "ranks", "dtype", "tokens", "commands"}
    assert told(capsys)["model"] is None


def test_it_needs_neither_torch_nor_textual(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "m")
    code = (
        "import sys; from mistral_tui import cli\n"
        f"try: cli.main(['doctor', {str(folder)!r}])\n"
        "except SystemExit as left: assert not left.code\n"
        "print([n for n in ('torch', 'numpy', 'textual', 'mistral_common') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
