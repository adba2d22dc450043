"""The contract's dataclasses as bytes: 4 bytes of length, then a JSON object.

JSON, not pickle: what comes out of the engine process has handled foreign files.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import struct
import typing
from typing import Any, cast

from inference import api
from inference.api import Event, Request

_HEADER = struct.Struct(">I")
MOST_BYTES = 512 << 20


class WireError(Exception):
    """Bytes that are not a message of the contract."""


_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for union in (Request, Event) for kind in typing.get_args(union)
}


def encode(message: Request | Event) -> bytes:
    """One frame."""
    body = {"type": type(message).__name__, **_plain(message)}
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    data = text.encode("utf-8", "surrogatepass")  # \u escapes would merge two lone surrogates
    return _HEADER.pack(len(data)) + data


def decode(data: bytes) -> Request | Event:
    """A frame's body (without the length) back to its dataclass.

    Raises:
        WireError: not JSON, an unknown type, a field missing or of the wrong type.
    """
    try:
        body = json.loads(data)
        kind = _KINDS[body.pop("type")]
        return cast(Request | Event, _build(kind, body))
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise WireError(f"what is no message of the contract ({error!r:.200})") from error
    except RecursionError as error:
        raise WireError("a message that is nested too deeply") from error


def body_length(header: bytes) -> int:
    """The length that a frame's 4-byte header announces.

    Raises:
        WireError: absurdly long.
    """
    length: int = _HEADER.unpack(header)[0]
    if length > MOST_BYTES:
        raise WireError(f"a frame of {length} bytes")
    return length


def receive(sock: socket.socket) -> Request | Event | None:
    """The next message of a blocking socket; None at its end."""
    header = _exactly(sock, _HEADER.size)
    if header is None:
        return None
    data = _exactly(sock, body_length(header))
    return None if data is None else decode(data)


def _exactly(sock: socket.socket, count: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < count:
        part = sock.recv(min(count - len(parts), 1 << 20))
        if not part:
            return None
        parts += part
    return bytes(parts)


def _plain(value: Any) -> dict[str, Any]:
    # Not dataclasses.asdict: it copies every id of a long conversation one by one.
    return {f.name: _plain_value(getattr(value, f.name)) for f in dataclasses.fields(value)}


def _plain_value(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return _plain(value)
    if isinstance(value, tuple) and value and not isinstance(value[0], int | float | str):
        return [_plain_value(item) for item in value]
    return value


_HINTS: dict[type[Any], dict[str, Any]] = {}


def _hints(kind: type[Any]) -> dict[str, Any]:
    if kind not in _HINTS:
        _HINTS[kind] = typing.get_type_hints(kind, vars(api))
    return _HINTS[kind]


def _build(kind: type[Any], body: dict[str, Any]) -> Any:
    hints = _hints(kind)
    if not body.keys() <= hints.keys():
        raise ValueError(f"{kind.__name__} has no field {sorted(body.keys() - hints.keys())}")
    return kind(**{name: _typed(hints[name], value) for name, value in body.items()})


def _typed(hint: Any, value: Any) -> Any:
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return _build(cast(type[Any], hint), value)
    if origin is tuple:
        inner = typing.get_args(hint)[0]
        if not isinstance(value, list):
            raise ValueError(f"{value!r:.40} is not a list")
        if set(map(type, value)) <= {inner}:  # many ids: at C speed
            return tuple(value)
        return tuple(_typed(inner, item) for item in value)
    if origin is typing.Literal:
        if value not in typing.get_args(hint):
            raise ValueError(f"{value!r:.40} is not one of {typing.get_args(hint)}")
        return value
    accepted = typing.get_args(hint) or (hint,)  # of a union, or itself
    if type(value) in accepted:  # exactly: True is no int
        return value
    if type(value) is int and float in accepted:
        return float(value)
    raise ValueError(f"{value!r:.40} is not {hint}")
