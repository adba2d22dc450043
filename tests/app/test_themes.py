from __future__ import annotations

import os
from pathlib import Path

import pytest
from textual.color import Color
from textual.constants import DIM_FACTOR
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


def drawn(theme: Theme) -> dict[str, str]:
    """All variables of a theme as the app has them."""
    return {**theme.to_color_system().generate(), **theme.variables}


def blended(variables: dict[str, str], name: str, ground: str) -> str:
    """A colour as it is drawn: `auto 60%` is black or white, laid thinly over the ground."""
    value, below = variables[name], Color.parse(variables[ground])
    if value.startswith("auto"):
        share = float(value.removeprefix("auto").strip().rstrip("%") or 100) / 100
        return below.blend(below.get_contrast_text(1.0), share, alpha=1).hex
    color = Color.parse(value)
    return below.blend(color, color.a, alpha=1).hex


def dim(text: str, ground: str) -> str:
    """What Textual makes of dim text."""
    return Color.parse(ground).blend(Color.parse(text), DIM_FACTOR, alpha=1).hex


GROUNDS = ("background", "surface", "panel")
TEXTS = ("primary", "secondary", "accent", "warning", "error", "success", "muted")


def pairs(theme: Theme) -> list[tuple[str, str, str]]:
    """(what, text, ground) of all that the app draws."""
    v = drawn(theme)
    found = []
    for ground in GROUNDS:
        below = v[ground]
        names = ["foreground", *TEXTS[:-1], *(f"text-{name}" for name in TEXTS)]
        names += ["text", "text-disabled", "foreground-muted", "foreground-disabled"]
        found += [(f"{name} on {ground}", blended(v, name, ground), below) for name in names]
        found.append((f"dim on {ground}", dim(v["foreground"], below), below))
    texts = [f"chat-{name}" for name in CHAT_DEFAULTS if not name.startswith("hit")]
    for ground in ("background", "chat-code-background"):
        found += [(f"{name} on {ground}", v[name], v[ground]) for name in texts]
        found += [
            (f"code-{name} on {ground}", v[f"code-{name}"], v[ground]) for name in CODE_DEFAULTS
        ]
    kinds = ("screen-selection", "input-selection", "input-cursor")
    for kind in (*kinds, "block-cursor", "block-cursor-blurred"):
        found.append((kind, v[f"{kind}-foreground"], v[f"{kind}-background"]))
    for kind in ("block-cursor", "block-cursor-blurred"):
        ground = v[f"{kind}-background"]
        found.append((f"dim on {kind}", dim(v[f"{kind}-foreground"], ground), ground))
    found.append(("muted on blurred", v["text-muted"], v["block-cursor-blurred-background"]))
    hover = v["block-hover-background"]
    found += [("hover", v["foreground"], hover), ("dim hover", dim(v["foreground"], hover), hover)]
    for name in ("footer-foreground", "footer-description-foreground", "footer-key-foreground"):
        found.append((name, v[name], v["footer-background"]))
    palette = Palette.from_variables(v)
    styles = {"hit": palette.chat["hit"], "hit-current": palette.chat["hit-current"]}
    styles |= {f"level {n}": style for n, style in enumerate(palette.confidence) if n}
    for what, style in styles.items():
        assert style.color is not None
        assert style.bgcolor is not None
        text, ground = (color.get_truecolor().hex for color in (style.color, style.bgcolor))
        found.append((what, text, ground))
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
    least = 7.0 if name.startswith("high-contrast") else 4.5
    found = [(what, round(contrast(a, b), 2)) for what, a, b in pairs(THEMES[name])]
    # Lines are no text.
    poor = [(what, is_) for what, is_ in found if is_ < (4.5 if "chat-rule" in what else least)]
    assert poor == []


@pytest.mark.parametrize("name", COLOURED)
def test_the_shades_of_tokens_grow(name: str) -> None:
    variables = drawn(THEMES[name])
    grounds = [variables[f"token-level-{level}"] for level in range(1, 5)]
    away = [contrast(ground, variables["background"]) for ground in grounds]
    assert away == sorted(away)
    assert away[0] > 1.15


@pytest.mark.parametrize("name", sorted(THEMES))
def test_shades_are_told_apart_without_colour(name: str) -> None:
    palette = Palette.from_variables(drawn(THEMES[name]))
    marks = [style.without_color for style in palette.confidence]
    assert len({str(mark) for mark in marks}) == 5
    hits = [palette.chat[hit].without_color for hit in ("hit", "hit-current")]
    assert hits[0] != hits[1]


def test_the_kinds_of_state_are_told_apart() -> None:
    """What is chosen stands out from the panel that it is on."""
    for name in COLOURED:
        v = drawn(THEMES[name])
        assert contrast(v["block-cursor-background"], v["panel"]) >= 3, name
        assert contrast(v["block-cursor-blurred-background"], v["panel"]) >= 1.08, name
        assert contrast(v["border"], v["background"]) >= 3, name


