"""Which of how many ranks this process is, as `torchrun` or our own launcher says; no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from inference.errors import SettingError

RENDEZVOUS = "MISTRAL_TUI_RENDEZVOUS"
"""A file that ranks meet by which were started by us, not by torchrun."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among all: `rank` of `world`; `local_rank` of `local_world` on this machine.
    `url` is where they meet (torch's init method); `host` is where rank 0 is."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    url: str = "env://"
    host: str = "127.0.0.1"
    torchrun: bool = False
    """Whether torchrun started it, also as the only one."""

    @property
    def on_one_machine(self) -> bool:
        return self.local_world == self.world


ALONE = Ranks()


def from_environment(environment: Mapping[str, str] = os.environ) -> Ranks:
    """What the variables say; without them this process is the only one.

    Raises:
        SettingError: they contradict each other; one sentence.
    """
    file = environment.get(RENDEZVOUS, "")
    torchrun = not file and "TORCHELASTIC_RUN_ID" in environment
    if not file and not torchrun:
        return ALONE
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    try:
        rank, world, local_rank, local_world = (int(environment[name]) for name in names)
    except (KeyError, ValueError):
        raise SettingError(
            f"The variables {', '.join(names)} must be the numbers that torchrun sets."
        ) from None
    if not (0 <= rank < world and 0 <= local_rank < local_world <= world):
        raise SettingError(f"Rank {rank} of {world} cannot be; start the ranks with torchrun.")
    if file:
        return Ranks(rank, world, local_rank, local_world, f"file://{file}")
    # torchrun names this machine as others call it, which may lead to no interface of its own.
    local = local_world == world
    host = "127.0.0.1" if local else environment.get("MASTER_ADDR", "127.0.0.1")
    return Ranks(rank, world, local_rank, local_world, "env://", host, True)
