"""Entry point of `mistral-tui` and of `python -m mistral_tui`."""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Straight to the chat where there is nothing to parse, else by way of the command line."""
    # Imports make many lasting objects and no garbage; the app collects once it is painted.
    gc.disable()
    from mistral_tui import launch

    args = sys.argv[1:]
    if "TORCHELASTIC_RUN_ID" in os.environ:
        from mistral_tui import torchrun

        torchrun.enter(args)
    if launch.is_plain(args):
        from mistral_tui.choices import ModelChoice, SamplingChoice

        launch.open_standard_streams()
        choice = ModelChoice(launch.resolve(args[0] if args else ""))
        launch.open_chat(choice, sampling=SamplingChoice())
    gc.enable()
    from mistral_tui import cli

    cli.main()


if __name__ == "__main__":
    main()
