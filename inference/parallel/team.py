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

from inference.errors import RankLost
from inference.parallel.ranks import Ranks, from_environment

if TYPE_CHECKING:
    from inference.parallel.leader import Leader
    from inference.parallel.lifeline import Loss

log = logging.getLogger(__name__)

_KEY = "mistral_tui/lifelines"
_POLL_SECONDS = 0.1
_leader: Leader | None = None


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
    global _leader
    ranks = from_environment()
    if ranks.world == 1:
        return None
    if _leader is None:
        _use_loopback(ranks)
        if ranks.rank:
            follow(ranks)
        _leader = _gather(ranks, lost, waiting)
        atexit.register(_leader.close)
    return _leader


def joined() -> Leader | None:
    """What `leader` has found before, if it has."""
    return _leader


def _gather(
    ranks: Ranks, lost: Callable[[Loss], None] | None, waiting: Callable[[list[int]], None]
) -> Leader:
    from inference.parallel.group import Group
    from inference.parallel.leader import Leader
    from inference.parallel.lifeline import Lifelines

    hearers: list[Callable[[Loss], None]] = [lost] if lost else []
    losses: list[Loss] = []

    def heard(loss: Loss) -> None:
        losses.append(loss)
        for hear in hearers:
            hear(loss)

    lifelines = Lifelines(ranks, heard)
    try:
        store = _meet(ranks)
        store.set(_KEY, lifelines.address)
        while missing := lifelines.wait(_POLL_SECONDS):
            if losses:
                raise RankLost(losses[0].sentence)
            waiting(missing)
    except BaseException:
        lifelines.bye()  # those that come later find nobody, and leave
        lifelines.close()
        raise
    found = Leader(ranks, Group(ranks, store), lifelines)
    hearers.insert(0, found.rank_lost)
    for loss in losses:
        found.rank_lost(loss)
    return found


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
        line = Lifeline(ranks, store.get(_KEY).decode(), log_path, log_begin)
    except (OSError, RuntimeError):  # rank 0, or where the ranks meet, is gone
        log.exception("rank 0 was not found")
        sys.stderr.flush()
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
