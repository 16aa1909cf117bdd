"""Foreign bytes lead to a value or to the documented error: seeds, cases that were found once, and mutations."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from random import Random

import pytest

from tests.fuzzing import TARGETS
from tests.fuzzing.mutations import mutate

CASES = Path(__file__).with_name("cases")
SHORT = {"memory_logs": 40, "picture_bytes": 100, "settings_files": 100, "prompt_files": 150}
"""Mutations of targets that are slow."""


def case_of(path: Path) -> object:
    return pytest.param(path.parent.name, path, id=f"{path.parent.name}-{path.name}")


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.slow
def test_real_inputs_and_their_mutations_are_read_or_refused(name: str) -> None:
    target = import_module(f"tests.fuzzing.{name}")
    seeds: list[bytes] = target.seeds()
    dice = Random(15)
    for seed in seeds:
        target.check(seed)
    for _ in range(SHORT.get(name, 500)):
        data = mutate(dice.choice(seeds), dice, seeds)
        try:
            target.check(data)
        except Exception as error:
            error.add_note(f"save these bytes in tests/fuzzing/cases/{name}/: {data!r}")
            raise


@pytest.mark.parametrize(("name", "path"), [case_of(path) for path in sorted(CASES.glob("*/*"))])
def test_a_case_that_was_found_once_stays_mended(name: str, path: Path) -> None:
    import_module(f"tests.fuzzing.{name}").check(path.read_bytes())
