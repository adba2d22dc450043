"""What torchrun runs, on all ranks: `script.py WHAT FOLDER`, a script like any user's, beside a
few things hooked in to see what the others do.

Rank 0 writes what it saw to FOLDER; the others never come behind their first model.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file

import inference.lora
from inference import checkpoint
from inference.cache import KVCache
from inference.errors import InferenceError
from inference.parallel import follower
from inference.parallel.group import Group, Op
from inference.transformer import Transformer
from parallel.cases import chosen
from parallel.observing import observe

RANK = int(os.environ["RANK"])


def logits(folder: Path) -> None:
    """Every case, one after the other."""
    alone = Transformer.from_folder(folder / "dense", parallel="none")
    answer = alone(torch.arange(3, 20).unsqueeze(0))
    save_file({"logits": answer}, str(folder / f"none-{RANK}.safetensors"))
    del alone
    flag = folder / "stacked"  # the ranks look for it when they load
    checkpoint.wants_stacks = lambda device: flag.exists()
    _watch_held(folder)
    ranks = int(os.environ["WORLD_SIZE"])
    facts = {}
    for name, case in chosen(ranks).items():
        flag.touch() if case.stacked else flag.unlink(missing_ok=True)
        model = Transformer.from_folder(folder / name, dtype=case.dtype, parallel=case.how)
        if case.lora:
            model.load_lora(folder / name / "lora", merge=case.merge)
        seen = observe(model, thorough=case.thorough)
        save_file(seen, str(folder / f"{name} on {ranks}.safetensors"))
        facts[name] = [model.share.mode, model.n_params]
    flag.unlink(missing_ok=True)
    del model
    (folder / f"facts-{ranks}.json").write_text(json.dumps(facts))

    from inference.engine import Engine
    from parallel.observing import converse

    engine = Engine.from_folder(folder / "engine", device="cpu")
    (folder / f"engine-{ranks}.json").write_text(json.dumps(converse(engine)))
    del engine
    gc.collect()
    (folder / f"memory-{ranks}.json").write_text(json.dumps(_memory(folder)))
    (folder / f"errors-{ranks}.json").write_text(json.dumps(_errors(folder)))


def _memory(folder: Path) -> dict[str, Any]:
    """What the others hold, as models and caches come and go."""
    tokens = torch.tensor([[5, 6, 7]])
    steps = {}

    def step(name: str, model: Transformer, cache: KVCache) -> None:
        for _ in range(2):  # the second one begins when the others are done with the first
            model(tokens, cache)
        steps[name] = json.loads((folder / "held-1.json").read_text())

    first = Transformer.from_folder(folder / "dense")
    cache = first.new_cache()
    step("one model", first, cache)
    second = Transformer.from_folder(folder / "moe")
    other = second.new_cache()
    step("two models", second, other)
    first(tokens, cache)
    logits = [first(tokens, first.new_cache()), second(tokens, second.new_cache())]
    alone = [Transformer.from_folder(folder / n, parallel="none")(tokens) for n in ("dense", "moe")]
    apart = [float((a - b).abs().max()) for a, b in zip(logits, alone, strict=True)]
    copies = [first.fan_out(cache, 2, room=9) for _ in range(3)]
    step("three copies", first, cache)
    del copies
    step("no copies", first, cache)
    del first, cache
    step("one model again", second, other)
    return {"held": steps, "apart": apart}


def _errors(folder: Path) -> dict[str, Any]:
    """What fails, and whether the next thing works."""
    told = {}
    tokens = torch.tensor([[5, 6, 7]])

    def tried(name: str, do: Callable[[], Any]) -> None:
        try:
            do()
            told[name] = "nothing was wrong"
        except InferenceError as error:
            told[name] = f"{type(error).__name__}: {error}"

    load = Transformer.from_folder
    tried("damaged", lambda: load(folder / "damaged", parallel="pipeline"))
    tried("not there", lambda: load(folder / "here only"))
    tried("not even here", lambda: load(folder / "nowhere"))
    tried("heads", lambda: load(folder / "seven heads", parallel="tensor"))
    tried("a word", lambda: load(folder / "dense", parallel="sideways"))
    model = load(folder / "dense")
    before = model(tokens)
    tried("no lora", lambda: model.load_lora(folder / "moe"))
    tried("lora not there", lambda: model.load_lora(folder / "here only" / "lora"))
    told["unchanged"] = torch.equal(before, model(tokens))
    tried("no such token", lambda: model(torch.tensor([[5, model.config.vocab_size]])))
    lora = folder / "lora beside" / "lora"
    if RANK == 0:  # runs out of memory in the middle
        set_weight, count = inference.lora._set_weight, itertools.count()

        def set_some(*args: Any, **kwargs: Any) -> None:
            if next(count) == 5:
                raise MemoryError
            set_weight(*args, **kwargs)

        inference.lora._set_weight = set_some
        with contextlib.suppress(MemoryError):
            model.load_lora(lora, merge=True)
        inference.lora._set_weight = set_weight
    told["unchanged after half a lora"] = torch.equal(before, model(tokens))
    model.load_lora(lora, merge=False)
    with_lora = model(tokens)
    told["a difference"] = float((with_lora - before).abs().max())
    model.remove_lora()
    told["taken off"] = torch.equal(before, model(tokens))
    return told


def _watch_held(folder: Path) -> None:
    """Have every other rank write down, after each pass, what it holds."""
    forward = follower.Follower._forward

    def watched(self: Any, *args: Any) -> None:
        forward(self, *args)
        held = [len(self._models), len(self._caches)]
        (folder / f"holding-{RANK}.json").write_text(json.dumps(held))
        (folder / f"holding-{RANK}.json").replace(folder / f"held-{RANK}.json")

    follower.Follower._forward = watched
    # Another machine, which lacks a folder.
    follower.Path = lambda text: Path(text.replace("here only", "not there"))


def traffic(folder: Path) -> None:
    """Write down every order and every exchange of tensors, on each rank."""
    with (folder / f"exchanges-{RANK}.txt").open("w") as file:
        names = ("all_reduce", "gather", "send", "recv", "broadcast")
        before = {name: getattr(dist, name) for name in names}
        for name in names:
            setattr(dist, name, _noted(before[name], name, file))
        give, take = Group.order, Group.receive

        def order(self: Group, op: Op, *fields: int, **kwargs: Any) -> None:
            print("order", op.name, file=file, flush=True)
            give(self, op, *fields, **kwargs)

        def receive(self: Group) -> Any:
            received = take(self)
            print("order", received[0].name, file=file, flush=True)
            return received

        Group.order, Group.receive = order, receive
        for name in ("tensor", "pipeline", "tensor moe"):
            model = Transformer.from_folder(folder / name, parallel=name.split()[0])
            cache = model.new_cache()
            for count, last_only in ((7, True), (1, True), (5, False)):
                model(torch.arange(3, 3 + count).unsqueeze(0), cache, last_only=last_only)
        # What comes at the end of the program is not counted.
        Group.order, Group.receive = give, take
        vars(dist).update(before)


def _noted(exchange: Any, name: str, file: Any) -> Any:
    def noted(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        print(name, tensor.nbytes, file=file, flush=True)
        return exchange(tensor, *args, **kwargs)

    return noted


def memory(folder: Path) -> None:
    """What loads take on each rank, by what LOADS says: how to share, and after how many bytes
    files are mapped anew. (peak, at the end, what is held, the largest part) in MB."""
    load = Transformer.load_share
    loads = [word.split(":") for word in os.environ["LOADS"].split()]
    found: list[list[float]] = []

    def measured(*args: Any, **kwargs: Any) -> Transformer:
        checkpoint._REMAP_BYTES = int(loads[len(found)][1])
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        model = load(*args, **kwargs)
        sizes = [p.nbytes / 1e6 for p in model.parameters()]
        found.append([_status("VmHWM") - before, _status("VmRSS") - before, sum(sizes), max(sizes)])
        (folder / f"memory-{RANK}.json").write_text(json.dumps(found))
        return model

    Transformer.load_share = measured
    for how, _ in loads:
        model = Transformer.from_folder(folder / "model", parallel=how)
        del model  # the others hear of it before the next one


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(name))


def _say(line: str) -> None:
    """In one piece: other ranks write to the same pipe."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def api(folder: Path) -> None:
    """A plain script, and how it can end."""
    _say(f"all: rank {RANK}")
    model = Transformer.from_folder(folder / "tiny")
    _say(f"after: rank {RANK}, {model(torch.tensor([[5, 6]])).shape[-1]} logits")
    match os.environ.get("END", ""):
        case "error":
            raise ValueError("a mistake of the script")
        case "exit":
            raise SystemExit(7)
        case "nodes":
            names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
            print("nodes:", *(os.environ[name] for name in names), model.share.mode)
            time.sleep(0.5)


if __name__ == "__main__":
    torch.set_num_threads(1)
    globals()[sys.argv[1]](Path(sys.argv[2]))
