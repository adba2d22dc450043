"""The engine process: requests in from one end of a socket, events out.

Started with `python -m inference.worker FD PARENT_PID`; it ends when the socket closes
or its parent dies. Its standard output and error are a log file, never the terminal.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING

from inference import starter, wire
from inference.adapter import inspect_adapter
from inference.api import (
    Cancel,
    Failed,
    FillInMiddle,
    Heartbeat,
    LoadModel,
    LoadProgress,
    Ready,
    Request,
    Shutdown,
    Unloaded,
    UnloadModel,
)
from inference.errors import InferenceError, RankLost, RequestError, explain
from inference.files import expanded
from inference.folder import inspect_folder
from inference.outbox import Outbox
from inference.parallel.lifeline import Loss
from inference.parallel.ranks import from_environment
from inference.readahead import read_ahead

if TYPE_CHECKING:
    from inference.engine import Engine
    from inference.parallel.leader import Leader

log = logging.getLogger("inference.worker")

_LAST_MOMENTS = 2.0  # seconds for an orderly end once the socket has closed
RANK_LOST = 3
"""Exit code: another rank was lost."""


class _LoadCancelled(InferenceError):
    kind = "cancelled"


class Worker:
    """Reads requests in a thread, so that a cancel is seen while the model computes;
    serves them one by one in the main thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._outbox = Outbox(sock, self._beat)
        self._queue: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        self._closing = threading.Event()
        self._ending = threading.Lock()
        self._engine: Engine | None = None

    def run(self) -> None:
        """Serve until the socket closes or a `Shutdown` comes."""
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        while (request := self._queue.get()) is not None:
            if self._is_cancelled(request.id):
                self._outbox.put(Failed(request.id, "cancelled", "Cancelled."))
            else:
                self._serve(request)
            self._cancelled.discard(request.id)
        self._outbox.close()
        self._let_go()

    def _read(self) -> None:
        try:
            while True:
                request = wire.receive(self._sock)
                if request is None or isinstance(request, Shutdown):
                    break
                if isinstance(request, Cancel):
                    self._cancelled.add(request.target)
                else:
                    self._queue.put(request)  # type: ignore[arg-type]
        except (OSError, wire.WireError) as error:
            log.warning("the connection ended: %s", error)
        self._closing.set()
        self._let_go()
        self._queue.put(None)
        time.sleep(_LAST_MOMENTS)  # the main thread may be deep in a forward pass
        os._exit(0)

    def _is_cancelled(self, request_id: int) -> bool:
        return self._closing.is_set() or request_id in self._cancelled

    def _is_over(self, request: Request) -> bool:
        """Whether a request is to end: a `FillInMiddle` gives way to whatever waits."""
        gives_way = isinstance(request, FillInMiddle) and not self._queue.empty()
        return gives_way or self._is_cancelled(request.id)

    def _serve(self, request: Request) -> None:
        try:
            if isinstance(request, LoadModel):
                self._load(request)
                return
            if isinstance(request, UnloadModel):
                self._unload()
                self._outbox.put(Unloaded(request.id))
                return
            if self._engine is None:
                raise RequestError("No model is loaded yet.")
            assert not isinstance(request, Cancel | Shutdown)
            for event in self._engine.run(request, lambda: self._is_over(request)):
                self._outbox.put(event)
        except InferenceError as error:
            if error.detail:
                log.info("%s", error.detail)
            if not isinstance(error, RankLost):  # which is told below, once
                self._outbox.put(Failed(request.id, error.kind, str(error), error.detail))
        except Exception as error:
            log.exception("request %d failed", request.id)
            self._outbox.put(Failed(request.id, *explain(error), traceback.format_exc()))
        leader = _leader()
        if leader is not None and leader.loss is not None:  # the ranks have parted
            self._rank_lost(leader.loss)

    def _beat(self) -> Heartbeat:
        leader = _leader()
        return Heartbeat() if leader is None else Heartbeat(0, *leader.lifelines.silence())

    def _rank_lost(self, loss: Loss) -> None:
        """Without one rank there is no model: say why, and end. Two threads may come here."""
        with self._ending:
            where = f"The log of rank {loss.rank}: {loss.log}" if loss.log else ""
            detail = "\n".join(filter(None, (loss.tail, where)))
            self._outbox.put(Failed(0, RankLost.kind, loss.sentence, detail))
            self._outbox.close()
            os._exit(RANK_LOST)

    def _let_go(self) -> None:
        """Let the other ranks leave."""
        if (leader := _leader()) is not None:
            leader.lifelines.bye()

    def _unload(self) -> None:
        self._engine = None
        gc.collect()  # tokenizers are cycles
        if (leader := _leader()) is not None:
            leader.forget()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _load(self, request: LoadModel) -> None:
        started = time.perf_counter()
        self._outbox.put(LoadProgress(request.id, "starting the engine", 0, 0))
        if request.model != starter.NAME:
            # A mistyped folder should not cost the model that is loaded.
            found = inspect_folder(expanded(request.model))
            if request.lora:
                inspect_adapter(expanded(request.lora), found.config)
            if from_environment().world == 1:  # else each reads its share, and no more
                read_ahead(found.files)
        self._unload()  # the old model goes before the new one needs room
        from inference.loading import load_engine

        told: tuple[str, int, int] | None = None

        def progress(stage: str, done: int, total: int) -> None:
            nonlocal told
            if self._is_cancelled(request.id):
                raise _LoadCancelled("Loading was cancelled.")
            if told != (stage, done, total):  # else there is room for a heartbeat
                told = (stage, done, total)
                self._outbox.put(LoadProgress(request.id, *told))

        self._engine = load_engine(
            request.model,
            device=request.device,
            dtype=request.dtype,
            threads=request.threads,
            attention=request.attention,
            lora=request.lora,
            parallel=request.parallel,
            fetch=request.fetch,
            source=request.source,
            progress=progress,
            cancelled=lambda: self._is_cancelled(request.id),
            lost=self._rank_lost,
        )
        assert self._engine.card is not None
        self._outbox.put(Ready(request.id, self._engine.card, time.perf_counter() - started))


def _leader() -> Leader | None:
    """Who leads the other ranks, if there are any and they have met."""
    team = sys.modules.get("inference.parallel.team")
    return team.joined() if team is not None else None


def end_with_parent(parent: int) -> None:
    """Ask Linux for SIGKILL when the parent dies; elsewhere the closing socket must do."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            pr_set_pdeathsig = 1
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(0)


def main() -> None:
    """Entry of the process; see the module's description."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(name)s %(message)s")
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the app decides what Ctrl+C means
    sock = socket.socket(fileno=descriptor)
    Worker(sock).run()
    # Native threads of torch may still run; an ordinary exit can abort under them.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
