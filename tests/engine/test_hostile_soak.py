"""Thousands of models damaged at random; by hand, with `make soak`. Prints what came of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.test_hostile_files import LAYOUTS, Victim, damage_and_open, write_models

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

TIMES = 4000


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("sound"))


@pytest.fixture(scope="module")
def victim(models: Path) -> Iterator[Victim]:
    victim = Victim(models / "native")
    yield victim
    victim.close()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_damage_without_end(models: Path, victim: Victim, tmp_path: Path, layout: str) -> None:
    results = damage_and_open(victim, models / layout, tmp_path, range(1000, 1000 + TIMES))
    print(f"{layout}: {dict(results)}")
    assert results.total() == TIMES


def test_damaged_tokenizers_without_end(models: Path, victim: Victim, tmp_path: Path) -> None:
    results = damage_and_open(victim, models / "whole", tmp_path, range(TIMES), tokenizer=True)
    print(f"tokenizers: {dict(results)}")
    assert results.total() == TIMES
