"""The ranks' lifelines: a socket from each rank to rank 0, beside all collectives.

A collective tells of a dead rank late and of a stopped one after its timeout; an idle rank takes
part in none. A lifeline's end is the end of the process at its other side; each side sends a beat
twice a second. Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference.parallel.ranks import Ranks

log = logging.getLogger(__name__)

BEAT_SECONDS = 0.5
SILENCE_SECONDS = 8.0
"""A rank that is silent for so long is lost."""
LOADING_SECONDS = 120.0
"""While a model is loaded: a driver or a library that starts may let no thread speak for long."""
WITHOUT_A_WORD = "ended without a word: it was killed, or it crashed"
"""What is known here of a rank that was killed; who started it knows more."""
_MOST_LINE = 64 << 10
_TAIL_BYTES, _TAIL_LINES = 8 << 10, 12


@dataclass(frozen=True, slots=True)
class Loss:
    """A rank that was lost: why, as a sentence, and the last lines of its log."""

    rank: int
    sentence: str
    log: str = ""
    """Path on that rank's machine."""
    tail: str = ""


@dataclass(slots=True)
class _Peer:
    socket: socket.socket
    rank: int = -1
    pid: int = 0
    host: str = ""
    log: str = ""
    begin: int = 0
    """Where this process's part of the log begins."""
    heard: float = field(default_factory=time.monotonic)
    buffer: bytearray = field(default_factory=bytearray)


