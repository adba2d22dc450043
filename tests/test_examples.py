"""The example programs, as a user runs them, on a tiny model with the real v3 tokenizer that
has learned what a real one would say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import overfit
import tiny
from inference.tokenizer import Tokenizer

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))

QUESTION = "Who painted the Mona Lisa?"
ANSWER = "Leonardo da Vinci painted it."
CALL = {
    "name": "get_current_weather",
    "arguments": '{"location": "Paris, France", "format": "celsius"}',
}
RESULT = '{"location": "Paris, France", "temperature": 22, "unit": "celsius"}'
REPORT = "It is 22 degrees Celsius in Paris."
MIDDLE = "    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import fill_in_the_middle
    import function_calling

    folder = tmp_path_factory.mktemp("models") / "7B-Instruct-v0.3"
    folder.mkdir()
    (folder / "tokenizer.model.v3").write_bytes(tiny.data_file("v3").read_bytes())
    tokenizer = Tokenizer.from_folder(folder)

    def prompt(*messages: dict[str, Any], tools: Any = None) -> list[int]:
        return list(tokenizer.encode_chat_completion(list(messages), tools).tokens)

    def answer(*messages: dict[str, Any], tools: Any = None) -> tuple[list[int], list[int]]:
        """(prompt, what mistral-common says that the last message's ids are)."""
        *before, last = messages
        start = prompt(*before, tools=tools)
        whole = prompt(*before, last, {"role": "user", "content": "x"}, tools=tools)
        if tools:  # v3 moves the tools to the last user turn: encode the reply by itself
            whole = prompt({"role": "user", "content": "q"}, last, {"role": "user", "content": "x"})
            start_of = prompt({"role": "user", "content": "q"})
            ids = whole[len(start_of) :]
        else:
            ids = whole[len(start) :]
        return start, ids[: ids.index(tokenizer.eos_id) + 1]

    user = {"role": "user", "content": "What is the weather like today in Paris?"}
    call = {"id": "AbCdEfGhI", "type": "function", "function": CALL}
    calling = {"role": "assistant", "content": "", "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "AbCdEfGhI", "content": RESULT}
    report = {"role": "assistant", "content": REPORT}
    tools = function_calling.TOOLS
    fim = tokenizer.fim_ids(fill_in_the_middle.PREFIX, fill_in_the_middle.SUFFIX)
    middle = tokenizer._continued(MIDDLE)
    return overfit.teach(
        folder,
        [
            answer({"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}),
            answer(user, calling, tools=tools),
            answer(user, calling, result, report, tools=tools),
            (fim, [*middle, tokenizer.eos_id]),
        ],
    )


def _run(example: str, *args: str | Path) -> str:
    command = [sys.executable, str(ROOT / "examples" / example), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_instruct(model: Path) -> None:
    said = _run("instruct.py", model, QUESTION)
    assert said.splitlines()[0] == ANSWER


def test_function_calling(model: Path) -> None:
    called, report = _run("function_calling.py", model).splitlines()
    assert called == f"{CALL['name']}({CALL['arguments']})"
    assert report == REPORT


def test_fill_in_the_middle(model: Path) -> None:
    import fill_in_the_middle as example

    code = _run("fill_in_the_middle.py", model)
    body = code.removeprefix(example.PREFIX).removesuffix(example.SUFFIX + "\n")
    assert body == MIDDLE  # its indentation, too
    compile(code, "completed", "exec")
