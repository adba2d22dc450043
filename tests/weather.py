"""The reference's weather example: a tiny model that has learned to call its tool, in v3."""

from __future__ import annotations

from pathlib import Path

import overfit
import tiny
from inference.api import Message
from inference.calls import ToolCall
from inference.tokenizer import Tokenizer
from mistral_tui.tools.files import load_file

ASKED = "What's the weather like today in Paris?"
CALL = ToolCall(
    "get_current_weather", '{"location": "Paris, France", "format": "celsius"}', "VvvODy9mT"
)
RESULT = "22"
ANSWER = "It is 22 degrees Celsius in Paris today."
FILE = Path(__file__).parents[1] / "examples" / "tools" / "get_current_weather.json"


def make(folder: Path) -> Path:
    """A model that calls the tool, and then says what came of it."""
    folder.mkdir(parents=True)
    (folder / "tokenizer.model.v3").write_bytes(tiny.data_file("v3").read_bytes())
    tokenizer = Tokenizer.from_folder(folder)
    tools = [tool.told() for tool in load_file(FILE)]
    asked = [Message("user", ASKED)]
    said = [*asked, Message("assistant", "", calls=(CALL,))]
    told = [*said, Message("tool", RESULT, call_id=CALL.id, tool_name=CALL.name)]
    prompt, _ = tokenizer.encode_reply(asked, tools=tools)
    after, _ = tokenizer.encode_reply(told, tools=tools)
    call = after[len(prompt) : after.index(tokenizer.eos_id) + 1]
    assert after[: len(prompt)] == prompt
    answer = [
        *tokenizer.instruct_tokenizer.tokenizer.encode(ANSWER, False, False),
        tokenizer.eos_id,
    ]
    assert call[0] == tokenizer.control_id("[TOOL_CALLS]")
    return overfit.teach(folder, [(prompt, call), (after, answer)])
