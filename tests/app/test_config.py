"""config.toml: what is taken from it, what is said of the rest, and what applies in the end."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from inference.api import SamplingParams
from mistral_tui import config_command
from mistral_tui.choices import ModelChoice, SamplingChoice
from mistral_tui.config import file as config
from mistral_tui.config import presets, settings
from mistral_tui.config.file import Config
from mistral_tui.config.layers import (
    ConversationSettings,
    changes,
    chosen,
    differences,
    effective,
    said_in,
)
from mistral_tui.config.setting import Invalid, Setting, literal
from mistral_tui.config.settings import BY_KEY, SETTINGS, of_section
from mistral_tui.config.toml_file import MOST_PROBLEMS, key_lines
from mistral_tui.config.user_files import FileProblem

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "configuration.md").read_text()
SAMPLING = [s for s in SETTINGS if s.section == "sampling" and s.key != "stop"]


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "config.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def loaded(folder: Path, text: str | bytes) -> Config:
    return config.load(write(folder, text))


# ── the registry ────────────────────────────────────────────────────────────────────


def taken(setting: Setting, value: object) -> bool:
    try:
        setting.read(value)
    except Invalid:
        return False
    return True


@pytest.mark.parametrize("setting", SAMPLING, ids=lambda s: s.key)
@hypothesis.settings(deadline=None)  # the first one imports torch
@given(data=st.data())
def test_a_range_is_the_engine_s(setting: Setting, data: st.DataObject) -> None:
    from inference.errors import SettingError
    from inference.sampling import check

    edges = [-1, 0, 1, 2, 100, 101, 2**63 - 1]
    numbers: st.SearchStrategy[float]
    if setting.kind == "whole":
        numbers = st.sampled_from(edges) | st.integers(-(2**63), 2**63 - 1)
    else:
        tiny = [-0.0, math.nan, math.inf, -math.inf, 5e-324, math.nextafter(100, 200)]
        numbers = st.sampled_from([*edges, *tiny]) | st.floats() | st.floats(-1, 101)
    value = data.draw(numbers)
    values: dict[str, Any] = {setting.key: value}
    try:
        check(SamplingParams(**values))
        good = True
    except SettingError:
        good = False
    assert taken(setting, value) is good


def test_the_words_are_the_engine_s() -> None:
    from inference.attention import BACKENDS
    from inference.devices import _DTYPES, _MOST_THREADS

    assert all(taken(BY_KEY["dtype"], name) for name in _DTYPES)
    assert {"auto", *_DTYPES} >= set(BY_KEY["dtype"].words)
    assert set(BY_KEY["attention"].words) == set(BACKENDS)
    assert BY_KEY["threads"].high == _MOST_THREADS
    assert all(taken(BY_KEY["device"], d) for d in ("auto", "cpu", "cuda", "cuda:1", "mps"))
    assert not any(taken(BY_KEY["device"], d) for d in ("", "gpu", "cuda:", "cuda:x", "cuda:1\n"))


def test_the_sampling_settings_and_defaults_are_those_of_the_command_line() -> None:
    assert {s.key for s in SAMPLING} == set(SamplingChoice.__slots__)
    for key in ("device", "dtype", "threads", "ranks", "attention", "instruct"):
        assert BY_KEY[key].default == getattr(ModelChoice("x"), key)
    assert len(BY_KEY) == len(SETTINGS)
    for setting in SETTINGS:
        assert setting.read(setting.example) == setting.example
        assert setting.default is None or setting.read(setting.default) == setting.default
        assert setting.help.endswith(".")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("temperature", "0.7", 'is "0.7"; it must be a number from 0 to 100'),
        ("temperature", True, "is true"),
        ("temperature", math.nan, "is nan"),
        ("temperature", 2**64, "is a number beyond 64 bits"),
        ("top_k", 4.0, "a whole number, 0 or more"),
        ("top_k", 2**63, "beyond 64 bits"),
        ("max_tokens", 0, "is 0; it must be a whole number, 1 or more"),
        ("repetition_penalty", 0, "above 0, up to 100"),
        ("safe_prompt", 1, "true or false"),
        ("stop", "###", "a list of up to 16 texts"),
        ("stop", [""], "1 to 256 characters"),
        ("stop", ["a"] * 17, "is a list of 17"),
        ("stop", [3], "texts"),
        ("system_prompt", "\ud800", "must be a text"),
        ("system_prompt", "x" * (256 << 10) + "x", "up to 256 KB"),
        ("model", "models/7B", "begins with / or ~"),
        ("model", "", "starter"),
        ("device", "gpu", "auto, cpu, cuda, cuda:N or mps"),
        ("dtype", {}, "is a table"),
        ("dtype", "\x1b]0;hi\x07", 'is "]0;hi"; it must be auto, bfloat16'),
        ("theme", " ", "the name of a theme"),
    ],
)  # fmt: skip
def test_a_bad_value_is_said(key: str, value: object, words: str) -> None:
    with pytest.raises(Invalid, match=re.escape(words)):
        BY_KEY[key].read(value)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.key)
def test_what_is_shown_can_be_typed(setting: Setting) -> None:
    assert setting.parse(setting.shown(setting.example)) == setting.example


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ('"\\n\\n", "a, b"', ("\n\n", "a, b")),
        ("['x']", ("x",)),
        ("User:", ("User:",)),
        ("", ()),
        ("none", ()),
    ],
)
def test_stop_texts_are_typed_plain_or_quoted(typed: str, value: tuple[str, ...]) -> None:
    assert BY_KEY["stop"].parse(typed) == value
    assert BY_KEY["stop"].parse(BY_KEY["stop"].shown(value)) == value


@pytest.mark.parametrize(
    ("key", "typed"),
    [
        ("temperature", "warm"),
        ("temperature", "nan"),
        ("top_k", "4.5"),
        ("top_k", "9" * 5000),
        ("safe_prompt", "maybe"),
        ("stop", '"a'),
        ("stop", '"a"] \n y = ["'),
        ("stop", '"a", ' + "[" * 5000),
    ],
)
def test_what_is_typed_wrong_is_said(key: str, typed: str) -> None:
    with pytest.raises(Invalid, match="it must be"):
        BY_KEY[key].parse(typed)


@given(st.text() | st.lists(st.text()).map(tuple) | st.floats() | st.booleans() | st.integers())
def test_a_value_is_spelt_in_toml_and_printable(value: Any) -> None:
    text = literal(value)
    if "\n" not in text:
        back = tomllib.loads(f"x = {text}")["x"]
        back = tuple(back) if isinstance(back, list) else back
        assert back == value or value != value
    assert text.isprintable()


# ── the file ────────────────────────────────────────────────────────────────────────


def test_without_a_file_all_is_as_it_is(tmp_path: Path) -> None:
    found = config.load(tmp_path / "config.toml")
    assert (found.there, found.values, found.problems) == (False, {}, ())
    assert list(found.presets) == ["precise", "balanced", "creative", "code"]
    assert list(tmp_path.iterdir()) == []


def test_good_settings_are_taken(tmp_path: Path) -> None:
    lines = {s.key: f"{s.key} = {literal(s.example)}" for s in SETTINGS}
    text = "\n".join(
        f"[{section}]\n" + "\n".join(lines[key] for key in settings.of_section(section))
        for section in settings.SECTIONS
    )
    found = loaded(tmp_path, "\ufeff" + text.replace("\n", "\r\n"))
    assert found.problems == ()
    assert found.values == {s.key: s.example for s in SETTINGS}


BAD = """\
temperature = 3
[sampling]
temperature = 300
top-p = 0.7
Max_tokens = 5
help = \"\"\"
[chat]
system_prompt = 3
\"\"\"
min_p = nan
top_k = 5
[chat]
system_prompt = "@pirate"
"theme" = "\\u001b[31mred"
[samplng]
[presets]
x.temperature = 0.1
x."esc\\u001b[31m" = 3
x.system_prompt = "@lost"
y = 3
[presets."a b"]
"""
SAID = [
    "config.toml, line 1: temperature is not known here; it belongs in [sampling].",
    "config.toml, line 3: temperature in [sampling] is 300; it must be a number from 0 to 100.",
    "config.toml, line 4: top-p in [sampling] is not known; did you mean top_p?",
    "config.toml, line 5: Max_tokens in [sampling] is not known; did you mean max_tokens?",
    "config.toml, line 6: help in [sampling] is not known; there are temperature, top_p, top_k, "
    "min_p, repetition_penalty, max_tokens, seed, stop.",
    "config.toml, line 10: min_p in [sampling] is nan; it must be a number from 0 to 1.",
    "config.toml, line 13: system_prompt in [chat] cannot be used: There is no system prompt "
    "pirate; the folder prompts/ has none.",
    "config.toml, line 14: theme in [chat] is not known here; it belongs in [ui].",
    "config.toml, line 15: samplng is not known; did you mean sampling?",
    "config.toml, line 18: esc in [presets.x] is not known; there are temperature, top_p, top_k, "
    "min_p, repetition_penalty, max_tokens, seed, stop, system_prompt, help.",
    "config.toml, line 19: system_prompt in [presets.x] cannot be used: There is no system prompt "
    "lost; the folder prompts/ has none.",
    "config.toml, line 20: y in [presets] must be a table, [presets.y].",
    "config.toml, line 21: a b in [presets] cannot be the name of a preset: a name has up to 40 "
    "letters, digits, - and _, and begins with a letter or digit.",
]


def test_every_problem_is_said_and_the_rest_applies(tmp_path: Path) -> None:
    found = loaded(tmp_path, BAD)
    assert list(found.problems) == SAID
    assert found.values == {"top_k": 5}
    assert found.presets["x"].values == {"temperature": 0.1}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[sampling]\ntop_p = \n", "config.toml, line 2, column 9: this is not TOML (Invalid"),
        ("a = 1\na = 2\n", "config.toml, line 2, column 6: this is not TOML (Cannot overwrite"),
        ('a = "x', "config.toml, at its end: this is not TOML (Unterminated string"),
        ('a = "\x1b[31m"', "column 6: this is not TOML (Illegal character '\\x1b'"),
        (b"ok = 1\n\xff = 2\n", "config.toml, line 2: the text is not UTF-8."),
        (b"#" * (1 << 20) + b"#", "config.toml is too large; at most 1024 KB are read."),
        ("a = " + "[" * 100_000, "config.toml cannot be used: it is nested too deeply."),
        ("a." * 100_000 + "b = 1", "config.toml cannot be used: it is nested too deeply."),
        ("[" + "a." * 100_000 + "b]", "config.toml cannot be used: it is nested too deeply."),
        ("a = {" + "b." * 100_000 + "c = 1}", "config.toml cannot be used: it is nested too d"),
        ("a = {" + '"b" . ' * 100_000 + "c = 1}", "config.toml cannot be used: it is nested too"),
        ("a = " + "9" * 100_000, "config.toml cannot be used: a number in it is too long."),
        ("sampling = 3", "config.toml, line 1: sampling must be a table, [sampling]."),
        ("[[sampling]]", "config.toml, line 1: sampling must be a table, [sampling]."),
        ("\npresets = 3", "config.toml, line 2: presets must be tables, one [presets.NAME]"),
        ("sampling = {\ttop_k = -1}", "config.toml, line 1: top_k in [sampling] is -1; it must"),
        ("sampling.top_k = 0x" + "f" * 9999, "top_k in [sampling] is a number beyond 64 bits;"),
        ("[sampling]\n'' = 1", 'config.toml, line 2: "" in [sampling] is not known; there are'),
        ("[sampling]\nseed = 1979-05-27", "seed in [sampling] is a date; it must be a whole"),
    ],
)  # fmt: skip
def test_a_hostile_file_is_one_sentence(tmp_path: Path, text: str | bytes, sentence: str) -> None:
    found = loaded(tmp_path, text)
    [problem] = found.problems
    assert sentence in problem
    assert problem.isprintable()
    assert len(problem) < 300
    assert found.values == {}


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.mkdir()
    assert config.load(path).problems == ("config.toml cannot be read: it is a folder.",)
    path.rmdir()
    os.mkfifo(path)
    assert config.load(path).problems == ("config.toml cannot be read: it is no ordinary file.",)
    path.unlink()
    path.symlink_to("/dev/zero")
    assert config.load(path).problems == ("config.toml cannot be read: it is no ordinary file.",)
    path.unlink()
    path.symlink_to(path)
    [problem] = config.load(path).problems
    assert problem.startswith("config.toml cannot be read: ")


def test_of_very_many_problems_the_rest_is_counted(tmp_path: Path) -> None:
    keys = "".join(f"key{n} = 1\ntemperature{n} = 3\n" for n in range(1000))
    for text in ("[sampling]\n" + keys, keys):
        found = loaded(tmp_path, text)
        assert len(found.problems) == MOST_PROBLEMS + 1
        assert found.problems[-1] == f"config.toml has {2000 - MOST_PROBLEMS} more problems."


def test_lines_are_found_in_any_spelling_of_a_key() -> None:
    text = '''# [no]
a = """x
b = 1
\\"""" # c = 1
'q"r' . "s\\u0041" = [ # no = 1
  "]", ']', { d = 1 },
]
[[t . u]]
e = \'\'\'
f = 1 ''\'\'\' # =
g = { h = [
1 ] }
[t.v]'''
    assert {".".join(path): line for path, line in key_lines(text).items()} == {
        "a": 2, 'q"r': 5, 'q"r.sA': 5, "t": 8, "t.u": 8, "t.u.e": 9, "t.u.g": 11, "t.v": 13,
    }  # fmt: skip


@given(st.text(alphabet="ab.='\"[]{}#\n\\, 1\t"))
def test_the_search_for_lines_takes_any_text(text: str) -> None:
    try:
        lines = key_lines(text)
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return
    assert {path[0] for path in lines} == set(tables)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


def test_the_default_file_says_all_and_changes_nothing(tmp_path: Path) -> None:
    path = config.write_default(tmp_path / "config.toml")
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    found = config.load(path)
    assert (found.there, found.values, found.problems) == (True, {}, ())
    used = re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.M)
    found = loaded(tmp_path, used)
    assert found.problems == ()
    assert found.values == {s.key: s.example for s in SETTINGS}
    assert found.presets["terse"].values["max_tokens"] == 200
    with pytest.raises(FileProblem, match=r"config.toml is there already; it is left as it is\."):
        config.write_default(path)
    assert path.read_text() == used
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileProblem, match="already"):
        config.write_default(path)


# ── what applies ────────────────────────────────────────────────────────────────────


def test_the_nearest_setting_applies_and_says_where_it_came_from(tmp_path: Path) -> None:
    found = loaded(
        tmp_path, "[sampling]\ntemperature = 0.1\ntop_p = 0.2\ntop_k = 3\nmin_p = 0.4\nseed = 5"
    )
    now = effective(
        found,
        command_line=said_in(SamplingChoice(temperature=0.9)),
        conversation=ConversationSettings(
            preset="creative", sampling=SamplingChoice(temperature=0.8, top_p=0.7), stop=()
        ),
        model=SamplingParams(temperature=0.3, repetition_penalty=1.1),
    )
    assert {key: (e.value, e.origin) for key, e in now.items()} == {
        "temperature": (0.9, "command line"),
        "top_p": (0.7, "this conversation"),
        "stop": ((), "this conversation"),
        "min_p": (0.05, "preset creative"),
        "top_k": (3, "config.toml"),
        "seed": (5, "config.toml"),
        "repetition_penalty": (1.1, "model"),
        **{
            key: (BY_KEY[key].default, "default")
            for key in (*of_section("code"), "max_tokens",
                        "system_prompt", "safe_prompt", "model", "instruct", "tools",
                            "tool_choice", "tool_rounds", "tool_timeout", "tool_modules",
                        "device", "dtype", "threads", "ranks", "attention", "theme")
        },
    }  # fmt: skip
    assert chosen(now) == SamplingChoice(temperature=0.9, top_p=0.7, min_p=0.05, top_k=3, seed=5)
    without = effective(found, conversation=ConversationSettings("gone"))
    assert without["min_p"].origin == "config.toml"
    assert without["repetition_penalty"].shown == "the model's own"


SOME = ConversationSettings(
    "precise", SamplingChoice(temperature=0.2, seed=7), ("\x1b[31m", "b"), "Be\nbrief.\x1b[0m", True
)


def test_a_conversation_s_settings_survive_json() -> None:
    data = json.loads(json.dumps(SOME.to_json()))
    assert ConversationSettings.from_json(data) == SOME
    assert ConversationSettings().to_json() == {}
    assert ConversationSettings.from_json({}) == ConversationSettings()
    empty = ConversationSettings(stop=(), system_prompt="", safe_prompt=False)
    assert ConversationSettings.from_json(empty.to_json()) == empty


@pytest.mark.parametrize("data", [None, 3, "x", [], [1]])
def test_what_is_no_object_sets_nothing(data: object) -> None:
    assert ConversationSettings.from_json(data) == ConversationSettings()


def test_broken_and_unknown_values_are_left_out() -> None:
    data = {
        "preset": "../x", "temperature": 300, "top_p": "0.5", "top_k": 4, "min_p": math.nan,
        "seed": True, "stop": [None], "system_prompt": "\ud800", "safe_prompt": "no",
        "theme": "x", "later": {"a": 1}, "max_tokens": 9,
    }  # fmt: skip
    assert ConversationSettings.from_json(data) == ConversationSettings(
        sampling=SamplingChoice(top_k=4, max_tokens=9)
    )


def test_changes_are_words() -> None:
    assert changes(SOME, SOME) == []
    new = SOME.with_value("temperature", 0.7).with_value("stop", None).with_value("top_p", 0.5)
    assert changes(SOME, new) == [
        "temperature 0.2 → 0.7",
        "top p default → 0.5",
        'stop "\\u001b[31m", "b" → default',
    ]
    said = changes(SOME, ConversationSettings())
    assert said[0] == "preset precise → none"
    assert "system prompt Be brief. → default" in said
    assert "safe prompt on → default" in said
    assert all(line.isprintable() for line in said)
    assert changes(SOME, ConversationSettings.of("code", SOME.values)) == ["preset precise → code"]


def test_differences_are_those_in_effect() -> None:
    model = SamplingParams(temperature=0.7)
    before = effective(Config(Path()), model=model)
    after = effective(
        Config(Path()),
        conversation=ConversationSettings("creative", SamplingChoice(max_tokens=9)),
        model=model,
    )
    assert differences(before, after) == [
        "temperature 0.7 → 0.8",
        "min p 0 → 0.05",
        "max tokens up to the end of the context → 9",
    ]


# ── the command ─────────────────────────────────────────────────────────────────────


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MISTRAL_TUI_CONFIG", str(tmp_path))
    return tmp_path


def call(*args: str) -> Any:
    return CliRunner().invoke(config_command.app, args)


def test_the_command_says_where_and_begins_a_file(folder: Path) -> None:
    path = str(folder / "config.toml")
    assert (call("path").stdout, call("path").exit_code) == (path + "\n", 0)
    assert "not there" in call("show").stdout
    assert (call("init").stdout, (folder / "config.toml").exists()) == (path + "\n", True)
    again = call("init")
    assert again.exit_code == 1
    assert again.stderr == f"mistral-tui: {path} is there already; it is left as it is.\n"
    assert "not there" not in call("show").stdout


def test_it_shows_each_setting_and_its_origin(folder: Path) -> None:
    write(folder, '[sampling]\ntop_k = 5\n[chat]\nsystem_prompt = "a\\u001b[31mb\\nc"\n')
    done = call("show")
    assert (done.exit_code, done.stderr) == (0, "")
    assert re.search(r"^top_k +5 +config.toml$", done.stdout, re.M)
    assert re.search(r"^system_prompt +ab c +config.toml$", done.stdout, re.M)
    assert re.search(r"^temperature +the model's own +model$", done.stdout, re.M)
    assert re.search(r"^creative +temperature 0.8, top p 1, min p 0.05  \(built in\)$",
                     done.stdout, re.M)  # fmt: skip
    assert all(key in done.stdout for key in BY_KEY)


def test_its_json_has_the_published_keys(folder: Path) -> None:
    write(folder, "[sampling]\ntop_k = 5\nmin_p = inf\n")
    done = call("show", "--json")
    assert done.exit_code == 1
    shown = json.loads(done.stdout)
    assert list(shown) == ["path", "exists", "settings", "presets", "problems"]
    [top_k] = [one for one in shown["settings"] if one["key"] == "top_k"]
    assert list(top_k) == ["section", "key", "value", "origin", "allowed", "help"]
    assert (top_k["value"], top_k["origin"]) == (5, "config.toml")
    assert [one["key"] for one in shown["settings"]] == list(BY_KEY)
    assert shown["presets"][0]["values"] == {"temperature": 0.15, "top_p": 1.0, "min_p": 0.0}
    assert shown["problems"] == [done.stderr.strip().removeprefix("mistral-tui: ")]


def test_a_folder_that_cannot_be_made_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MISTRAL_TUI_CONFIG", str(tmp_path / "file" / "x"))
    for command in ("path", "show", "init"):
        done = call(command)
        assert (done.exit_code, done.stdout) == (1, "")
        assert "MISTRAL_TUI_CONFIG" in done.stderr


# ── the docs, and what is imported ──────────────────────────────────────────────────


def test_the_tables_of_the_docs_are_the_registry() -> None:
    for name, table in (
        ("settings", settings.markdown_table()),
        ("presets", presets.markdown_table()),
    ):
        (found,) = re.findall(rf"<!-- {name}: begin.*?-->\n(.*?)\n<!-- {name}: end -->", DOC, re.S)
        assert found == table


def test_the_example_of_the_docs_is_a_good_file(tmp_path: Path) -> None:
    example, keys = re.findall(r"```toml\n(.*?)```", DOC, re.S)
    (prompt,) = re.findall(r"```markdown\n(.*?)```", DOC, re.S)
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "teacher.md").write_text(prompt)
    found = loaded(tmp_path, example)
    assert found.problems == ()
    assert found.values["system_prompt"] == "@teacher"
    assert "terse" in found.presets
    found = loaded(tmp_path, keys)
    assert found.problems == ()
    assert len(found.keys) == 8


def test_it_costs_neither_torch_nor_a_ui(tmp_path: Path) -> None:
    code = (
        "import sys, mistral_tui.config.layers, mistral_tui.config.file as c; c.load()\n"
        "names = ('torch', 'textual', 'typer', 'inference.sampling', 'inference.api', 'difflib')\n"
        "print([n for n in names if n in sys.modules])"
    )
    env = {**os.environ, "MISTRAL_TUI_CONFIG": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert (done.stdout, done.stderr) == ("[]\n", "")
