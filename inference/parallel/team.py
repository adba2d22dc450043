"""How ranks find each other: once for a process, at the first model that they share."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from inference.errors import RankLost, SettingError
from inference.parallel.ranks import Ranks, from_environment

if TYPE_CHECKING:
    from inference.parallel.leader import Leader
    from inference.parallel.lifeline import Loss

log = logging.getLogger(__name__)

_KEY = "mistral_tui/lifelines"
_POLL_SECONDS = 0.1
_LAST_MOMENTS = 2.0  # seconds in which the ranks' group may still come about, or fail
_leader: Leader | None = None
_meeting: _Meeting | None = None


def leader(
    lost: Callable[[Loss], None] | None = None,
    waiting: Callable[[list[int]], None] = lambda missing: None,
) -> Leader | None:
    """On rank 0 of several what leads the others; None where this process is the only one.

    On every other rank it does not come back: the process does its share of what rank 0 asks
    for, and ends with it.

    Args:
        lost: hears, in a thread, of a rank that is lost; at the first call only.
        waiting: called again and again with the ranks that are not there yet; may raise.

    Raises:
        SettingError, RankLost: one sentence.
    """
    global _leader, _meeting
    ranks = from_environment()
    if ranks.world == 1:
        return None
    if _leader is None:
        _refuse_a_group(_meeting is not None)
        _use_loopback(ranks)
        if ranks.rank:
            follow(ranks)
        _meeting = _meeting or _Meeting(ranks, lost)
        _leader = _meeting.wait(waiting)
        atexit.register(_leader.close)
    return _leader


def _refuse_a_group(ours: bool) -> None:
    import torch.distributed as dist

    if dist.is_initialized() and not ours:
        raise SettingError(
            "This program has made a torch.distributed process group of its own; load the model "
            'with parallel="none", which needs no ranks, or leave the group to it.'
        )


def joined() -> Leader | None:
    """What `leader` has found before, if it has."""
    return _leader


class _Meeting:
    """Rank 0 while the others come. It outlasts a try that was given up, as they do."""

    def __init__(self, ranks: Ranks, lost: Callable[[Loss], None] | None) -> None:
        from inference.parallel.lifeline import Lifelines

        self._ranks = ranks
        self._lost = lost
        self._losses: list[Loss] = []
        self._leader: Leader | None = None
        self._making = False
        self._lifelines = Lifelines(ranks, self._heard)
        self._store = _meet(ranks)
        self._store.set(_KEY, self._lifelines.address)

    def wait(self, waiting: Callable[[list[int]], None]) -> Leader:
        """Wait for all."""
        from inference.parallel.group import Group
        from inference.parallel.leader import Leader

        while missing := self._lifelines.wait(_POLL_SECONDS):
            if self._losses:
                raise RankLost(self._losses[0].sentence)
            waiting(missing)
        self._making = True
        found = Leader(self._ranks, Group(self._ranks, self._store), self._lifelines)
        self._leader = found
        for loss in self._losses:
            found.rank_lost(loss)
        return found

    def _heard(self, loss: Loss) -> None:
        self._losses.append(loss)
        if self._leader is not None:
            self._leader.rank_lost(loss)
        if self._lost is not None:
            self._lost(loss)
        if self._leader is None:
            time.sleep(_LAST_MOMENTS)
            if self._leader is None and self._making:  # waits for that rank, for ever
                print(loss.sentence, file=sys.stderr, flush=True)  # noqa: T201
                os._exit(1)


def follow(
    ranks: Ranks,
    *,
    gone: Callable[[], bool] = lambda: False,
    log_path: Path | None = None,
    log_begin: int = 0,
) -> NoReturn:
    """Serve rank 0 to the end of this process.

    Args:
        gone: asked until rank 0 is found: whether it ended without having started anything.
        log_path, log_begin: where this process's log is, for rank 0 to quote its end.
    """
    from inference.parallel.follower import serve
    from inference.parallel.group import Group
    from inference.parallel.lifeline import Lifeline

    _use_loopback(ranks)
    try:
        store = _meet(ranks)
        while not store.check([_KEY]):
            if gone():
                os._exit(0)
            time.sleep(_POLL_SECONDS)
        address = store.get(_KEY).decode()
    except (OSError, RuntimeError):  # where the ranks meet is gone, and rank 0 with it
        log.exception("rank 0 was not found")
        sys.stderr.flush()
        os._exit(0)
    try:
        line = Lifeline(ranks, address, log_path, log_begin)
    except OSError as error:
        if not gone():
            where = f"{ranks.host}, port {address.split()[0]}"
            log.error("rank 0 cannot be reached at %s: %s", where, error)
            sys.stderr.flush()
            os._exit(1)  # so that whoever started the ranks ends them all
        os._exit(0)
    serve(lambda: Group(ranks, store), line)
    raise AssertionError("unreachable")


def _meet(ranks: Ranks) -> Any:
    """The store that all ranks share."""
    from torch.distributed.rendezvous import rendezvous

    url = ranks.url
    if url.startswith("file:"):
        url += f"?rank={ranks.rank}&world_size={ranks.world}"
    store, _, _ = next(iter(rendezvous(url)))
    return store


def _use_loopback(ranks: Ranks) -> None:
    """On one machine gloo needs no network, which may be down, or have no name."""
    if ranks.on_one_machine:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