class Lifelines:
    """Rank 0's ends of them. `lost` is called from a thread, once, for the first rank lost."""

    def __init__(self, ranks: Ranks, lost: Callable[[Loss], None]) -> None:
        self._ranks = ranks
        self._lost = lost
        self._token = secrets.token_hex(16)
        self._listening = _listen(everywhere=not ranks.on_one_machine)
        self._peers: dict[int, _Peer] = {}
        self._changed = threading.Condition()
        self._over = False
        self.loading = False
        """Whether all ranks load something."""
        self.failed_load = 0
        """The last load, by its number, of which a rank has said that it failed there."""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listening, selectors.EVENT_READ)
        threading.Thread(target=self._run, name="lifelines", daemon=True).start()

    @property
    def address(self) -> str:
        """What a rank needs to know to connect: port and token."""
        return f"{self._listening.getsockname()[1]} {self._token}"

    def wait(self, seconds: float) -> list[int]:
        """Wait so long for ranks to connect; the ranks that are missing then."""
        others = set(range(1, self._ranks.world))
        with self._changed:
            self._changed.wait_for(lambda: others <= self._peers.keys(), seconds)
            return sorted(others - self._peers.keys())

    def bye(self) -> None:
        """Tell all ranks to leave."""
        self._over = True
        self._tell({"bye": True})

    def cancel(self, load: int) -> None:
        """Tell all ranks that what they load, by its number, is not wanted any more."""
        self._tell({"cancelled": load})

    def silence(self) -> tuple[int, float]:
        """(rank, seconds) of the one that is silent for longest; (0, 0) without others."""
        now = time.monotonic()
        with self._changed:
            waits = [(now - peer.heard, rank) for rank, peer in self._peers.items()]
        seconds, rank = max(waits, default=(0.0, 0))
        return rank, seconds

    def _tell(self, message: dict[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        with self._changed:
            peers = list(self._peers.values())
        for peer in peers:
            # A stopped rank does not read; it will be missed soon enough.
            with contextlib.suppress(OSError):
                peer.socket.send(line)

    def _run(self) -> None:
        beat = looked = time.monotonic()
        while True:
            for key, _ in self._selector.select(BEAT_SECONDS / 2):
                if key.fileobj is self._listening:
                    self._accept()
                elif key.data.socket.fileno() >= 0:  # not dropped a moment ago
                    self._read(key.data)
            now = time.monotonic()
            if now - looked > SILENCE_SECONDS / 2:  # this process was stopped, or slept
                with self._changed:
                    for peer in self._peers.values():
                        peer.heard = now
            looked = now
            if now - beat >= BEAT_SECONDS:
                beat = now
                self._tell({})
                rank, silent = self.silence()
                if silent > (LOADING_SECONDS if self.loading else SILENCE_SECONDS):
                    self._lose_silent(self._peers[rank], silent)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connected, _ = self._listening.accept()
            connected.setblocking(False)
            keep_alive(connected)
            self._selector.register(connected, selectors.EVENT_READ, _Peer(connected))

    def _read(self, peer: _Peer) -> None:
        try:
            data = peer.socket.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(peer)
            if peer.rank > 0:
                self._lose(peer, WITHOUT_A_WORD)
            return
        peer.heard = time.monotonic()
        peer.buffer += data
        *lines, rest = peer.buffer.split(b"\n")
        peer.buffer = bytearray(rest)
        try:
            for line in lines:
                self._hear(peer, line)
            if len(rest) > _MOST_LINE:
                raise ValueError("too long a line")
        except Exception as error:  # of a stranger: from any message that can be
            log.warning("a lifeline was cut: %s", type(error).__name__)
            self._drop(peer)
            if peer.rank > 0:
                self._lose(peer, "said what makes no sense")

    def _hear(self, peer: _Peer, line: bytes | bytearray) -> None:
        if peer.rank < 0:
            self._welcome(peer, line)
            return
        message = json.loads(line)
        if "failed" in message:
            self._lose(peer, f"failed: {message['failed']}".rstrip("."))
        self.failed_load = int(message.get("failed_load", self.failed_load))

    def _welcome(self, peer: _Peer, line: bytes | bytearray) -> None:
        """Take up a rank by its first line: the token, a space, and what is to be known of it."""
        token, _, said = line.partition(b" ")
        if not secrets.compare_digest(token, self._token.encode()):
            raise PermissionError
        message = json.loads(said)
        rank = int(message["rank"])
        if not 0 < rank < self._ranks.world or rank in self._peers:
            raise ValueError("no such rank")
        peer.pid, peer.host = int(message["pid"]), str(message["host"])
        peer.log, peer.begin = str(message["log"]), int(message["begin"])
        with self._changed:
            peer.rank = rank
            self._peers[rank] = peer
            self._changed.notify_all()
            all_here = len(self._peers) == self._ranks.world - 1
        if all_here:
            self._close_the_door()

    def _close_the_door(self) -> None:
        """All ranks are here: nobody else is heard any more."""
        for key in list(self._selector.get_map().values()):
            if key.fileobj is self._listening:
                self._selector.unregister(key.fileobj)
                self._listening.close()
            elif key.data.rank < 0:
                self._drop(key.data)

    def _drop(self, peer: _Peer) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(peer.socket)
        peer.socket.close()

    def _lose_silent(self, peer: _Peer, seconds: float) -> None:
        if not self._over and self._ranks.on_one_machine:
            # Where it is stopped, nothing else reaches it: whoever waits for its end would wait on.
            with contextlib.suppress(OSError):
                os.kill(peer.pid, signal.SIGKILL)
        self._lose(peer, gave_no_sign(seconds))

    def _lose(self, peer: _Peer, why: str) -> None:
        if self._over:
            return
        self._over = True
        away = peer.host != socket.gethostname()
        where = f" on {peer.host}" if away else ""
        tail = "" if away else last_lines(Path(peer.log), peer.begin)
        log.error("rank %d%s (process %d) %s", peer.rank, where, peer.pid, why)
        self._lost(Loss(peer.rank, f"Rank {peer.rank}{where} {why}.", peer.log, tail))


class Lifeline:
    """Another rank's end. The process ends with rank 0's, whatever it is doing."""

    def __init__(self, ranks: Ranks, address: str, log_path: Path | None, begin: int) -> None:
        port, token = address.split()
        self._socket = socket.create_connection((ranks.host, int(port)), timeout=30)
        self._socket.settimeout(None)
        keep_alive(self._socket)
        self._sending = threading.Lock()
        self.cancelled = 0
        """The last load that was not wanted any more."""
        said = {
            "rank": ranks.rank,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "log": str(log_path or ""),
            "begin": begin,
        }
        self._socket.sendall(f"{token} {json.dumps(said)}\n".encode())
        threading.Thread(target=self._listen, name="lifeline", daemon=True).start()
        threading.Thread(target=self._beat, name="beat", daemon=True).start()

    def failed(self, sentence: str) -> None:
        """Tell rank 0 why this one ends."""
        self._send({"failed": sentence})

    def load_failed(self, number: int) -> None:
        """Tell rank 0 that it need not go on with a load; why comes with the report."""
        self._send({"failed_load": number})

    def _send(self, message: dict[str, Any]) -> None:
        with self._sending, contextlib.suppress(OSError):
            self._socket.sendall(json.dumps(message).encode() + b"\n")

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_SECONDS)
            self._send({})

    def _listen(self) -> None:
        lines = self._socket.makefile("rb")
        with contextlib.suppress(OSError, ValueError):
            for line in lines:
                message = json.loads(line)
                if "bye" in message:
                    break
                self.cancelled = int(message.get("cancelled", self.cancelled))
        # The main thread may wait in a collective that nobody else will enter.
        os._exit(0)


def _listen(*, everywhere: bool) -> socket.socket:
    """For ranks of this machine only, or of others, too."""
    if not everywhere:
        return socket.create_server(("127.0.0.1", 0))
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def keep_alive(connected: socket.socket) -> None:
    """Have the system notice that a machine at the other end is gone."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    options = ("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)
    for name, value in (*options, ("TCP_USER_TIMEOUT", 60_000)):  # ms
        if hasattr(socket, name):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def gave_no_sign(seconds: float) -> str:
    """What became of a rank that is silent, as the end of a sentence."""
    return f"has given no sign of life for {seconds:.0f} s: it was stopped, or it hangs"


def last_lines(path: Path, begin: int = 0) -> str:
    """The last lines of a log, of those behind byte `begin`."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, min(begin, size), size - _TAIL_BYTES))
            lines = file.read(_TAIL_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-_TAIL_LINES:])
