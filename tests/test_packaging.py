"""The wheel holds all that the app needs, away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that no stale build folder can help."""
    source = tmp_path_factory.mktemp("source") / "tree"
    skipped = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, ignore=skipped)
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(out)]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_code_looks_types_and_licences(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("inference", "mistral_tui"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix in (".py", ".tcss", ".txt", ".typed"):
                assert str(path.relative_to(ROOT)) in names
    for theme in (ROOT / "themes").glob("*.toml"):
        assert f"mistral_tui/themes/{theme.name}" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests", "benchmarks", "docs")) for name in names)


def test_the_wheel_works_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*install, "--target", str(target), str(wheel)], check=True)
    libraries = sysconfig.get_path("purelib")
    code = f"""
import sys
sys.path[:0] = [{str(target)!r}]
sys.path.append({libraries!r})
import asyncio, inference, mistral_tui
from mistral_tui.themes import load_themes
themes, problems = load_themes(None)
assert {{t.name for t in themes}} >= {{"mistral-dark", "mistral-light"}}, themes
assert not problems, problems
from inference import starter
from mistral_tui.app import ChatApp
for module in (inference, mistral_tui):
    assert module.__file__.startswith({str(target)!r}), module.__file__
"""
    # -S: no site-packages, so no editable install of the checkout either.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=env,
    )
    assert done.returncode == 0, done.stderr
