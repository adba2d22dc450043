from __future__ import annotations

from pathlib import Path

import pytest
from textual.color import Color
from textual.theme import BUILTIN_THEMES, Theme

from mistral_tui.themes import load_themes
from mistral_tui.widgets.palette import (
    CHAT_DEFAULTS,
    CODE_DEFAULTS,
    GROUND_DEFAULTS,
    TOKEN_SHARES,
    Palette,
    confidence_level,
)

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
    texts = [f"chat-{name}" for name in CHAT_DEFAULTS if name not in ("rule", "hit-current")]
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
        ("mistral-dark", True), ("mistral-light", False), ("midnight", True), ("paper", False),
        ("moss", True), ("slate", False), ("high-contrast", True),
        ("high-contrast-light", False), ("ansi", True),
    }  # fmt: skip


def test_the_setting_offers_all_of_them() -> None:
    from mistral_tui.config import settings

    assert set(settings.THEMES) == set(THEMES)


COLOURED = sorted(name for name, theme in THEMES.items() if not theme.ansi)


@pytest.mark.parametrize("name", COLOURED)
def test_every_text_is_readable_on_its_ground(name: str) -> None:
    poor = [(what, round(contrast(a, b), 2)) for what, a, b in pairs(THEMES[name])]
    assert [pair for pair in poor if pair[1] < 4.5] == []


@pytest.mark.parametrize("name", COLOURED)
def test_what_textual_derives_is_readable(name: str) -> None:
    """`$text-muted` and the like, as they are blended onto each ground."""
    variables = THEMES[name].to_color_system().generate()
    poor = []
    for ground in ("background", "surface", "panel"):
        for text in ("muted", "primary", "accent", "error", "warning", "success"):
            color = Color.parse(blended(variables, f"text-{text}", ground))
            poor.append((ground, text, round(contrast(color.hex, variables[ground]), 2)))
    assert [pair for pair in poor if pair[2] < 4.5] == []


def blended(variables: dict[str, str], name: str, ground: str) -> str:
    """A colour as it is drawn: `auto 60%` is black or white, laid thinly over the ground."""
    value, below = variables[name], Color.parse(variables[ground])
    if value.startswith("auto"):
        share = float(value.removeprefix("auto").strip().rstrip("%") or 100) / 100
        return below.blend(below.get_contrast_text(1.0), share, alpha=1).hex
    color = Color.parse(value)
    return below.blend(color, color.a, alpha=1).hex


@pytest.mark.parametrize("name", COLOURED)
def test_hits_and_shades_are_readable(name: str) -> None:
    palette = Palette.from_variables(THEMES[name].to_color_system().generate())
    found = {"hit": palette.chat["hit"], "current": palette.chat["hit-current"]}
    found |= {f"level {n}": style for n, style in enumerate(palette.confidence)}
    for what, style in found.items():
        if what == "level 0":
            continue
        assert style.color is not None
        assert style.bgcolor is not None
        ink, ground = (color.get_truecolor().hex for color in (style.color, style.bgcolor))
        assert contrast(ink, ground) >= 4.5, what


@pytest.mark.parametrize("name", sorted(THEMES))
def test_shades_are_told_apart_without_colour(name: str) -> None:
    palette = Palette.from_variables(THEMES[name].to_color_system().generate())
    marks = [style.without_color for style in palette.confidence]
    assert len({str(mark) for mark in marks}) == 5
    hits = [palette.chat[hit].without_color for hit in ("hit", "hit-current")]
    assert hits[0] != hits[1]


@pytest.mark.parametrize("name", ["high-contrast", "high-contrast-light"])
def test_high_contrast_is_high(name: str) -> None:
    theme = THEMES[name]
    decoration = ("selection", "cursor")
    poor = [
        (what, round(contrast(a, b), 2))
        for what, a, b in pairs(theme)
        if not any(word in what for word in decoration)
    ]
    assert [pair for pair in poor if pair[1] < 7] == []


def test_the_ansi_theme_uses_the_terminals_own_colours_only() -> None:
    theme = THEMES["ansi"]
    values = [getattr(theme, name) for name in ("primary", "secondary", "accent", "warning")]
    values += [theme.background, theme.surface, theme.panel, theme.foreground]
    assert all(value.startswith("ansi_") for value in [*values, *theme.variables.values()])


@pytest.mark.parametrize("name", sorted(THEMES))
def test_every_theme_says_everything(name: str) -> None:
    variables = THEMES[name].variables
    for role in (*CHAT_DEFAULTS, *GROUND_DEFAULTS):
        assert f"chat-{role}" in variables
    for role in CODE_DEFAULTS:
        assert f"code-{role}" in variables
    if name != "ansi":
        assert all(f"token-{level}" in variables for level in TOKEN_SHARES)
    other = THEMES[name].counterpart
    assert not other or THEMES[other].dark != THEMES[name].dark


def test_how_sure_is_sure() -> None:
    levels = [confidence_level(p) for p in (1.0, 0.9, 0.89, 0.6, 0.3, 0.29, 0.1, 0.05, 0.0)]
    assert levels == [0, 0, 1, 1, 2, 3, 3, 4, 4]


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
        (
            'name = "x"\nprimary = "#08c"\nprimry = "#08c"',
            ("mine.toml, line 3", "primry", "primary?"),
        ),
        (
            'name = "x"\nprimary = "#08c"\nerror = "reddish"',
            ("mine.toml, line 3", "error", "colour"),
        ),
        ('name = "x"\nprimary = "#08c"\n[code]\nfoo = "red"', ("foo in [code]", "not known")),
        ('name = "x"\nprimary = "#08c"\n[text]\nlink = 3', ("link in [text]", "colour")),
        (
            'name = "x"\nprimary = "#08c"\n[variables]\nborder = "red; } *"',
            ("border in [variables]",),
        ),
        ('name = "x"\nprimary = "#08c"\ndark = "yes"', ("dark", "true or false")),
        ('primary = "#08c"', ("mine.toml", "`name`")),
        ('name = "x"', ("mine.toml", "`primary`")),
        ("name = ", ("mine.toml", "this is not TOML")),
    ],
)
def test_a_faulty_theme_is_named_in_one_sentence(
    tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    _, problems = load_themes(write(tmp_path, text))
    [problem] = problems
    assert all(word in problem for word in words)
    assert problem.endswith((".", "?"))
    assert "\n" not in problem


def test_an_absent_user_folder_is_no_problem(tmp_path: Path) -> None:
    assert load_themes(tmp_path / "none")[1] == []
