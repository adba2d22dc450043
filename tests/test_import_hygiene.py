"""Who may import whom, held by running fresh interpreters."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "mistral_common", "transformers", "numpy", "safetensors")


def _loaded(code: str, names: tuple[str, ...]) -> list[str]:
    """Which of `names` are imported after `code` ran."""
    probe = f"import sys\n{code}\nprint([n for n in {names!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return [name for name in names if f"'{name}'" in done.stdout]


@pytest.mark.parametrize(
    "module",
    ["inference", "inference.api", "inference.errors", "inference.wire", "inference.folder",
     "inference.starter"],
)  # fmt: skip
def test_the_contract_costs_no_torch(module: str) -> None:
    assert _loaded(f"import {module}", (*HEAVY, "textual", "rich")) == []


def test_the_ui_process_imports_nothing_heavy() -> None:
    code = (
        "import mistral_tui.cli, mistral_tui.app, mistral_tui.backstage\n"
        "import mistral_tui.screens.help, mistral_tui.screens.first_run\n"
        "from mistral_tui.app import _starter_is_there; _starter_is_there()\n"
        "from mistral_tui.launch import check_folder\n"
        "try: check_folder('/nowhere')\nexcept SystemExit: pass"
    )
    assert _loaded(code, HEAVY) == []


def test_the_first_paint_waits_for_nothing_it_can_do_without() -> None:
    code = "import mistral_tui.launch, mistral_tui.app"
    later = ("typer", "sqlite3", "markdown_it", "inference.api", "mistral_tui.backstage")
    assert _loaded(code, (*HEAVY, *later)) == []


def test_headless_never_imports_textual() -> None:
    code = "import mistral_tui.cli, mistral_tui.headless, mistral_tui.history.store"
    assert _loaded(code, (*HEAVY, "textual")) == []


def test_tools_cost_nothing_until_they_are_used() -> None:
    code = "import mistral_tui.tools.toolbox, mistral_tui.calling, mistral_tui.headless_tools"
    assert _loaded(code, (*HEAVY, "textual", "mcp", "jsonschema", "llguidance")) == []


def test_schemas_are_compiled_without_torch() -> None:
    code = "import inference.constrained.json_schema, inference.constrained.automaton"
    assert _loaded(code, (*HEAVY, "textual", "jsonschema", "llguidance")) == []


def test_the_engine_starts_without_grammars() -> None:
    names = ("inference.constrained.constraint", "inference.constrained.json_schema", "llguidance")
    assert _loaded("import inference.engine", names) == []


def test_the_command_line_itself_is_light() -> None:
    code = "import mistral_tui.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: pass"
    assert _loaded(code, (*HEAVY, "textual", "sqlite3")) == []


def test_inference_never_imports_the_app() -> None:
    pattern = re.compile(r"^\s*(from|import)\s+(mistral_tui|textual)\b", re.M)
    for path in (ROOT / "inference").glob("**/*.py"):
        assert not pattern.search(path.read_text()), path


def test_the_public_names_resolve() -> None:
    import inference

    for name in inference.__all__:
        assert getattr(inference, name) is not None
    from inference import generate

    assert callable(generate)


def test_no_file_is_much_over_400_lines() -> None:
    for folder in ("inference", "mistral_tui"):
        for path in (ROOT / folder).glob("**/*.py"):
            assert len(path.read_text().splitlines()) <= 420, path
