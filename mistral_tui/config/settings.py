"""Every setting once: config file, `config show`, the docs' table and the panel read it here.

The ranges are those that the engine checks; a test holds them equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mistral_tui.config.setting import LARGEST, Kind, Setting
from mistral_tui.sanitize import one_line


def _sampling(key: str, help_: str, unset: str = "the model's own", **more: Any) -> Setting:
    kind: Kind = "whole" if isinstance(more["example"], int) else "number"
    by_model = unset == "the model's own"
    return Setting(key, "sampling", kind, help_, unset, by_model=by_model, **more)


THEMES = (
    *("mistral-dark", "mistral-light", "midnight", "paper", "moss", "slate"),
    *("high-contrast", "high-contrast-light", "ansi"),
)
"""The built-in looks; a test holds them equal to the files."""
SETTINGS: tuple[Setting, ...] = (
    _sampling(
        "temperature",
        "How freely the next token is drawn: 0 always takes the likeliest.",
        example=0.3, high=100, step=0.05,
    ),
    _sampling(
        "top_p", "Keep the likeliest tokens up to this mass; 1 keeps all.",
        example=0.9, high=1, step=0.05,
    ),
    _sampling(
        "top_k", "Keep this many of the likeliest tokens; 0 keeps all.",
        example=40, high=LARGEST, step=5,
    ),
    _sampling(
        "min_p", "Keep tokens of at least this share of the likeliest one's mass; 0 keeps all.",
        example=0.05, high=1, step=0.01,
    ),
    _sampling(
        "repetition_penalty", "Above 1: what was said before becomes less likely.",
        example=1.1, high=100, above=True, step=0.05,
    ),
    _sampling(
        "max_tokens", "Most tokens of an answer.", "up to the end of the context",
        example=1024, low=1, high=LARGEST, step=64,
    ),
    _sampling(
        "seed", "The same seed gives the same answer.", "drawn for each answer",
        example=7, high=LARGEST,
    ),
    Setting(
        "stop", "sampling", "texts", "An answer ends before any of these texts.", "none",
        example=("###",),
    ),
    Setting(
        "system_prompt", "chat", "text",
        "What the model is told before the conversation: a text, or @NAME for the file "
        "prompts/NAME.md beside this one.",
        "none", example="Answer briefly.",
    ),
    Setting(
        "safe_prompt", "chat", "switch",
        "Put Mistral's safety instruction before the system prompt.", "off",
        example=True, default=False,
    ),
    Setting(
        "model", "chat", "text",
        "The model to open when the command line names none.", "the one used last",
        example="~/models/7B", words=("starter",), longest=4096, pattern=r"[/~][^\0]*|[^/\0]+",
        form="starter, the name of a pulled model, or a folder that begins with / or ~",
    ),
    Setting(
        "instruct", "chat", "switch",
        "The chat layout; without it the text is continued, as base models want it.", "on",
        example=False, default=True,
    ),
    Setting(
        "device", "engine", "word", "Where the model runs.", "auto (CUDA, else MPS, else CPU)",
        example="cpu", default="auto", words=("auto", "cpu", "cuda", "mps"),
        pattern=r"cuda:[0-9]{1,3}", form="auto, cpu, cuda, cuda:N or mps",
    ),
    Setting(
        "dtype", "engine", "word", "The type of the weights.", "auto (the file's)",
        example="bfloat16", default="auto", words=("auto", "bfloat16", "float16", "float32"),
        pattern="bf16|fp16|fp32",
    ),
    Setting(
        "threads", "engine", "whole", "CPU threads of the engine.", "all cores but one",
        example=4, low=1, high=1024,
    ),
    Setting(
        "ranks", "engine", "whole",
        "Processes that hold the model together, a GPU each; torchrun has its own say.", "1",
        example=2, low=1, high=64,
    ),
    Setting(
        "attention", "engine", "word", "What computes attention; xformers needs CUDA.",
        "auto (xformers where it works)",
        example="sdpa", default="auto", words=("auto", "sdpa", "xformers"),
    ),
    Setting(
        "tools", "tools", "texts",
        "The tools that a conversation begins with, by name; each call asks before it runs.",
        "none", example=("get_weather",), default=(), most=64,
    ),
    Setting(
        "tool_choice", "tools", "word",
        "Whether the model calls tools: as it likes, never, always, or the one of that name.",
        "auto", example="any", default="auto", words=("auto", "none", "any"),
        pattern="[a-zA-Z0-9_-]{1,64}", form="auto, none, any, or the name of a tool",
    ),
    Setting(
        "tool_rounds", "tools", "whole",
        "Most rounds of calls to one message; then the model waits for you.", "10",
        example=5, default=10, low=1, high=100,
    ),
    Setting(
        "tool_timeout", "tools", "number", "Seconds that a call may take.", "60",
        example=20.0, default=60.0, low=1, high=3600, step=5,
    ),
    Setting(
        "tool_modules", "tools", "texts",
        "Python modules whose functions are tools: names, or files that begin with / or ~.",
        "none", example=("~/tools/home.py",), default=(), most=32,
    ),
    Setting(
        "fim_auto", "code", "switch",
        "Complete code after a pause in typing; without it, on a key only.", "on",
        example=False, default=True,
    ),
    Setting(
        "fim_pause", "code", "number", "How long that pause is, in seconds.", "0.3",
        example=0.6, default=0.3, low=0.05, high=60, step=0.05,
    ),
    Setting(
        "fim_middles", "code", "whole",
        "Suggestions that are drawn at once when another one is asked for.", "3",
        example=5, default=3, low=1, high=8,
    ),
    Setting(
        "fim_temperature", "code", "number",
        "How freely these are drawn; the first suggestion is always the likeliest.", "0.5",
        example=0.3, default=0.5, high=100, step=0.05,
    ),
    Setting(
        "fim_max_tokens", "code", "whole", "Most tokens of a suggestion.", "256",
        example=64, default=256, low=1, high=LARGEST, step=16,
    ),
    Setting(
        "fim_window", "code", "whole",
        "Most tokens of the file that the model reads, around the cursor.",
        "2,048 on a CPU, else 8,192", example=4096, low=64, high=LARGEST, step=256,
    ),
    Setting(
        "fim_block", "code", "switch",
        "A suggestion ends where its block ends, told by indentation.", "on",
        example=False, default=True,
    ),
    Setting(
        "fim_suffix", "code", "switch",
        "A suggestion ends before it repeats what follows the cursor.", "on",
        example=False, default=True,
    ),
    Setting(
        "fim_blank_lines", "code", "whole",
        "Most empty lines one after another in a suggestion.", "1",
        example=2, default=1, high=1000,
    ),
    Setting(
        "fim_lines", "code", "whole", "Most line breaks in a suggestion; 0: any number.", "40",
        example=10, default=40, high=100_000,
    ),
    Setting(
        "theme", "ui", "text", "The look, by its name.", "the one chosen last",
        example="mistral-light", words=THEMES, longest=100,
        pattern=r".*\S.*", form="the name of a theme",
    ),
)  # fmt: skip

BY_KEY: Mapping[str, Setting] = {setting.key: setting for setting in SETTINGS}
SECTIONS: Mapping[str, str] = {
    "sampling": "how the next token is drawn",
    "chat": "what a conversation begins with",
    "engine": "how a model is loaded",
    "tools": "what the model may call",
    "code": "how code is completed",
    "ui": "looks",
}


def of_section(section: str) -> dict[str, Setting]:
    """The settings of a section, in order."""
    return {setting.key: setting for setting in SETTINGS if setting.section == section}


def markdown_table() -> str:
    """The table in docs/configuration.md."""
    rows = ["| Setting | What it does | Allowed | Unless set |", "| --- | --- | --- | --- |"]
    for section in SECTIONS:
        rows.append(f"| **`[{section}]`** | {SECTIONS[section]} | | |")
        rows += [
            f"| `{key}` | {setting.help} | {setting.allowed} | {setting.unset} |"
            for key, setting in of_section(section).items()
        ]
    return "\n".join(rows)


def unknown(key: str, known: Iterable[str], all_in: str = "") -> str:
    """What to say of a key that there is not: goes on after its name. `all_in` says where all
    that there are can be seen, if these are too many for a sentence."""
    import difflib

    names = list(known)
    near = difflib.get_close_matches(one_line(key, 64).lower().replace("-", "_"), names, 1, 0.6)
    if near:
        return f"is not known; did you mean {near[0]}?"
    elsewhere = BY_KEY.get(key)
    if elsewhere:
        return f"is not known here; it belongs in [{elsewhere.section}]"
    return f"is not known; {all_in or 'there are ' + ', '.join(names)}"
