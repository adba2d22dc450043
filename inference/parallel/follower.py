"""The other ranks' side: wait for an order of rank 0, do one's share of it, wait again."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inference.cache import KVCache
from inference.devices import pick_device, pick_dtype, set_threads
from inference.errors import InferenceError, SettingError, explain
from inference.files import one_line
from inference.folder import inspect_folder
from inference.lora import load_lora, remove_lora
from inference.parallel.group import Group, Op, unpacked
from inference.parallel.lifeline import Lifeline
from inference.parallel.links import links
from inference.parallel.plan import plan
from inference.transformer import Transformer

log = logging.getLogger(__name__)

_MOST_SENTENCE = 800
_AFTERMATH_SECONDS = 3.0


class _Cancelled(InferenceError):
    kind = "cancelled"


class Follower:
    """Serves rank 0 until it ends."""

    def __init__(self, group: Group, line: Lifeline) -> None:
        self._group = group
        self._line = line
        self._models: dict[int, Transformer] = {}
        self._caches: dict[int, KVCache] = {}

    def run(self) -> None:
        """Follow orders; comes back when there are no more."""
        while True:
            op, fields, data = self._group.receive()
            match op:
                case Op.FORWARD:
                    self._forward(fields, data)
                case Op.FAN_OUT:
                    cache, copy, rows, room = fields[:4]
                    self._caches[copy] = self._caches[cache].fan_out(rows, room=room)
                case Op.LOAD:
                    self._together(self._load, data)
                case Op.LORA:
                    self._together(self._lora, data)
                case Op.NO_LORA:
                    if fields[0] in self._models:
                        remove_lora(self._models[fields[0]])
                case Op.FORGET_CACHE:
                    self._caches.pop(fields[0], None)
                case Op.FORGET_MODEL:
                    self._models.pop(fields[0], None)
                    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
                        torch.cuda.empty_cache()
                case Op.END:
                    return

    def _forward(self, fields: list[int], data: Tensor) -> None:
        number, which, batch, max_length, row, count, last_only = fields[:7]
        model = self._models[number]
        if which not in self._caches:
            self._caches[which] = model.new_cache(batch=batch, max_length=max_length)
        cache = self._caches[which]
        rows = range(batch) if row < 0 else (row,)
        tokens = data[len(rows) :].view(len(rows), count)
        for each, start in zip(rows, data[: len(rows)].tolist(), strict=True):
            cache.lengths[each] = start
        model.compute(tokens, cache, row=None if row < 0 else row, last_only=bool(last_only))

    def _together(self, do: Callable[[dict[str, Any]], None], data: Tensor) -> None:
        """Do what all ranks do, and report whether it went well."""
        report = ""
        said = json.loads(unpacked(data))
        try:
            do(said)
        except Exception as error:
            log.exception("an order failed")
            self._line.load_failed(said["number"])
            kind, sentence = explain(error)
            report = json.dumps([kind, one_line(sentence, _MOST_SENTENCE)], ensure_ascii=False)
        self._group.report(report)

    def _load(self, said: dict[str, Any]) -> None:
        ranks = self._group.ranks
        refused: SettingError | None = None
        try:
            device = pick_device(said["device"], ranks)
        except SettingError as error:
            refused, device = error, torch.device(said["device"])
        try:
            group = self._group.tensors(device)  # all ranks make it, whatever comes of the load
        finally:
            if refused is not None:
                raise refused
        if device.type == "cuda":
            torch.cuda.set_device(device)
        set_threads(said["threads"], ranks.local_world)
        found = inspect_folder(Path(said["folder"]), tokenizer=False)
        share = plan(found.config, ranks.world, said["parallel"])[ranks.rank]

        def progress(done: int, total: int) -> None:
            if self._line.cancelled == said["number"]:
                raise _Cancelled("Loading was cancelled.")

        self._models[said["number"]] = Transformer.load_share(
            found,
            links(share, group),
            device=device,
            dtype=pick_dtype(said["dtype"] or "auto"),
            attention=said["attention"],
            progress=progress,
        )

    def _lora(self, said: dict[str, Any]) -> None:
        model = self._models[said["number"]]
        load_lora(model, Path(said["path"]), scaling=said["scaling"], merge=said["merge"])


def serve(make: Callable[[], Group], line: Lifeline) -> None:
    """Follow rank 0 to the end of this process. An error that is not of one order only is told
    to rank 0, which cannot go on without this rank."""
    code = 0
    try:
        group = make()
        Follower(group, line).run()
        group.close()
    except BaseException as error:
        log.exception("this rank cannot go on")
        kind, sentence = explain(error)
        # Another rank's death fails a collective here, too; that one is to be named.
        if kind == "internal":
            time.sleep(_AFTERMATH_SECONDS)
        line.failed(one_line(sentence, _MOST_SENTENCE))
        time.sleep(0.2)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)  # native threads may still run; an ordinary exit can abort under them
