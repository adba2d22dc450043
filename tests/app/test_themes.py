from __future__ import annotations

from pathlib import Path

import pytest
from textual.color import Color
from textual.theme import BUILTIN_THEMES, Theme

from mistral_tui.themes import load_themes
from mistral_tui.widgets.palette import CHAT_DEFAULTS, CODE_DEFAULTS, Palette

THEMES = {theme.name: theme for theme in load_themes()[0]}


def contrast(one: str, other: str) -> float:
    def luminance(value: str) -> float:
        def linear(channel: float) -> float:
            return channel / 12.92 if channel <= 0.03928 else ((channel + 0.055) / 1.055) ** 2.4

        red, green, blue = (linear(channel) for channel in Color.parse(value).normalized)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def pairs(theme: Theme) -> list[tuple[str, str, str]]:
    assert theme.background
    assert theme.surface
    assert theme.panel
    assert theme.foreground
    variables = theme.variables
    grounds = (theme.background, theme.surface, theme.panel)
    found = [("foreground", theme.foreground, ground) for ground in grounds]
    for name in ("primary", "secondary", "accent", "warning", "error", "success"):
        found.append((name, getattr(theme, name), theme.background))
        found.append((name, getattr(theme, name), theme.surface))
    panel = variables["chat-code-background"]
    texts = [f"chat-{name}" for name in CHAT_DEFAULTS if name not in ("rule", "code-background")]
    found += [(name, variables[name], theme.background) for name in texts]
    found += [(name, variables[f"chat-{name}"], panel) for name in ("muted", "inline-code")]
    found += [(f"code-{name}", variables[f"code-{name}"], panel) for name in CODE_DEFAULTS]
    for kind in ("screen-selection", "input-cursor", "block-cursor"):
        found.append((kind, variables[f"{kind}-foreground"], variables[f"{kind}-background"]))
    for name in ("footer-foreground", "footer-description-foreground", "footer-key-foreground"):
        found.append((name, variables[name], variables["footer-background"]))
    return found


def test_the_built_in_themes_load_without_problems() -> None:
    themes, problems = load_themes()
    assert problems == []
    assert {(theme.name, theme.dark) for theme in themes} == {
        ("mistral-dark", True),
        ("mistral-light", False),
    }


@pytest.mark.parametrize("name", ["mistral-dark", "mistral-light"])
def test_every_text_is_readable_on_its_ground(name: str) -> None:
    poor = [(what, round(contrast(a, b), 2)) for what, a, b in pairs(THEMES[name])]
    assert [pair for pair in poor if pair[1] < 4.5] == []


@pytest.mark.parametrize("name", sorted(BUILTIN_THEMES))
def test_any_stock_theme_gives_a_palette(name: str) -> None:
    palette = Palette.from_variables(BUILTIN_THEMES[name].to_color_system().generate())
    assert palette.chat.keys() == CHAT_DEFAULTS.keys()
    assert palette.code.keys() == CODE_DEFAULTS.keys()


def write(folder: Path, text: str, name: str = "mine.toml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_a_user_theme_is_added_and_may_replace_a_built_in(tmp_path: Path) -> None:
    write(tmp_path, 'name = "ocean"\nprimary = "#0088cc"\n[code]\nkeyword = "#ff0000"\n')
    write(tmp_path, 'name = "mistral-dark"\nprimary = "#123456"\n', "other.toml")
    themes, problems = load_themes(tmp_path)
    by_name = {theme.name: theme for theme in themes}
    assert problems == []
    assert by_name["ocean"].variables["code-keyword"] == "#ff0000"
    assert by_name["mistral-dark"].primary == "#123456"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name = "x"\nprimary = "#08c"\nprimry = "#08c"', ("mine.toml", "`primry`", "not known")),
        ('name = "x"\nprimary = "#08c"\nerror = "reddish"', ("mine.toml", "`error`", "colour")),
        ('name = "x"\nprimary = "#08c"\n[code]\nfoo = "red"', ("`code.foo`", "not known")),
        ('name = "x"\nprimary = "#08c"\n[text]\nlink = 3', ("`text.link`", "colour")),
        ('name = "x"\nprimary = "#08c"\n[variables]\nborder = "red; } *"', ("`variables.border`",)),
        ('name = "x"\nprimary = "#08c"\ndark = "yes"', ("`dark`", "true or false")),
        ('primary = "#08c"', ("mine.toml", "`name`")),
        ('name = "x"', ("mine.toml", "`primary`")),
        ("name = ", ("mine.toml", "not valid TOML")),
    ],
)
def test_a_faulty_theme_is_named_in_one_sentence(
    tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    _, problems = load_themes(write(tmp_path, text))
    [problem] = problems
    assert all(word in problem for word in words)
    assert problem.endswith(".")
    assert "\n" not in problem


def test_an_absent_user_folder_is_no_problem(tmp_path: Path) -> None:
    assert load_themes(tmp_path / "none")[1] == []
