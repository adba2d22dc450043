"""One server in the host process: what is too much of a message, an answer or a log."""

from __future__ import annotations

import asyncio
import gzip
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mistral_tui.tools import limits, mcp_results, mcp_transports
from mistral_tui.tools.mcp_host import _Log
from mistral_tui.tools.mcp_session import Session

HERE = Path(__file__).parent


async def last_sentence(entry: dict[str, Any], timeout: float = 10) -> str:
    """What a server that fails is said to have failed for."""
    told: list[dict[str, Any]] = []
    session = Session("it", entry, timeout, told.append, lambda name, line: None)
    async with asyncio.timeout(timeout + 5):
        await session.run()
    assert told[0]["state"] == "starting"
    assert told[-1]["state"] == "failed"
    return str(told[-1]["sentence"])


def child(way: str) -> dict[str, Any]:
    script = str(HERE / "mcp_hostile_server.py")
    return {
        "kind": "stdio", "command": sys.executable, "args": ["-I", "-S", script, way],
        "env": {}, "cwd": "",
    }  # fmt: skip


async def answered(head: str, body: bytes, forever: bool = False) -> str:
    """What becomes of a server that answers everything so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {head}\r\nConnection: close\r\n\r\n".encode() + body)
        try:
            while forever:
                writer.write(b"x" * 100_000)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        entry = {"kind": "http", "url": f"http://127.0.0.1:{port}/mcp", "headers": {}}
        return await last_sentence(entry)


async def test_a_message_without_end_ends_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_transports, "MOST_MESSAGE", 1 << 20)
    sentence = await last_sentence(child("endless"))
    assert sentence == "The MCP server it was ended: it sent more than 1 MB in one message."


async def test_an_answer_without_end_is_not_read_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_transports, "MOST_MESSAGE", 1 << 20)
    sentence = await answered("200 OK\r\nContent-Type: application/json", b"", forever=True)
    assert "more than 1 MB in one answer" in sentence


async def test_a_packed_answer_is_not_unpacked() -> None:
    packed = gzip.compress(b'{"jsonrpc": "2.0", "id": 1, "result": {}}')
    head = "200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip"
    sentence = await answered(head, packed)
    assert "Failed to parse JSON response" in sentence


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("401 Unauthorized", "wants a login (HTTP 401): put a key for it into headers"),
        ("403 Forbidden", "wants a login (HTTP 403)"),
        ("502 Bad Gateway", "answered with HTTP 502: look at its url."),
        ("200 OK\r\nContent-Type: text/html", "Unexpected content type: text/html"),
        ("302 Found\r\nLocation: http://127.0.0.2/mcp", "Redirect to http://127.0.0.2/mcp not fol"),
    ],
)
async def test_an_address_that_is_no_server_is_a_sentence(head: str, words: str) -> None:
    sentence = await answered(head, b"<html>")
    assert words in sentence
    assert sentence.startswith("The MCP server it ")
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_a_server_that_talks_and_talks_does_not_fill_the_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mistral_tui.tools.mcp_host._MOST_LOG", 10_000)
    log = _Log()
    for n in range(1000):
        log.line("loud\x1b[31m", f"line {n} \x1b]0;title\x07" + "x" * 5000)
    log.line("quiet", "a word")
    written = capsys.readouterr().err
    assert len(written) < 13_000
    assert "(no more of this one is logged)" in written
    assert written.endswith("quiet: a word\n")
    assert "\x1b" not in written


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b'{"jsonrpc":"2.0","id":1,"result":{"a":"b"}}', "b"),
        (b'{"jsonrpc":"2.0","id":1,"result":{"a":"\xff"}}', "\ufffd"),
        (b'{"jsonrpc":"2.0","id":1,"result":{"a":"\\ud800"}}', "?"),
        (b'{"jsonrpc":"2.0","id":1,"result":{"a":"b"}}\r', "b"),
    ],
)
def test_a_line_with_a_message_is_one(line: bytes, text: str) -> None:
    message: Any = mcp_transports.parse(line)
    assert message.result["a"] == text


@pytest.mark.parametrize(
    "line",
    [b"", b"hello", b"[]", b"null", b'{"a": 1}', b"\xff\xfe", b"[" * 100_000, b'{"jsonrpc":'],
)
def test_a_line_without_a_message_is_none(line: bytes) -> None:
    assert mcp_transports.parse(line) is None


class _Block:
    """A block of content, as the library makes them."""

    def __init__(self, kind: str, **more: Any) -> None:
        self.type = kind
        self.__dict__.update(more)


def _result(*blocks: _Block, structured: Any = None) -> Any:
    return _Block("", content=list(blocks), structured_content=structured, is_error=False)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (_result(), ""),
        (_result(structured={"ä": [1, None]}), '{"ä": [1, null]}'),
        (_result(_Block("text", text="a"), _Block("text", text="b"), structured=1), "a\nb"),
        (
            _result(_Block("audio", data="A" * 40, mime_type="audio/\x1bwav"), structured=[1]),
            "[audio audio/wav, 30 bytes]\n[1]",
        ),
        (_result(_Block("resource_link", name="n", uri="file:///x")), "[resource n file:///x]"),
        (
            _result(_Block("resource", resource=_Block("", uri="u", mime_type=None, text="t"))),
            "[resource u]\nt",
        ),
        (
            _result(_Block("resource", resource=_Block("", uri="u", mime_type="m", blob="A" * 8))),
            "[resource u, m, 6 bytes]",
        ),
    ],
)
def test_what_is_no_text_is_named(result: Any, text: str) -> None:
    assert mcp_results.answer(result).text == text


def test_many_texts_are_cut_together() -> None:
    result = _result(*(_Block("text", text="x" * 999) for _ in range(100)))
    outcome = mcp_results.answer(result)
    assert outcome.cut
    assert len(outcome.text) == limits.MOST_RESULT
    exact = mcp_results.answer(_result(_Block("text", text="x" * limits.MOST_RESULT)))
    assert not exact.cut


def _tools(count: int, schema: Callable[[int], Any]) -> list[dict[str, Any]]:
    return [{"name": f"t{n}", "inputSchema": schema(n)} for n in range(count)]


def test_the_size_of_a_list_is_bounded() -> None:
    listing = mcp_results.Listing()
    big = {"type": "object", "properties": {}, "default": "ä" * 9000}  # six characters as JSON
    listing.add(_tools(100, lambda n: big))
    assert 10 < len(listing.rows) < 20
    assert listing.sentence == f"Only the first {len(listing.rows)} tools are used."
    assert listing.full
    listing = mcp_results.Listing()
    listing.add(_tools(2, lambda n: {"type": "object", "default": "x" * 70_000 * n}))
    assert [row[0] for row in listing.rows] == ["t0"]
    assert "too long" in listing.sentence


def test_a_schema_with_numbers_that_are_none_is_left_out() -> None:
    listing = mcp_results.Listing()
    listing.add(_tools(1, lambda n: {"type": "object", "maximum": float("nan")}))
    assert listing.rows == []
    assert listing.sentence.startswith("1 tool is left out: t0: ")
