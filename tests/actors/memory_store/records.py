"""Makes records, and stores filled with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from msgspec import structs

from actors.memory_store.index import DEFAULT_LIMITS, StoreLimits
from actors.memory_store.store import MemoryStore, open_memory_store
from protocol.identity import trajectory_id
from protocol.messages import (
    AnyRecord,
    AttemptPlace,
    AttemptVerified,
    DrawPicture,
    DrawSettings,
    Ending,
    Experience,
    ExperienceKept,
    Failure,
    Hook,
    Note,
    Outcome,
    PromptDecomposed,
    PromptPlanned,
    PromptPrepared,
    PromptRefined,
    Refinement,
    RefinementNoted,
    Review,
    RunBegun,
    TrajectoryBegun,
    TrajectoryEnded,
    TrajectoryFailed,
    TrajectoryReopened,
    VerdictsReviewed,
)
from tests.actors.fakes import attempt, image_ref, requirement


@contextmanager
def open_store(folder: Path, start: float = 1000.0, limits: StoreLimits = DEFAULT_LIMITS) -> Iterator[MemoryStore]:
    """Open a store whose clock advances by one second with each commit."""
    seconds = count()
    with open_memory_store(folder, clock=lambda: start + next(seconds), limits=limits) as store:
        yield store


def run_begun(run: str = "run") -> RunBegun:
    return RunBegun(run=run, what=f"{run}.txt", total=2)


def begun(run: str = "run", line: int = 0, prompt: str = "a red fox") -> TrajectoryBegun:
    task = DrawPicture(run=run, line=line, prompt=prompt, seed=line)
    return TrajectoryBegun(trajectory=task.trajectory, task=task)


def failed(run: str = "run", line: int = 0) -> TrajectoryFailed:
    return TrajectoryFailed(
        trajectory=trajectory_id(run, line, 0), failure=Failure(code="backend", message="the server is away")
    )


def reopened(run: str = "run", line: int = 0, *, reopening: int = 1, rounds: int = 9) -> TrajectoryReopened:
    task = structs.replace(begun(run, line).task, settings=DrawSettings(max_rounds=rounds))
    return TrajectoryReopened(trajectory=task.trajectory, reopening=reopening, task=task)


def ended_again(
    run: str = "run", line: int = 0, *, outcome: Outcome = "all_met", reopening: int = 1
) -> TrajectoryEnded:
    ending = Ending(outcome=outcome, best_round=1, best_candidate=1, decided_by="most met")
    return TrajectoryEnded(trajectory=trajectory_id(run, line, 0), ending=ending, reopening=reopening)


def story(
    run: str = "run",
    line: int = 0,
    *,
    prompt: str = "a red fox",
    answers: tuple[str, ...] = ("mu", "mm"),
    lesson: str = "say red first",
    outcome: Outcome = "all_met",
    hook: Hook | None = None,
) -> list[AnyRecord]:
    """Return the records of a whole trajectory, with a round for each of `answers`.

    With a hook, there are its records, too; then its verdicts are `answers`, and the verifier's are all met.
    """
    first = begun(run, line, prompt)
    id_ = first.trajectory
    records: list[AnyRecord] = [first]
    if hook is not None:
        records.append(PromptPrepared(trajectory=id_, prompt=f"{prompt} prepared", hook=hook))
    records += [
        PromptPlanned(trajectory=id_, prompt=f"{prompt}, in oils", reasoning="oils suit foxes"),
        PromptDecomposed(
            trajectory=id_, requirements=tuple(requirement(f"r{n}") for n in range(1, len(answers[0]) + 1))
        ),
    ]
    for round_, answer in enumerate(answers, 1):
        verified = answer if hook is None else "m" * len(answer)
        records.append(AttemptVerified(trajectory=id_, attempt=attempt(round_, verified)))
        if hook is not None:
            review = Review(round=round_, candidate=1, verdicts=attempt(round_, answer).verdicts)
            records.append(VerdictsReviewed(trajectory=id_, review=review, hook=hook))
        if round_ < len(answers):
            experience = Experience(round=round_, text=f"{lesson} (round {round_})")
            refinement = Refinement(round=round_ + 1, prompt=f"{prompt}, again", reasoning=f"because of round {round_}")
            records.append(ExperienceKept(trajectory=id_, experience=experience))
            if hook is not None:
                note = Note(round=round_, text="redder")
                records.append(RefinementNoted(trajectory=id_, note=note, hook=hook))
            records.append(PromptRefined(trajectory=id_, refinement=refinement))
    ending = Ending(outcome=outcome, best_round=len(answers), best_candidate=1, decided_by="most met")
    return [*records, TrajectoryEnded(trajectory=id_, ending=ending)]


def edited_story() -> list[AnyRecord]:
    """Return the records of a task with a reference: a round, an edit of its second candidate, and another prompt."""
    first, *steps = story(answers=("mu",))[:-1]
    assert isinstance(first, TrajectoryBegun)
    id_, place = first.trajectory, AttemptPlace(round=1, candidate=2)
    first = structs.replace(first, task=structs.replace(first.task, references=(image_ref(b"given"),)))
    edit = Refinement(round=2, prompt="Make the fox blue.", action="edit", edited=place)
    return [
        first,
        *steps,
        PromptRefined(trajectory=id_, refinement=edit),
        AttemptVerified(trajectory=id_, attempt=structs.replace(attempt(2, "mu"), edited=place)),
        PromptRefined(trajectory=id_, refinement=Refinement(round=3, prompt="a blue fox")),
        AttemptVerified(trajectory=id_, attempt=attempt(3, "mu")),
    ]
