"""The screens of the app with something to see on them, for snapshots and pictures."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.style import Style
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

import tiny
from fake_engine import FakeEngine, Load, Reply, ask, card, screen_text, wait_until
from inference.api import Failed
from mistral_tui import catalog
from mistral_tui.app import ChatApp
from mistral_tui.choices import ToolsChoice
from mistral_tui.tools.definition import Definition

ANSWER = """\
# Merging two branches

Keep **one** branch as the target, say `main`, and bring the other into it:

1. look at [what differs](https://git-scm.com/docs/git-diff)
2. merge
   - by hand where both changed
   - `--no-ff` keeps the history readable
3. run the tests

```python
def merge(ours: list[str], theirs: list[str]) -> list[str]:
    \"\"\"Lines of both, each once.\"\"\"
    seen = dict.fromkeys(ours + theirs)  # in order
    return list(seen)
```

| command | keeps history |
| --- | :---: |
| `git merge` | yes |
| `git rebase` | no |

> A merge that nobody reviews is a guess.
"""
THINKING = "They ask about git, so\nI should say what a merge is.\nThen show the commands."


def words(text: str) -> list[str]:
    """Tokens, about."""
    return re.findall(r"\s*\S+|\s+$", text)


@dataclass(frozen=True)
class Scene:
    """How to get there: `play` presses the keys, once the app has begun."""

    play: Callable[[Pilot[int], ChatApp], Awaitable[None]]
    engine: Callable[[], FakeEngine] = FakeEngine
    options: dict[str, Any] = field(default_factory=dict)
    sizes: tuple[tuple[int, int], ...] = ((80, 24), (120, 40))


SCENES: dict[str, Scene] = {}


def scene(
    engine: Callable[[], FakeEngine] = FakeEngine, *, huge: bool = False, **options: Any
) -> Callable[[Callable[[Pilot[int], ChatApp], Awaitable[None]]], None]:
    """Adds a scene under the name of its function; `huge`: on a huge terminal, too."""

    def add(play: Callable[[Pilot[int], ChatApp], Awaitable[None]]) -> None:
        made = SCENES[play.__name__] = Scene(play, engine, options)
        if huge:
            SCENES[play.__name__] = replace(made, sizes=(*made.sizes, (200, 60)))

    return add


def rich_reply() -> FakeEngine:
    return FakeEngine([Reply(words(ANSWER), sure=(0.99, 0.97, 0.8, 0.99, 0.5, 0.95, 0.2, 0.05))])


def thoughtful() -> FakeEngine:
    return FakeEngine([Reply(words("Use `git merge`."), thinking=words(THINKING))])


async def shown(pilot: Pilot[int], *texts: str) -> None:
    """Wait until these are on the screen."""
    await wait_until(pilot, lambda: all(text in screen_text(pilot.app) for text in texts))


@scene()
async def welcome(pilot: Pilot[int], app: ChatApp) -> None:
    await shown(pilot, "Fake-7B")


@scene(lambda: FakeEngine(loads=[Load(fails=("checkpoint", "The file is cut off."))]))
async def no_model(pilot: Pilot[int], app: ChatApp) -> None:
    await shown(pilot, "The file is cut off.")


@scene(rich_reply)
async def conversation(pilot: Pilot[int], app: ChatApp) -> None:
    await ask(pilot, "How do I merge two branches?")
    await shown(pilot, "nobody reviews")


@scene(rich_reply)
async def code_block_chosen(pilot: Pilot[int], app: ChatApp) -> None:
    await ask(pilot, "How do I merge two branches?")
    await pilot.press("tab", "left_curly_bracket")
    await shown(pilot, "┃")


@scene(rich_reply)
async def finding(pilot: Pilot[int], app: ChatApp) -> None:
    await ask(pilot, "How do I merge two branches?")
    await pilot.press("tab", "slash", *"merge")
    await shown(pilot, "1 of")


@scene(rich_reply)
async def saving(pilot: Pilot[int], app: ChatApp) -> None:
    await ask(pilot, "How do I merge two branches?")
    await pilot.press("tab", "left_curly_bracket", "w")
    await shown(pilot, "Save to")


@scene(thoughtful)
async def thinking_unfolded(pilot: Pilot[int], app: ChatApp) -> None:
    await ask(pilot, "How do I merge?")
    await pilot.press("tab", "z")
    await shown(pilot, "▾ Thought")


WEATHER = Definition(
    "get_weather",
    "The current weather of a city.",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "The city and its country"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        },
        "required": ["city"],
    },
    source="tools/get_weather.json",
)
TOOLS = ToolsChoice(("get_weather", "calculate"), None, (WEATHER,))


def caller() -> FakeEngine:
    paris = ("get_weather", '{"city": "Paris, France", "unit": "celsius"}')
    made = [paris, ("calculate", '{"expression": "(22 - 32) * 5 / 9"}')]
    replies = [
        Reply(words("Let me look that up."), calls=made),
        Reply(words("It is 22 °C in Paris; the rest was not worked out.")),
    ]
    return FakeEngine(replies, [Load(card=card(capabilities=("instruct", "tools")))])


async def call(pilot: Pilot[int], app: ChatApp) -> None:
    app.prompt.put("What is the weather in Paris?")
    await pilot.press("enter")
    await wait_until(pilot, lambda: app._consent is not None and app._consent.has_focus)


@scene(caller, tools=TOOLS)
async def a_call_waits(pilot: Pilot[int], app: ChatApp) -> None:
    await call(pilot, app)
    await shown(pilot, "get_weather waits for its result")


@scene(caller, tools=TOOLS)
async def calls_answered(pilot: Pilot[int], app: ChatApp) -> None:
    await call(pilot, app)
    first, second = await app.session.waiting_calls()
    await app.session.answer_call(first, '{"celsius": 22, "sky": "clear"}')
    await app.session.deny_call(second, "not needed")
    await shown(pilot, "not worked out")
    await wait_until(pilot, lambda: not app.session.answering)


@scene(caller, tools=TOOLS)
async def the_tools(pilot: Pilot[int], app: ChatApp) -> None:
    await pilot.press("f12")
    await shown(pilot, "get_weather", "calculate")
    await wait_until(pilot, lambda: "Looking" not in screen_text(app))


@scene(lambda: FakeEngine([Reply(words("A first"), fails=("memory", "The memory is full."))]))
async def an_error(pilot: Pilot[int], app: ChatApp) -> None:
    app.prompt.put("Go on")
    await pilot.press("enter")
    await shown(pilot, "The memory is full.")
    await wait_until(pilot, lambda: not app.session.answering)


RANKS = card(
    name="Mixtral-8x22B", device="cuda", ranks=3, parallel="pipeline",
    notes=("The model's 8 KV heads cannot be shared by 3 ranks: each holds some layers, and one "
           "works while the others wait.",),
)  # fmt: skip
RANK_LOST = Failed(
    0,
    "worker_lost",
    "Rank 2 failed: There is not enough memory for this; use a smaller model, or a shorter "
    "conversation.",
    "2026-11-28 21:03:16 inference.parallel.follower this rank cannot go on\n"
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.50 GiB\n"
    "The log of rank 2: /home/ana/.local/state/mistral-tui/logs/engine-rank2.log",
)


@scene(lambda: FakeEngine(loads=[Load(card=RANKS)]))
async def several_ranks(pilot: Pilot[int], app: ChatApp) -> None:
    await shown(pilot, "3 ranks (pipeline)", "×3")


@scene(lambda: FakeEngine([Reply(words(THINKING))], [Load(card=RANKS)]))
async def a_rank_is_lost(pilot: Pilot[int], app: ChatApp) -> None:
    await ask(pilot, "How are two branches merged?")
    engine = app.client
    assert isinstance(engine, FakeEngine)
    engine.why_lost = RANK_LOST
    engine.die()
    await shown(pilot, "Rank 2 failed", "Tried to allocate")


@scene(rich_reply)
async def token_view(pilot: Pilot[int], app: ChatApp) -> None:
    await ask(pilot, "How do I merge two branches?")
    await pilot.press("f2")
    await shown(pilot, "Merging")
    await pilot.press("n")


@scene(rich_reply)
async def the_links(pilot: Pilot[int], app: ChatApp) -> None:
    await ask(pilot, "How do I merge two branches?")
    await pilot.press("tab", "f")
    await shown(pilot, "git-scm.com")


@scene(rich_reply)
async def the_themes(pilot: Pilot[int], app: ChatApp) -> None:
    await ask(pilot, "How do I merge two branches?")
    await pilot.press("f9")
    await shown(pilot, "midnight")


@scene()
async def the_help(pilot: Pilot[int], app: ChatApp) -> None:
    await pilot.press("f1")
    await shown(pilot, "Help")


@scene(lambda: FakeEngine([Reply(), Reply()]))
async def the_history(pilot: Pilot[int], app: ChatApp) -> None:
    await ask(pilot, "Tell me of the sea")
    await pilot.press("ctrl+n")
    await wait_until(pilot, lambda: not app.session.messages)
    await ask(pilot, "And of the mountains")
    await pilot.press("ctrl+l")
    await shown(pilot, "Today", "Tell me of the sea")


@scene()
async def the_settings(pilot: Pilot[int], app: ChatApp) -> None:
    await pilot.press("f3")
    await shown(pilot, "temperature")


@scene()
async def the_models(pilot: Pilot[int], app: ChatApp) -> None:
    folder = tiny.make(Path.cwd() / "models" / "Tiny-7B")
    look = catalog.find

    def find(places: Any) -> Any:
        """What is there, under a path that is the same everywhere."""
        return [replace(model, path=f"/models/{model.name}") for model in look([folder.parent])]

    catalog.find = find
    try:
        await pilot.press("f5")
        await shown(pilot, "Models on this machine")
        await wait_until(pilot, lambda: "Looking" not in screen_text(app))
    finally:
        catalog.find = look


@scene()
async def the_palette(pilot: Pilot[int], app: ChatApp) -> None:
    await pilot.press("ctrl+p")
    await shown(pilot, "Search for commands")


@scene()
async def slash_commands(pilot: Pilot[int], app: ChatApp) -> None:
    await pilot.press("slash", "t")
    await shown(pilot, "/t")


@scene(lambda: FakeEngine(loads=[Load(card=card(context=20))]))
async def no_room(pilot: Pilot[int], app: ChatApp) -> None:
    from mistral_tui.screens.room import RoomScreen

    app.push_screen(RoomScreen(9_000, 8_192))
    await shown(pilot, "The context is full")


@scene()
async def first_run(pilot: Pilot[int], app: ChatApp) -> None:
    from mistral_tui.screens.first_run import FirstRun

    app.push_screen(FirstRun())
    await shown(pilot, "starter model")


async def still(pilot: Pilot[int], app: ChatApp) -> None:
    """No cursor blinks any more."""
    for screen in app.screen_stack:
        for field_ in screen.query("Input, TextArea").results(Input | TextArea):
            field_.cursor_blink = False
    await pilot.pause()


# ── what is seen ────────────────────────────────────────────────────────────────────


def styled_rows(app: ChatApp) -> list[list[tuple[str, str]]]:
    """Each row as (text, style) runs, equal neighbours joined; the style as Rich writes it."""
    rows = []
    for strip in app.screen._compositor.render_strips():
        runs: list[tuple[str, str]] = []
        for segment in strip:
            for text in re.findall(r" +|[^ ]+", segment.text):
                style = _seen(text, segment.style or Style())
                if runs and runs[-1][1] == style:
                    runs[-1] = (runs[-1][0] + text, style)
                else:
                    runs.append((text, style))
        rows.append(runs)
    return rows


def _seen(text: str, style: Style) -> str:
    """The style, as far as it can be seen: of spaces only the ground and the lines are."""
    if not text.strip() and not (style.underline or style.reverse or style.strike):
        return str(Style(bgcolor=style.bgcolor))
    return str(style.without_color + Style(color=style.color, bgcolor=style.bgcolor))


def steady(text: str) -> str:
    """Without what differs from minute to minute."""
    text = re.sub(r"\b\d\d:\d\d\b", "12:34", text)
    return text
