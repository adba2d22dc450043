"""The README tells the truth where a machine can tell."""

from __future__ import annotations

import re
from pathlib import Path

import tiny
from mistral_tui.actions import markdown_list, markdown_table

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
FOLDERS = (
    "inference",
    "inference/constrained",
    "inference/parallel",
    "mistral_tui",
    *(f"mistral_tui/{n}" for n in ("code", "config", "history", "tools", "widgets/code")),
)


def test_the_table_of_keys_is_the_registry() -> None:
    (table,) = re.findall(r"<!-- keys: begin.*?-->\n(.*?)\n<!-- keys: end -->", README, re.S)
    assert table.strip() == markdown_table()


def test_the_page_of_all_keys_is_the_registry() -> None:
    page = (ROOT / "docs" / "keys.md").read_text()
    (tables,) = re.findall(r"<!-- all keys: begin.*?-->\n(.*?)\n<!-- all keys: end -->", page, re.S)
    assert tables == markdown_list()


def test_the_python_examples_run(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path / "7B")
    examples = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(examples) == 3
    for code in examples:
        assert "~/models/7B" in code
        exec(compile(code.replace("~/models/7B", str(folder)), "README", "exec"), {})


def test_every_option_of_the_readme_exists() -> None:
    import inspect

    from mistral_tui import cli, options

    source = inspect.getsource(cli) + inspect.getsource(options)
    known = set(re.findall(r"--[a-z-]+", source))
    parameters = inspect.signature(cli.chat).parameters
    known |= {"--" + name.strip("_").replace("_", "-") for name in parameters}
    for option in re.findall(r"`(--[a-z-]+)", README):
        assert option in known, option


def test_every_module_is_on_the_map() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    for folder in FOLDERS:
        for path in (ROOT / folder).glob("*.py"):
            if not path.stem.startswith("_"):
                assert f"`{path.stem}`" in page, path
