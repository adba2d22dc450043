"""Make docs/screenshot.svg: the real app with the real starter model.

python docs/make_screenshot.py [--size 100x30] [--theme mistral-dark] [--out FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import tempfile
import time
from pathlib import Path

from inference import starter

PROMPTS = (
    "What is the capital of France?",
    "Write a Python function that reverses a string, with a short explanation.",
)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="100x30")
    parser.add_argument("--theme", default="mistral-dark")
    parser.add_argument("--out", default=str(Path(__file__).parent / "screenshot.svg"))
    options = parser.parse_args()
    model = str(starter.ensure())
    columns, rows = map(int, options.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        for name in ("DATA", "STATE", "CONFIG"):
            os.environ[f"MISTRAL_TUI_{name}"] = folder
        from mistral_tui.app import ChatApp
        from mistral_tui.choices import ModelChoice, SamplingChoice

        sampling = SamplingChoice(seed=3, max_tokens=220)
        app = ChatApp(ModelChoice(model), sampling=sampling, theme_name=options.theme)
        async with app.run_test(size=(columns, rows)) as pilot:

            async def until(done: object) -> None:
                deadline = time.monotonic() + 120
                while not done():  # type: ignore[operator]
                    assert time.monotonic() < deadline, "it takes too long"
                    await pilot.pause(0.1)

            await until(lambda: app.begun and app.session.engine == "ready")
            for number, prompt in enumerate(PROMPTS):
                app.prompt.put(prompt)
                await pilot.press("enter")
                replies = number + 1
                await until(
                    lambda replies=replies: (
                        len(app.session.messages) == 2 * replies and not app.session.answering
                    )
                )
            await pilot.pause(0.3)
            picture = app.export_screenshot(title="mistral-tui")
            # No font from elsewhere: the reader's own monospaced one will do.
            picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.S)
            Path(options.out).write_text(picture)
        await app.leave()


if __name__ == "__main__":
    asyncio.run(main())
