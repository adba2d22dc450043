"""Presets: ours, the config's, and those that the app saves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mistral_tui.config import file as config
from mistral_tui.config import presets
from mistral_tui.config.presets import BUILT_IN, KEYS, PresetError
from mistral_tui.config.settings import BY_KEY


def test_ours_are_good_and_one_leaves_nothing_of_another() -> None:
    assert [preset.name for preset in BUILT_IN] == ["precise", "balanced", "creative", "code"]
    for preset in BUILT_IN:
        assert {"temperature", "top_p", "min_p"} <= preset.values.keys()
        for key, value in preset.values.items():
            assert KEYS[key].read(value) == value
        assert preset.help.endswith(".")
    warmth: list[Any] = [preset.values["temperature"] for preset in BUILT_IN[:3]]
    assert warmth == sorted(set(warmth))


VALUES: dict[str, Any] = {
    "temperature": 0.2, "top_k": 4, "stop": ("\n\n", 'a"b', "\x1b[31m"),
    "system_prompt": "Be\nkind.",
}  # fmt: skip


def test_a_saved_preset_is_there_at_the_next_start(tmp_path: Path) -> None:
    folder = tmp_path / "presets"
    preset = presets.save("créatif-2", VALUES, help="Mine.\n", folder=folder)
    found, problems = presets.saved(folder)
    assert (found, problems) == ([preset], [])
    assert (preset.values, preset.help, preset.origin) == (VALUES, "Mine.", "saved")
    assert preset.path == folder / "créatif-2.toml"
    assert preset.path.read_text().isascii() or "\x1b" not in preset.path.read_text()
    assert preset.path.stat().st_mode & 0o777 == 0o600
    assert list(folder.iterdir()) == [preset.path]
    assert preset.summary == (
        'temperature 0.2, top k 4, stop "\\n\\n", "a\\"b", "\\u001b[31m", system prompt Be kind.'
    )
    assert config.load(tmp_path / "config.toml").presets["créatif-2"] == preset


def test_saving_again_replaces_and_deleting_uncovers(tmp_path: Path) -> None:
    path, folder = tmp_path / "config.toml", tmp_path / "presets"
    path.write_text("[presets.code]\ntop_k = 1\n[presets.mine]\ntop_k = 2\n")
    assert config.load(path).presets["code"].origin == "config.toml"
    presets.save("code", {"top_k": 3}, folder=folder)
    presets.save("code", {"top_k": 4}, folder=folder)
    assert config.load(path).presets["code"].values == {"top_k": 4}
    presets.delete("code", folder)
    assert config.load(path).presets["code"].values == {"top_k": 1}
    assert list(config.load(path).presets) == ["precise", "balanced", "creative", "code", "mine"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "presets").mkdir()
    elsewhere = tmp_path / "dotfile.toml"
    elsewhere.touch()
    (tmp_path / "presets" / "x.toml").symlink_to(elsewhere)
    presets.save("x", {"top_k": 4}, folder=tmp_path / "presets")
    assert (tmp_path / "presets" / "x.toml").is_symlink()
    assert elsewhere.read_text() == "top_k = 4\n"


@pytest.mark.parametrize(
    "name",
    ["", "a b", "../x", "a/b", ".x", "-x", "_x", "x" * 41, "a\n", "\x1b[31m", "a.b", "é\ud800"],
)  # fmt: skip
def test_a_name_is_restricted_and_the_rule_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(PresetError, match="up to 40 letters, digits, - and _") as caught:
        presets.save(name, {"top_k": 4}, folder=tmp_path / "presets")
    assert str(caught.value).isprintable()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "at least one setting"),
        ({"temperature": 300}, "temperature is 300; it must be a number from 0 to 100."),
        ({"temprature": 1}, "temprature is not known; did you mean temperature?"),
        ({"theme": "x"}, "theme is not known here; it belongs in [ui]."),
        ({"help": "x"}, "help"),
    ],
)
def test_bad_values_are_not_saved(tmp_path: Path, values: dict[str, Any], words: str) -> None:
    with pytest.raises(PresetError) as caught:
        presets.save("x", values, folder=tmp_path / "presets")
    assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_one_file_elsewhere_are_refused(tmp_path: Path) -> None:
    presets.save("Mine", {"top_k": 4}, folder=tmp_path)
    with pytest.raises(PresetError, match="preset Mine already"):
        presets.save("mine", {"top_k": 5}, folder=tmp_path)


def test_only_saved_ones_are_deleted(tmp_path: Path) -> None:
    with pytest.raises(PresetError, match="precise was not saved here: it is built in"):
        presets.delete("precise", tmp_path)
    with pytest.raises(PresetError, match="there is none"):
        presets.delete("../x", tmp_path / "none")


def test_a_disk_that_refuses_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "presets").touch()
    with pytest.raises(PresetError, match=r"presets/x.toml cannot be written: .*\.$"):
        presets.save("x", {"top_k": 4}, folder=tmp_path / "presets")
    assert presets.saved(tmp_path / "presets") == ([], [])


def test_bad_files_are_said_and_the_others_used(tmp_path: Path) -> None:
    for name, data in {
        "a b.toml": b"top_k = 1",
        "bytes.toml": b"\xff",
        "key.toml": b'\n"top\\u001b[31mk" = 1\ntop_p = 2\nmin_p = 0.5\nsystem_prompt = "@none"',
        "syntax.toml": b"top_k",
        ".hidden.toml": b"top_k",
        "other.txt": b"top_k",
    }.items():
        (tmp_path / name).write_bytes(data)
    os.mkfifo(tmp_path / "fifo.toml")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "gone.toml").symlink_to(tmp_path / "nowhere")
    found, problems = presets.saved(tmp_path)
    assert [(preset.name, preset.values) for preset in found] == [("key", {"min_p": 0.5})]
    assert [problem.split(":")[0] for problem in problems] == [
        "presets/a b.toml is left out",
        "presets/bytes.toml, line 1",
        "presets/fifo.toml cannot be read",
        "presets/folder.toml cannot be read",
        "presets/key.toml, line 2",
        "presets/key.toml, line 3",
        "presets/key.toml, line 5",
        "presets/syntax.toml, at its end",
    ]
    assert problems[4] == "presets/key.toml, line 2: topk is not known; did you mean top_k?"
    assert all(problem.isprintable() for problem in problems)


def test_the_settings_of_a_preset_are_settings() -> None:
    assert set(KEYS) - {"help"} <= BY_KEY.keys()
