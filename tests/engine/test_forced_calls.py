"""A model that knows nothing makes valid calls of every tool, with either mask engine, however
few tokens it has; without the grammar it makes none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import tekken
import tiny
from inference.api import Finished, Generate, Message, SamplingParams, Tokens, Tool
from inference.calls import ToolCall
from inference.constrained.constraint import CallConstraint, make_constraint
from inference.constrained.masks import MaskSource
from inference.engine import Engine
from inference.loading import load_engine
from tool_schemas import SCHEMAS

VERSIONS = ("v2", "v3", "v7", "tiny-v3", "tiny-v11", "tiny-v13")
SEEDS = 8
QUESTION = (Message("user", "Do it."),)
TOOLS = {name: Tool(name, "Does it.", json.dumps(schema)) for name, schema in SCHEMAS.items()}
SMALL = {"dim": 32, "n_layers": 1, "hidden_dim": 48, "max_position_embeddings": 4096}


def _folder(folder: Path, version: str) -> Path:
    if not version.startswith("tiny-"):
        return tiny.make(folder, tokenizer=version, **SMALL)
    tekken.write(folder, version.removeprefix("tiny-"))
    words = tekken.N_SPECIAL + 256 + len(tekken.MERGES)
    params = {**tiny.PARAMS, **SMALL, "vocab_size": words}
    return tiny.write(folder, params, tiny.random_weights(params))


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Engine]:
    folders = {version: _folder(tmp_path_factory.mktemp(version), version) for version in VERSIONS}
    return {v: load_engine(str(f), device="cpu", threads=1) for v, f in folders.items()}


@pytest.fixture(scope="module")
def least(engines: dict[str, Engine]) -> dict[tuple[str, str], int]:
    """Tokens of the shortest call, by version and tool."""
    runs = {(version, name) for name, version, _, _ in _runs()}
    return {(v, n): _shortest(engines[v], TOOLS[n]) for v, n in runs}


def _shortest(engine: Engine, tool: Tool) -> int:
    vocab_size = engine.model.config.vocab_size
    constraint = make_constraint(engine.tokenizer, [tool], "any", 10**6, vocab_size, "own")
    assert constraint is not None
    count = 0
    while (token := constraint.forced()) is not None:
        constraint.accept(token)
        count += 1
        if token in engine.tokenizer.stop_ids:
            break
    return count


def _runs() -> Iterator[tuple[str, str, int, int]]:
    """(schema, version, seed, tokens more than the shortest call has)."""
    for n, name in enumerate(SCHEMAS):
        for seed in range(SEEDS):
            yield name, VERSIONS[(n + seed) % len(VERSIONS)], seed, (0, 1, 5, 15, 40)[seed % 5]


def _calls(engine: Engine, request: Generate) -> tuple[list[ToolCall], int, bool]:
    """The calls of a reply, its length, and whether it came to its end."""
    ids: list[int] = []
    reason = ""
    for event in engine.run(request):
        if isinstance(event, Tokens):
            ids += event.ids
        elif isinstance(event, Finished):
            reason = event.reason
    reply = engine.tokenizer.parse(ids)
    return [] if reply.broken else list(reply.tool_calls), len(ids), reason == "stop"


def _is_valid(call: ToolCall, name: str) -> bool:
    try:
        values = json.loads(call.arguments)
    except ValueError:
        return False
    return call.name == name and Draft202012Validator(SCHEMAS[name]).is_valid(values)


def _measured(
    engines: dict[str, Engine], least: dict[tuple[str, str], int], every: int = 1
) -> list[bool]:
    """Of each run, whether it made calls, and valid ones only."""
    good = []
    for name, version, seed, more in list(_runs())[::every]:
        engine, tool = engines[version], TOOLS[name]
        limit = least[version, name] + more
        params = SamplingParams(temperature=1, top_k=64, max_tokens=limit, seed=seed)
        request = Generate(seed, QUESTION, params, tools=(tool,), tool_choice=name)
        calls, length, ended = _calls(engine, request)
        assert length <= limit
        good.append(ended and bool(calls) and all(_is_valid(call, name) for call in calls))
    return good


@pytest.mark.parametrize("masks", ["llguidance", "own"])
def test_every_forced_call_is_valid(
    engines: dict[str, Engine],
    least: dict[tuple[str, str], int],
    masks: MaskSource,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forced = partial(make_constraint, masks=masks)
    monkeypatch.setattr("inference.constrained.constraint.make_constraint", forced)
    good = _measured(engines, least)
    assert len(good) >= 200
    print(f"{masks}: {sum(good)} of {len(good)} forced calls are valid")
    assert sum(good) == len(good), [run for run, ok in zip(_runs(), good, strict=True) if not ok]


class _Begun(CallConstraint):
    """Begins the call, and then leaves the model alone."""

    @classmethod
    def make(cls, *args: Any, **rest: Any) -> CallConstraint:
        made = make_constraint(*args, **rest)
        assert made is not None
        made.__class__ = cls
        return made

    def accept(self, token: int) -> None:
        self._gone = True


def test_without_the_grammar_hardly_any_is(
    engines: dict[str, Engine],
    least: dict[tuple[str, str], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("inference.constrained.constraint.make_constraint", _Begun.make)
    good = _measured(engines, least, every=2)
    print(f"without a grammar: {sum(good)} of {len(good)} calls are valid")
    assert sum(good) < 0.05 * len(good)
