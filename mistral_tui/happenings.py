"""What a session tells its app: plain records, told in the order in which they happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from inference.api import CallPiece, ModelCard, Timings, Usage
from inference.calls import ToolCall
from mistral_tui.history.schema import Conversation, FinalStatus, Message
from mistral_tui.history.tree import Siblings

EngineState = Literal["off", "loading", "ready", "lost", "failed"]


@dataclass(frozen=True, slots=True)
class Opened:
    """Another conversation, or another branch of it, is in view, with these messages.
    `siblings` are the versions of each; `focus` is the one that the change was about."""

    conversation: Conversation | None
    messages: tuple[Message, ...]
    siblings: Mapping[int, Siblings] = field(default_factory=dict)
    focus: int | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """The user's message is on disk."""

    message: Message


@dataclass(frozen=True, slots=True)
class ReplyBegan:
    """A reply is being written; one that goes on has its text so far."""

    message: Message
    siblings: Siblings | None = None


@dataclass(frozen=True, slots=True)
class ReplyProgress:
    """Prefill: `done` of `total` prompt tokens, `reused` of them from the cache."""

    message_id: int
    done: int
    total: int
    reused: int


@dataclass(frozen=True, slots=True)
class ReplyText:
    message_id: int
    text: str
    tokens: int  # generated so far
    thinking: str = ""  # before the text
    calls: tuple[CallPiece, ...] = ()  # after the text


@dataclass(frozen=True, slots=True)
class ReplyEnded:
    """`kept` False: nothing came, so the message is gone again. `saved` False: what came
    is on the screen only. `reason` is the engine's word for the end, if it gave one."""

    message_id: int
    status: FinalStatus
    kept: bool
    saved: bool = True
    reason: str = ""
    usage: Usage | None = None
    timings: Timings | None = None


CallState = Literal["waiting", "running", "done", "denied", "unrun"]


@dataclass(frozen=True, slots=True)
class CallIs:
    """A tool call of a message in view, its `number`th, and what has become of it. `asked`: the
    arguments that the user put in the place of the model's. `unrun`: nothing will come of it."""

    message_id: int
    number: int
    call: ToolCall
    state: CallState
    result: str = ""
    error: bool = False
    note: str = ""  # who allowed it, how long it took
    asked: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A call that the user has to decide on, or answer by hand (`by_hand`: no one else can).
    `problem`: why it cannot be run as it is."""

    message_id: int
    number: int
    call: ToolCall
    source: str = ""
    by_hand: bool = False
    problem: str = ""
    identity: str = ""  # of the tool as it was when it was asked about


@dataclass(frozen=True, slots=True)
class CallsWait:
    """The calls that wait for the user now, in order; none: nothing waits any more."""

    calls: tuple[Waiting, ...] = ()


@dataclass(frozen=True, slots=True)
class Settled:
    """Nothing is under way any more: no answer, no call. `stopped`: the user ended it."""

    stopped: bool = False


@dataclass(frozen=True, slots=True)
class TakenBack:
    """Messages that get no answer left the conversation; `text` is what they said."""

    message_ids: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class EngineChanged:
    """The engine's state; the model's card where it is ready, else a sentence, and what a log says
    of it. `final`: it cannot be started again from here."""

    state: EngineState
    sentence: str = ""
    card: ModelCard | None = None
    detail: str = ""
    final: bool = False


@dataclass(frozen=True, slots=True)
class Loading:
    stage: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Tuned:
    """Settings apply that did not before: `temperature 0.2 → 0.7`."""

    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContextFull:
    """The last message cannot be answered: the conversation takes `tokens` of `context`."""

    tokens: int
    context: int


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth knowing that is no trouble; a sentence for the user."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something went wrong; a sentence for the user."""

    sentence: str


_Reply = ReplyBegan | ReplyProgress | ReplyText | ReplyEnded
Happening = (
    Opened
    | Said
    | TakenBack
    | CallIs
    | CallsWait
    | Settled
    | _Reply
    | EngineChanged
    | Loading
    | Tuned
    | ContextFull
    | Note
    | Trouble
)