def test_the_ansi_theme_uses_the_terminals_own_colours_only() -> None:
    theme = THEMES["ansi"]
    values = [getattr(theme, name) for name in ("primary", "secondary", "accent", "warning")]
    values += [theme.background, theme.surface, theme.panel, theme.foreground]
    variables = {k: v for k, v in theme.variables.items() if "-style" not in k}
    assert all(value.startswith("ansi_") for value in [*values, *variables.values()])
    # Yellow text is unreadable on white.
    assert {k for k, v in variables.items() if v == "ansi_yellow"} == {"chat-hit-background"}
    for kind in ("block-cursor", "chat-hit", "chat-hit-current"):
        if kind == "block-cursor":
            text, ground = variables[f"{kind}-foreground"], variables[f"{kind}-background"]
        else:
            text, ground = variables[kind], variables[f"{kind}-background"]
        assert contrast(text, ground) >= 4.5


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


GOOD = 'name = "x"\nprimary = "#08c"\n'
VARIABLE = GOOD + "[variables]\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD + 'primry = "#08c"', ("mine.toml, line 3", "primry", "primary")),
        (GOOD + 'error = "reddish"', ("line 3", "error", "a colour such as")),
        (GOOD + 'background = "transparent"', ("line 3", "background", "a colour")),
        (GOOD + '[code]\nfoo = "red"', ("line 4", "foo in [code]", "keyword")),
        (GOOD + "[text]\nlink = 3", ("line 4", "link in [text]", "a colour")),
        (GOOD + '[tokens]\nlevel-5 = "red"', ("line 4", "level-5 in [tokens]", "level-4")),
        (GOOD + 'text = "red"', ("line 3", "text", "must be a table, [text]")),
        (VARIABLE + 'border = "red; } *"', ("line 4", "border in [variables]", "a colour")),
        (VARIABLE + 'link-style = "bold none"', ("line 4", "a text style such as")),
        (VARIABLE + 'link-style = "not"', ("line 4", "a text style such as")),
        (VARIABLE + 'link-style = " "', ("line 4", "a text style such as")),
        (VARIABLE + 'background = "red"', ("line 4", "must stand above the tables")),
        (VARIABLE + '"a b" = "red"', ("line 4", "is no name of a variable")),
        (GOOD + 'dark = "yes"', ("line 3", "dark", "true or false")),
        (GOOD + "ansi = 1", ("line 3", "ansi", "true or false")),
        (GOOD + "counterpart = 1", ("line 3", "counterpart", "name of a theme")),
        ('primary = "#08c"', ("mine.toml", "needs a `name`")),
        ('name = "a, b"\nprimary = "#08c"', ("mine.toml", "`name`", "letters, digits")),
        ('name = "x"', ("mine.toml", "needs a colour `primary`")),
        ("name = 1 2", ("mine.toml, line 1", "not TOML")),
        ("name = " + "[" * 100_000, ("mine.toml", "nested too deeply")),
        (GOOD + "#" * 300_000, ("mine.toml", "large")),
    ],
)
def test_a_faulty_theme_is_named_in_one_sentence(
    tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    _, problems = load_themes(write(tmp_path, text))
    [problem] = problems
    for word in words:
        assert word in problem
    assert problem.endswith((".", "?"))
    assert "\n" not in problem


def test_what_is_no_ordinary_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.toml").mkdir()
    os.mkfifo(tmp_path / "b.toml")
    (tmp_path / "c.toml").symlink_to("/nowhere")
    (tmp_path / ".hidden.toml").write_text("!")
    (tmp_path / "d.toml").write_bytes(b"\xff")
    themes, problems = load_themes(tmp_path)
    assert {theme.name for theme in themes} == set(THEMES)
    assert len(problems) == 4


def test_two_files_of_one_name_are_told(tmp_path: Path) -> None:
    write(write(tmp_path, GOOD, "a.toml"), GOOD, "b.toml")
    assert "themes/a.toml" in load_themes(tmp_path)[1][0]


def test_a_file_that_is_wrong_now_stays_as_it_was(tmp_path: Path) -> None:
    before = {look.file: look for look in load_themes(write(tmp_path, GOOD))[0] if look.own}
    themes, problems = load_themes(write(tmp_path, "name ="), before)
    assert "x" in {theme.name for theme in themes}
    assert len(problems) == 1


def test_an_absent_user_folder_is_no_problem(tmp_path: Path) -> None:
    assert load_themes(tmp_path / "none")[1] == []


def test_the_docs_name_every_look_and_every_key(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "themes.md").read_text("utf-8")
    named = [*THEMES, *CHAT_DEFAULTS, *GROUND_DEFAULTS, *CODE_DEFAULTS, *TOKEN_SHARES]
    assert [name for name in named if f"`{name}`" not in text] == []
    example = text.split("```toml\n")[1].split("```")[0]
    themes, problems = load_themes(write(tmp_path, example))
    assert problems == []
    assert "ocean" in {theme.name for theme in themes}
