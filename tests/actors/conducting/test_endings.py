"""How trajectories end when a step fails, and continue once they are reopened: the real conductor and memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from actors.conducting.endings import outcome_if_met, outcome_of
from gems_actors import errors
from gems_actors.client import Mesh
from gems_actors.errors import BackendError, RefusedError, RequestError, error_of, failure_of
from protocol.identity import attempt_seed
from protocol.messages import (
    Answer,
    AnyRecord,
    AppendRecord,
    Budget,
    CompressAttempt,
    DrawPicture,
    DrawSettings,
    Failure,
    GenerateImage,
    ListRuns,
    ListTrajectories,
    Outcome,
    Picture,
    ReadLog,
    ReadTrajectory,
    RefinePrompt,
    Request,
    Requirement,
    TrajectoryEnded,
    TrajectoryRecord,
    TrajectoryReopened,
    VerifyImage,
)
from tests.actors.scripted import REQUIREMENTS, Script, draw_one, open_loop
from tests.gems_actors.cli.stories import REQUIREMENTS as THREE
from tests.gems_actors.cli.stories import attempt

TASK = DrawPicture(run="test", prompt="a red cat", seed=7)
REFUSAL = RefusedError("image server: answered 400: safety")


def outage(error: RequestError) -> RequestError:
    error.is_outage = True
    return error


def of_round(round_: int, kind: type[Request[Any]]) -> Callable[[Request[Any]], bool]:
    """Return whether a request is that of a role in a round."""

    def is_it(request: Request[Any]) -> bool:
        match request:
            case GenerateImage():
                found = int(request.prompt[1:])
            case VerifyImage():
                found = int(request.image.media_type[1:])
            case CompressAttempt() | RefinePrompt():
                found = request.round
            case _:
                return False
        return isinstance(request, kind) and found == round_

    return is_it


def failing(is_it: Callable[[Request[Any]], bool], error: RequestError, *, met_from_round: int = 9) -> Script:
    script = Script(met_from_round=met_from_round)
    script.broken = lambda request: error if is_it(request) else None
    return script


STEPS = [(2, GenerateImage), (2, VerifyImage), (1, CompressAttempt), (1, RefinePrompt), (2, CompressAttempt)]
FOR_GOOD: list[tuple[RequestError, Outcome]] = [
    (REFUSAL, "refused"),
    (RefusedError("chat server: finish_reason content_filter"), "refused"),
    (errors.PoisonedError("crashed 3 actors of role generator"), "failed_later"),
    (BackendError("image server: expected a picture, got HTML"), "failed_later"),
    (errors.ModelOutputError("expected JSON, got words"), "failed_later"),
    (errors.InternalError("refiner: KeyError: 'x'"), "failed_later"),
    (RequestError("a failure of the user's own role"), "failed_later"),
]
NOT_FOR_GOOD: list[RequestError] = [
    outage(BackendError("image server: all connection attempts failed")),
    outage(RefusedError("chat server: answered 401: wrong key")),
    errors.DeadlineError("not answered within 600 s"),
    errors.OverloadedError("1,000 requests wait"),
    errors.CancelledRequestError("run test was cancelled"),
    errors.BlobError("no space left"),
    errors.LogError("no space left"),
    errors.ForbiddenError("may not"),
    errors.UnansweredError("does not answer"),
]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [*FOR_GOOD, *((error, None) for error in NOT_FOR_GOOD)],
    ids=lambda value: str(value)[:40] if isinstance(value, Exception) else str(value),
)
def test_a_failure_of_this_one_request_ends_a_trajectory_and_any_other_does_not(
    error: RequestError, outcome: Outcome | None
) -> None:
    assert outcome_of(error) == outcome
    assert outcome_of(error_of(failure_of(error))) == outcome, "the same on the other side of the wire"


@pytest.mark.parametrize("code", ["deadline", "overloaded"])
def test_an_outage_is_one_also_if_the_peer_does_not_say_so(code: str) -> None:
    assert error_of(Failure(code=code, message="late")).is_outage
    assert not BackendError("a fault").is_outage, "one failure leaves its class as it was"


@pytest.mark.parametrize(("round_", "kind"), STEPS, ids=lambda value: getattr(value, "__name__", str(value)))
@pytest.mark.slow
async def test_a_step_that_fails_for_good_ends_the_trajectory_with_its_best_attempt(
    tmp_path: Path, round_: int, kind: type[Request[Any]]
) -> None:
    script = Script(met_from_round=9)
    async with open_loop(tmp_path, script) as mesh:
        for number, (error, outcome) in enumerate(FOR_GOOD):
            script.broken = failing(of_round(round_, kind), error).broken
            task = structs.replace(TASK, line=number)
            picture = await mesh.ask(task)
            assert (picture.ending.outcome, picture.best.round) == (outcome, 1)
            failure = picture.ending.failure
            assert failure is not None
            assert (failure.code, str(error) in failure.message) == (error.code, True)
            script.broken = lambda request: None
            assert await mesh.ask(task) == picture, "answered from memory"
            state = await mesh.ask(ReadTrajectory(trajectory=task.trajectory))
            assert (state.ending, state.failure, state.attempts) == (picture.ending, None, picture.attempts)


@pytest.mark.parametrize("kind", [GenerateImage, VerifyImage], ids=lambda kind: kind.__name__)
async def test_without_a_verified_attempt_the_trajectory_fails(tmp_path: Path, kind: type[Request[Any]]) -> None:
    script = failing(of_round(1, kind), REFUSAL)
    async with open_loop(tmp_path, script) as mesh:
        with pytest.raises(RefusedError, match="safety"):
            await mesh.ask(TASK)
        (listed,) = (await mesh.ask(ListTrajectories())).trajectories
        assert (listed.status, listed.failure) == ("failed", "refused")


@pytest.mark.slow
@pytest.mark.parametrize("error", [error for error in NOT_FOR_GOOD if not isinstance(error, errors.OverloadedError)])
async def test_another_failure_in_a_later_round_fails_the_trajectory_which_then_resumes(
    tmp_path: Path, error: RequestError
) -> None:
    script = failing(of_round(2, GenerateImage), error, met_from_round=2)
    async with open_loop(tmp_path, script) as mesh:
        with pytest.raises(type(error)):
            await mesh.ask(TASK)
        script.broken = lambda request: None
        assert (await mesh.ask(TASK)).all_met
    assert script.asked["plan"] == script.asked["refine"] == 1


async def test_an_unusable_answer_is_not_asked_for_again_because_its_role_has(tmp_path: Path) -> None:
    for error, asked in ((errors.ModelOutputError("expected JSON, got words"), 1), (BackendError("restarts"), 3)):
        script = failing(of_round(1, RefinePrompt), error)
        async with open_loop(tmp_path / error.code, script) as mesh:
            await mesh.ask(TASK)
        assert script.asked["refine"] == asked


@pytest.mark.parametrize("round_", [1, 2])
async def test_the_other_candidates_of_a_round_are_completed_and_can_be_the_best(tmp_path: Path, round_: int) -> None:
    task = structs.replace(TASK, settings=DrawSettings(candidates=3))
    refused = attempt_seed(task.seed, round_, 1)
    script = Script(met_from_round=9)
    script.broken = lambda request: REFUSAL if isinstance(request, GenerateImage) and request.seed == refused else None
    async with open_loop(tmp_path, script) as mesh:
        picture = await mesh.ask(task)
        script.met_from_round = 1
        other = await mesh.ask(structs.replace(task, line=1))
    assert (other.ending.outcome, other.ending.failure) == ("all_met", None), "a candidate that meets everything counts"
    places = [(attempt.round, attempt.candidate) for attempt in picture.attempts]
    earlier = [(1, candidate) for candidate in (1, 2, 3) if round_ == 2]
    assert places == [*earlier, (round_, 2), (round_, 3)]
    best = (1, 1) if round_ == 2 else (1, 2)
    assert (picture.ending.outcome, picture.ending.best_round, picture.ending.best_candidate) == ("refused", *best)


async def draw_from_every_step(mesh: Mesh, task: DrawPicture, records: list[AnyRecord], first: int) -> list[Picture]:
    """Return the pictures of runs whose conductor died after each of the records from the `first` on."""
    pictures = []
    for count in range(first, len(records)):
        again = structs.replace(task, run=f"died after {count}")
        for record in records[:count]:
            changes: dict[str, Any] = {"trajectory": again.trajectory}
            if hasattr(record, "task"):
                changes["task"] = structs.replace(record.task, run=again.run)
            await mesh.ask(AppendRecord(record=structs.replace(record, **changes)))
        pictures.append(await mesh.ask(again))
    return pictures


async def records_of(mesh: Mesh, task: DrawPicture) -> list[AnyRecord]:
    logged = (await mesh.ask(ReadLog(limit=1000))).records
    records = [item.record for item in logged if isinstance(item.record, TrajectoryRecord)]
    return [record for record in records if record.trajectory == task.trajectory]


@pytest.mark.parametrize("candidates", [1, 2])
@pytest.mark.parametrize(("round_", "kind"), STEPS, ids=lambda value: getattr(value, "__name__", str(value)))
@pytest.mark.slow
async def test_from_any_step_a_trajectory_that_fails_later_resumes_to_the_same_picture(
    tmp_path: Path, round_: int, kind: type[Request[Any]], candidates: int
) -> None:
    task = structs.replace(TASK, settings=DrawSettings(candidates=candidates))
    async with open_loop(tmp_path, failing(of_round(round_, kind), REFUSAL)) as mesh:
        whole = await mesh.ask(task)
        records = await records_of(mesh, task)
        assert isinstance(records[-1], TrajectoryEnded)
        for picture in await draw_from_every_step(mesh, task, records, 1):
            assert structs.replace(picture, trajectory=whole.trajectory) == whole


@pytest.mark.parametrize("max_calls", [9, 12, 13])
async def test_from_any_step_a_trajectory_with_a_budget_resumes_to_the_same_picture(
    tmp_path: Path, max_calls: int
) -> None:
    task = structs.replace(TASK, budget=Budget(max_calls=max_calls))
    async with open_loop(tmp_path, Script(met_from_round=9)) as mesh:
        whole = await mesh.ask(task)
        assert whole.ending.outcome == "budget_spent"
        for picture in await draw_from_every_step(mesh, task, await records_of(mesh, task), 1):
            assert structs.replace(picture, trajectory=whole.trajectory) == whole


def reopening(task: DrawPicture, rounds: int, number: int = 1) -> TrajectoryReopened:
    longer = structs.replace(task, settings=structs.replace(task.settings, max_rounds=rounds))
    return TrajectoryReopened(trajectory=task.trajectory, reopening=number, task=longer)


async def test_a_reopened_trajectory_continues_with_more_rounds_and_its_old_attempts(tmp_path: Path) -> None:
    task = structs.replace(TASK, settings=DrawSettings(max_rounds=2))
    script = Script(met_from_round=4)
    async with open_loop(tmp_path, script) as mesh:
        before = await mesh.ask(task)
        again = reopening(task, 5)
        await mesh.ask(AppendRecord(record=again))
        picture = await mesh.ask(again.task)
        assert picture.attempts[:2] == before.attempts
        assert (picture.ending.outcome, picture.best.round, picture.settings.max_rounds) == ("all_met", 4, 5)
        assert script.asked["plan"] == 1
        assert script.asked["generate"] == 4
        assert await mesh.ask(again.task) == picture
        assert await mesh.ask(task) == picture, "asked for with the first number of rounds, it is the same trajectory"
        (run,) = (await mesh.ask(ListRuns())).runs
        assert (run.ended, run.failed, run.running, run.all_met, run.images) == (1, 0, 0, 1, 4)
        with pytest.raises(RefusedError, match="begun with another prompt"):
            await mesh.ask(structs.replace(again.task, prompt="a blue cat"))


@pytest.mark.parametrize("rounds", [2, 3])
async def test_a_reopened_trajectory_that_finds_nothing_better_keeps_its_picture(tmp_path: Path, rounds: int) -> None:
    task = structs.replace(TASK, settings=DrawSettings(max_rounds=2))
    async with open_loop(tmp_path, Script(met_from_round=9)) as mesh:
        before = await mesh.ask(task)
        await mesh.ask(AppendRecord(record=reopening(task, rounds)))
        picture = await mesh.ask(task)
        assert (picture.ending.outcome, picture.best) == ("rounds_spent", before.best)
        assert len(picture.attempts) == rounds


async def test_a_refused_prompt_is_drawn_once_the_trajectory_is_reopened_and_the_server_accepts_it(
    tmp_path: Path,
) -> None:
    script = failing(of_round(2, GenerateImage), REFUSAL, met_from_round=2)
    async with open_loop(tmp_path, script) as mesh:
        assert (await mesh.ask(TASK)).ending.outcome == "refused"
        for number in (1, 2):  # refused again the first time
            await mesh.ask(AppendRecord(record=reopening(TASK, 5, number)))
            picture = await mesh.ask(TASK)
            assert picture.ending.outcome == ("refused" if number == 1 else "all_met")
            script.broken = lambda request: None
        assert picture.ending.failure is None


async def test_from_any_step_a_reopened_trajectory_resumes_to_the_same_picture(tmp_path: Path) -> None:
    task = structs.replace(TASK, settings=DrawSettings(max_rounds=1))
    script = failing(of_round(3, GenerateImage), REFUSAL)
    async with open_loop(tmp_path, script) as mesh:
        await mesh.ask(task)
        await mesh.ask(AppendRecord(record=reopening(task, 4)))
        whole = await mesh.ask(task)
        assert (whole.ending.outcome, len(whole.attempts)) == ("refused", 2)
        records = await records_of(mesh, task)
        first = next(number for number, record in enumerate(records, 1) if isinstance(record, TrajectoryReopened))
        for picture in await draw_from_every_step(mesh, task, records, first):
            assert structs.replace(picture, trajectory=whole.trajectory) == whole


@pytest.mark.parametrize(
    "changes",
    [
        {"prompt": "a blue cat"},
        {"seed": 8},
        {"settings": DrawSettings(max_rounds=9)},
        {"settings": DrawSettings(steps=9)},
    ],
    ids=["prompt", "seed", "rounds", "steps"],
)
@pytest.mark.parametrize("is_finished", [True, False])
@pytest.mark.slow
async def test_a_refusal_of_another_task_leaves_the_trajectory_as_it_was(
    tmp_path: Path, changes: dict[str, Any], is_finished: bool
) -> None:
    script = failing(of_round(2, GenerateImage), outage(BackendError("away")), met_from_round=2)
    if is_finished:
        script.broken = lambda request: None
    async with open_loop(tmp_path, script) as mesh:
        if is_finished:
            picture = await mesh.ask(TASK)
        else:
            with pytest.raises(BackendError):
                await mesh.ask(TASK)
        before = (await mesh.ask(ListRuns())).runs, (await mesh.ask(ReadLog())).last
        with pytest.raises(RefusedError, match="another run, line or sample"):
            await mesh.ask(structs.replace(TASK, **changes))
        assert ((await mesh.ask(ListRuns())).runs, (await mesh.ask(ReadLog())).last) == before
        script.broken = lambda request: None
        again = await mesh.ask(TASK)
        assert again.all_met
        assert not is_finished or again == picture


UNREAD = Requirement(id="r9", question='Is "chiaroscuro" shown?', kind="other", not_understood="chiaroscuro")


async def test_words_that_were_not_understood_cause_no_round_and_are_not_met(tmp_path: Path) -> None:
    script = Script(met_from_round=2)
    script.requirements = (*REQUIREMENTS, UNREAD)
    picture = await draw_one(tmp_path, script, TASK)
    assert (picture.ending.outcome, len(picture.attempts)) == ("checkable_met", 2)
    assert (picture.all_met, picture.not_understood) == (False, ("chiaroscuro",))


async def test_a_prompt_of_which_nothing_was_understood_is_drawn_once(tmp_path: Path) -> None:
    script = Script(met_from_round=9)
    script.requirements = (UNREAD,)
    picture = await draw_one(tmp_path, script, TASK)
    assert (picture.ending.outcome, len(picture.attempts), picture.all_met) == ("nothing_to_check", 1, False)


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        ([("met", "met", "met")], "all_met"),
        ([("met", "met", "unsure")], "checkable_met"),
        ([("met", "unmet", "unsure"), ("met", "met", "unsure")], "checkable_met"),
        ([("met", "unsure", "unsure")], None),
        ([("met", "unmet", "met")], None),
        ([("met", "met", "unmet")], None),
        ([], "nothing_to_check"),
    ],
)
def test_only_what_was_not_understood_may_be_left(
    rounds: list[tuple[Answer, Answer, Answer]], expected: Outcome | None
) -> None:
    requirements = (*THREE[:2], structs.replace(THREE[2], not_understood="at golden hour"))
    attempts = [attempt(number, *answers) for number, answers in enumerate(rounds, start=1)]
    assert outcome_if_met(requirements, attempts) == expected
