"""Tools in files of the user and of a project."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from mistral_tui.tools import files
from mistral_tui.tools.definition import Definition
from mistral_tui.tools.files import available, load_file, remove, save, template
from mistral_tui.tools.schema import ToolError, read_text

ROOT = Path(__file__).parents[2]


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """The config folder and the project."""
    config, project = tmp_path / "config", tmp_path / "project"
    (config / "tools").mkdir(parents=True)
    (project / ".mistral-tui" / "tools").mkdir(parents=True)
    return config, project


def _write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_no_folders_are_no_tools_and_none_is_made(tmp_path: Path) -> None:
    assert available(tmp_path / "a", tmp_path / "b") == ([], [])
    assert list(tmp_path.iterdir()) == []


def test_json_and_toml_of_both_folders_are_read(places: tuple[Path, Path]) -> None:
    config, project = places
    _write(config / "tools", "one.json", '{"name": "one", "description": "1"}')
    _write(config / "tools", "two.toml", '[[tools]]\nname = "two"\n[[tools]]\nname = "Three"\n')
    _write(project / ".mistral-tui" / "tools", "four.toml", 'name = "four"\n[parameters]\n')
    _write(config / "tools", "notes.txt", "no tool")
    _write(config / "tools", ".hidden.json", "no tool")
    tools, problems = available(config, project)
    assert problems == []
    assert [tool.name for tool in tools] == ["four", "one", "Three", "two"]
    assert {tool.kind for tool in tools} == {"manual"}
    assert tools[1].source == str(config / "tools" / "one.json")


def test_the_project_is_the_current_folder(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, project = places
    monkeypatch.setenv("MISTRAL_TUI_CONFIG", str(config))
    monkeypatch.chdir(project)
    _write(config / "tools", "a.json", '{"name": "a"}')
    _write(project / ".mistral-tui" / "tools", "b.json", '{"name": "b"}')
    assert [tool.name for tool in available()[0]] == ["a", "b"]


def test_of_equal_names_the_project_s_is_used_and_that_is_said(places: tuple[Path, Path]) -> None:
    config, project = places
    _write(config / "tools", "a.json", '{"name": "same", "description": "config"}')
    _write(
        project / ".mistral-tui" / "tools", "b.json", '{"name": "same", "description": "project"}'
    )
    tools, problems = available(config, project)
    assert [tool.description for tool in tools] == ["project"]
    assert len(problems) == 1
    assert problems[0].startswith("tools/a.json: the tool same is left out")
    assert "b.json already" in problems[0]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("x.json", '{"name": "a",\n}', "tools/x.json, line 2, column 1: this is not JSON"),
        ("x.json", b"\xff{}", "tools/x.json, line 1: the text is not UTF-8"),
        ("x.json", "[" * 99_999, "nested too deeply"),
        ("x.json", " " * (2 << 20), "too large"),
        (
            "x.json",
            '{"name": "a", "parameters": {"type": "array"}}',
            "tools/x.json: /parameters/type",
        ),
        ("x.toml", 'name = "a"\nparameters = 3 3\n', "tools/x.toml, line 2, column"),
        ("x.toml", 'name = "a"\n[parameters.properties.d]\ndefault = 2024-01-01\n', "a date"),
        ("x.toml", "name = " + "[" * 5000, "nested too deeply"),
        ("x.toml", "", "/name is missing"),
    ],
)
def test_a_bad_file_is_a_sentence_and_harms_no_other(
    places: tuple[Path, Path], name: str, text: str | bytes, why: str
) -> None:
    config, project = places
    path = _write(config / "tools", name, text)
    _write(config / "tools", "good.json", '{"name": "good"}')
    tools, problems = available(config, project)
    assert [tool.name for tool in tools] == ["good"]
    assert len(problems) == 1
    assert why in problems[0]
    assert "\n" not in problems[0]
    with pytest.raises(ToolError):
        load_file(path)


@pytest.mark.timeout(10)
def test_pipes_folders_and_dead_links_are_waited_for_by_no_one(places: tuple[Path, Path]) -> None:
    config, project = places
    os.mkfifo(config / "tools" / "pipe.json")
    (config / "tools" / "folder.json").mkdir()
    (config / "tools" / "link.json").symlink_to("nix")
    tools, problems = available(config, project)
    assert tools == []
    assert len(problems) == 2


def test_files_and_tools_have_a_most(places: tuple[Path, Path]) -> None:
    config, project = places
    many = json.dumps([{"name": f"t{n}"} for n in range(150)])
    _write(config / "tools", "a.json", many)
    _write(config / "tools", "b.json", many.replace('"t', '"u'))
    tools, problems = available(config, project)
    assert len(tools) == files.MOST_TOOLS
    assert problems == ["Only the first 200 tools are used."]


def test_a_named_file_is_read_or_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="There is no file"):
        load_file(tmp_path / "nix.json")
    with pytest.raises(ToolError, match="has no tools"):
        load_file(_write(tmp_path, "none.json", "[]"))
    with pytest.raises(ToolError, match="has the tool a twice"):
        load_file(_write(tmp_path, "twice.json", '[{"name": "a"}, {"name": "a"}]'))
    assert [t.name for t in load_file(_write(tmp_path, "any.txt", '{"name": "a"}'))] == ["a"]


def test_what_is_saved_is_there_again(tmp_path: Path) -> None:
    folder = tmp_path / "tools"
    (tool,) = read_text(template(), source="x")
    tool = replace(tool, description="Grüße \U0001f600")
    path = save(tool, folder)
    assert path == folder / "get_weather.json"
    assert path.stat().st_mode & 0o077 == 0
    (again,) = load_file(path)
    assert (again.description, again.parameters) == (tool.description, tool.parameters)
    assert [p.name for p in folder.iterdir()] == ["get_weather.json"]
    save(Definition("half", "a\ud800"), folder)
    assert load_file(folder / "half.json")[0].description == "a\ufffd"


def test_a_tool_that_is_replaced_goes_with_its_old_name(tmp_path: Path) -> None:
    save(Definition("old", "1"), tmp_path)
    (old,) = load_file(tmp_path / "old.json")
    save(replace(old, description="2"), tmp_path, replacing=old)
    (old,) = load_file(tmp_path / "old.json")
    assert old.description == "2"
    save(replace(old, name="new"), tmp_path, replacing=old)
    assert [p.name for p in tmp_path.iterdir()] == ["new.json"]
    (new,) = load_file(tmp_path / "new.json")
    remove(new)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ToolError, match="not there any more"):
        remove(new)


def test_a_toml_file_of_one_tool_can_be_replaced_but_not_one_of_many(tmp_path: Path) -> None:
    (one,) = load_file(_write(tmp_path, "one.toml", 'name = "one"'))
    save(replace(one, description="x"), tmp_path, replacing=one)
    assert [p.name for p in tmp_path.iterdir()] == ["one.json"]
    many = load_file(_write(tmp_path, "many.json", '[{"name": "a"}, {"name": "b"}]'))
    for change in (lambda: remove(many[0]), lambda: save(many[0], tmp_path, replacing=many[0])):
        with pytest.raises(ToolError, match="other tools too"):
            change()
    assert (tmp_path / "many.json").exists()


def test_no_other_tool_is_overwritten(tmp_path: Path) -> None:
    save(Definition("one", "1"), tmp_path)
    _write(tmp_path, "other.toml", 'name = "two"')
    for name in ("one", "ONE", "two"):
        with pytest.raises(ToolError, match="already"):
            save(Definition(name, "2"), tmp_path)
    (one,) = load_file(tmp_path / "one.json")
    with pytest.raises(ToolError, match="already"):
        save(replace(one, name="two"), tmp_path, replacing=one)
    assert load_file(tmp_path / "one.json") == [one]


def test_what_is_no_tool_is_not_saved(tmp_path: Path) -> None:
    for bad in (Definition("a/../b", ""), Definition("a", "", {"type": "array"})):
        with pytest.raises(ToolError):
            save(bad, tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(ToolError, match="cannot be written"):
        save(Definition("a", ""), tmp_path / "file")


def test_only_tools_of_files_can_be_removed(tmp_path: Path) -> None:
    for tool in (Definition("a", ""), Definition("a", "", source="rel.json"),
                 Definition("a", "", kind="python", source="/etc/passwd")):  # fmt: skip
        with pytest.raises(ToolError, match="no file that can be changed"):
            remove(tool)
    path = _write(tmp_path, "x.json", '{"name": "b"}')
    with pytest.raises(ToolError):
        remove(Definition("a", "", source=str(path)))
    assert path.exists()


def test_the_examples_can_be_used() -> None:
    folder = ROOT / "examples" / "tools"
    names = [t.name for path in sorted(folder.glob("get_*")) for t in load_file(path)]
    assert names == ["get_current_weather", "get_forecast", "get_weather"]
