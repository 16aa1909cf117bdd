"""What memory answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from actors.memory_store.queries import answer
from actors.memory_store.store import MemoryStore
from protocol.messages import (
    AnyRecord,
    AttemptVerified,
    BestAttempt,
    CountRecords,
    FindBestAttempt,
    Hook,
    ListRuns,
    ListTrajectories,
    MetFigures,
    PlanPrompt,
    PromptDecomposed,
    PromptPlanned,
    PromptRefined,
    ReadLog,
    ReadRunFigures,
    ReadTimeline,
    ReadTrajectory,
    RecallExperiences,
    Recollection,
    Refinement,
    RoundFigures,
    RunFigures,
    SearchTrajectories,
    Spent,
    Timeline,
    TrajectoryStatus,
)
from tests.actors.fakes import attempt
from tests.actors.memory_store.records import begun, ended_again, failed, open_store, reopened, run_begun, story


def recollect(store: MemoryStore, prompt: str, limit: int = 3) -> Recollection:
    return answer(store, RecallExperiences(prompt=prompt, limit=limit))


def test_trajectories_are_listed_by_run_status_and_beginning_of_their_id(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.append([*story("one", 0), begun("one", 1), begun("one", 2), failed("one", 2), begun("two", 0)])
        everything = answer(store, ListTrajectories()).trajectories
        assert [(item.run, item.line, item.status) for item in everything] == [
            ("one", 0, "ended"),
            ("one", 1, "running"),
            ("one", 2, "failed"),
            ("two", 0, "running"),
        ]
        first = everything[0]
        assert (first.outcome, first.images, first.rounds, first.met, first.requirements) == ("all_met", 2, 2, 2, 2)
        assert (first.prompt, everything[2].failure) == ("a red fox", "backend")
        lines_by_status: dict[TrajectoryStatus, list[int]] = {"running": [1], "failed": [2], "ended": [0]}
        for status, lines in lines_by_status.items():
            found = answer(store, ListTrajectories(of_run="one", status=status)).trajectories
            assert [item.line for item in found] == lines
        found = answer(store, ListTrajectories(prefix=first.trajectory[:6])).trajectories
        assert found == (first,)
        assert answer(store, ListTrajectories(of_run="none")).trajectories == ()


def test_a_failed_trajectory_that_continues_is_running_again(tmp_path: Path) -> None:
    steps = story()
    with open_store(tmp_path) as store:
        store.append([steps[0], failed()])
        store.append([steps[1]])
        (found,) = answer(store, ListTrajectories()).trajectories
        assert (found.status, found.failure) == ("running", "")
        store.append(steps[2:])
        (run,) = store.index.list_runs(ListRuns()).runs
        assert (run.running, run.ended, run.failed, run.all_met, run.images) == (0, 1, 0, 1, 2)


def test_a_reopened_trajectory_is_running_until_it_ends_again_and_is_counted_once(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.append(story(outcome="refused", answers=("uu", "mu")))
        store.append([reopened()])
        (found,) = answer(store, ListTrajectories()).trajectories
        assert (found.status, found.outcome, found.images) == ("running", None, 0)
        (run,) = store.index.list_runs(ListRuns()).runs
        assert (run.running, run.ended, run.all_met, run.images) == (1, 0, 0, 0)
        store.append([failed()])
        store.append([ended_again()])
        assert store.append([ended_again(outcome="rounds_spent"), reopened()])[0][1] is False
    with open_store(tmp_path) as store:
        (found,) = answer(store, ListTrajectories()).trajectories
        assert (found.status, found.outcome, found.images) == ("ended", "all_met", 2)
        (run,) = store.index.list_runs(ListRuns()).runs
        assert (run.running, run.ended, run.failed, run.all_met, run.images) == (0, 1, 0, 1, 2)
        assert len(recollect(store, "a red fox").experiences) == 1
        store.append([reopened(reopening=2), ended_again(reopening=2)])
        assert answer(store, CountRecords()).recallable == 1


def test_a_failure_recorded_after_the_end_changes_nothing(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.append([*story(), failed()])  # as earlier versions recorded a refusal to draw it with another prompt
        (found,) = answer(store, ListTrajectories()).trajectories
        assert (found.status, found.outcome, found.failure) == ("ended", "all_met", "")
        assert answer(store, ReadTrajectory(trajectory=found.trajectory)).failure is None


def test_pages_follow_one_another_without_gap_or_overlap(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.append([begun(f"run {line}", line) for line in range(10)])
        lines, page = [], answer(store, ListTrajectories(limit=3))
        lines += [item.line for item in page.trajectories]
        while page.next is not None:
            page = answer(store, ListTrajectories(limit=3, after=page.next))
            lines += [item.line for item in page.trajectories]
        assert lines == list(range(10))
        runs = answer(store, ListRuns(limit=5))
        names = [item.run for item in runs.runs]
        while runs.next is not None:
            runs = answer(store, ListRuns(limit=5, before=runs.next))
            names += [item.run for item in runs.runs]
        assert names == [f"run {line}" for line in reversed(range(10))]


def test_a_run_is_listed_with_its_counts(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.append(
            [run_begun("bulk"), *story("bulk", 0), *story("bulk", 1, outcome="rounds_spent"), begun("bulk", 2)]
        )
        store.append([failed("bulk", 3), begun("bulk", 3), failed("bulk", 3)])
        (run,) = store.index.list_runs(ListRuns()).runs
        assert (run.run, run.what, run.total) == ("bulk", "bulk.txt", 2)
        assert (run.running, run.ended, run.failed, run.all_met, run.images) == (1, 2, 1, 1, 4)
        assert (run.began_at, run.last_at) == (1000.0, 1001.0)


def test_the_best_attempt_of_a_running_trajectory_is_found(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.append(story(answers=("mmu", "muu", "mmm"))[:-3])
        id_ = begun().trajectory
        found = answer(store, FindBestAttempt(trajectory=id_))
        assert found.attempt is not None
        assert found.attempt.round == 1
        assert answer(store, FindBestAttempt(trajectory="0" * 32)) == BestAttempt(
            attempt=None, decided_by="nothing has been drawn yet"
        )


def test_the_lesson_that_gained_most_is_recalled_with_the_evidence(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.append(story("run", 0, prompt="a red fox under a bridge", answers=("uuu", "muu", "mmm"), lesson="bridge"))
        store.append(story("run", 1, prompt="a bridge of stone", answers=("mu", "mu", "mm"), lesson="stone"))
        for line in range(2, 8):
            store.append(story("run", line, prompt="a green frog", lesson="frog"))
        found = recollect(store, "two foxes on a bridge")
        assert [item.text for item in found.experiences] == ["bridge (round 2)", "stone (round 2)"]
        assert (found.trajectories, found.gained) == (2, 2)
        first = found.experiences[0]
        assert (first.met_before, first.met_after, first.requirements) == (1, 3, 3)
        assert first.prompt == "a red fox under a bridge"
        assert len(recollect(store, "two foxes on a bridge", limit=1).experiences) == 1


@pytest.mark.parametrize(
    "records",
    [
        story(outcome="rounds_spent", answers=("uu", "mu")),
        story()[:-1],
        [*story()[:-1], failed()],
        story(answers=("mm",)),
    ],
    ids=["spent", "running", "failed", "no lesson"],
)
def test_only_successful_trajectories_with_a_lesson_are_recalled(tmp_path: Path, records: list[AnyRecord]) -> None:
    with open_store(tmp_path) as store:
        store.append(records)
        assert recollect(store, "a red fox") == Recollection(experiences=(), trajectories=0, gained=0)


def test_what_was_not_understood_does_not_keep_a_trajectory_from_being_recalled(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.append(story("bulk", outcome="checkable_met"))
        assert answer(store, CountRecords()).recallable == 1
        (run,) = store.index.list_runs(ListRuns()).runs
        assert (run.ended, run.all_met) == (1, 0)


def test_a_trajectory_with_a_prepared_prompt_is_recalled_by_that_prompt(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.append(story(prompt="ein Fuchs", answers=("mu", "mm"), hook=Hook(role="critic")))
        (lesson,) = recollect(store, "prepared").experiences
        assert (lesson.prompt, lesson.met_before, lesson.met_after) == ("ein Fuchs prepared", 1, 2)
        (listed,) = answer(store, ListTrajectories()).trajectories
        assert (listed.prompt, listed.met, listed.requirements) == ("ein Fuchs", 2, 2)


def test_the_same_lesson_is_recalled_once(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        for line in range(4):
            store.append(story("run", line))
        found = recollect(store, "a red fox")
        assert len(found.experiences) == 1
        assert (found.trajectories, found.gained) == (4, 4)


def test_the_log_is_read_after_a_sequence(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.append(story())
        found = answer(store, ReadLog(since=5, limit=2))
        assert [item.sequence for item in found.records] == [6, 7]
        assert found.last == 8


def test_counts_add_up(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.append([run_begun(), *story(), begun("run", 1), begun("run", 2), failed("run", 2)])
        found = answer(store, CountRecords())
        assert (found.records, found.runs, found.running, found.ended, found.failed) == (12, 1, 1, 1, 1)
        assert (found.recallable, found.archived) == (1, 0)
        assert found.log_bytes == (tmp_path / "log").stat().st_size


def test_other_requests_are_refused(tmp_path: Path) -> None:
    with open_store(tmp_path) as store, pytest.raises(TypeError, match="PlanPrompt"):
        answer(store, PlanPrompt(prompt="a fox"))


def search(store: MemoryStore, words: str, limit: int = 100) -> list[tuple[str, int]]:
    found = answer(store, SearchTrajectories(words=words, limit=limit)).trajectories
    return [(item.run, item.line) for item in found]


def test_a_search_finds_whatever_has_all_words_in_its_prompt_and_the_latest_first(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.append(
            story("one", 0, prompt="Two croissants, and a black elephant", answers=("uu",), outcome="rounds_spent")
        )
        store.append([begun("one", 1, "a black cat"), begun("two", 0, "an elephant in a red room"), failed("two", 0)])
        assert search(store, "elephants") == [("two", 0), ("one", 0)]
        assert search(store, "black elephant") == [("one", 0)]
        assert search(store, "the ELEPHANT, black") == [("one", 0)]
        assert search(store, "two croiss") == [("one", 0)], "the last word may be unfinished"
        assert search(store, "black zebra") == []
        for odd in ("the", '"', "* OR NEAR(", "\x00", "\udcff", "a" * 2000):
            assert search(store, odd) == []


def test_a_search_reads_page_by_page_also_while_trajectories_begin(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.append([begun("run", line, f"fox {line}") for line in range(7)])
        lines, page = [], answer(store, SearchTrajectories(words="fox", limit=3))
        while page.next is not None:
            lines += [item.line for item in page.trajectories]
            store.append([begun("later", len(lines), "fox")])
            page = answer(store, SearchTrajectories(words="fox", limit=3, before=page.next))
        assert [*lines, *(item.line for item in page.trajectories)] == [*range(6, -1, -1)]


def test_what_a_run_achieved_is_told_by_round_and_by_kind_with_its_failures_and_costs(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        assert answer(store, ReadRunFigures(of_run="run")) == RunFigures()
        store.append([*story("run", 0, answers=("mu", "um", "mm")), *story("run", 1, answers=("mm",))])
        store.append(
            [begun("run", 2), failed("run", 2), begun("run", 3), failed("run", 3), *story("other", answers=("uu",))]
        )
        id_ = begun("run", 2).trajectory
        store.append([PromptPlanned(trajectory=id_, prompt="a fox", spent=Spent(calls=2, cost=0.5)), failed("run", 2)])
        found = answer(store, ReadRunFigures(of_run="run"))
        assert (found.ended, found.requirements) == (2, 4)
        assert [(item.trajectories, item.gained) for item in found.rounds] == [(2, 3), (1, 0), (1, 1)]
        kind = story("run")[2].requirements[0].kind  # type: ignore[union-attr]
        assert found.kinds == {kind: MetFigures(met=4, total=4)}
        assert found.failures == {"backend": 2}
        assert found.spent == {"planner": Spent(calls=2, cost=0.5)}


def test_a_trajectory_that_is_reopened_counts_once_for_its_run_also_in_a_rebuilt_index(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.append(story("run", 0, answers=("mu", "mm")))
        store.append([reopened("run", 0)])
        assert answer(store, ReadRunFigures(of_run="run")) == RunFigures()
    with open_store(tmp_path) as store:  # the trajectory is read from the log again
        store.append([ended_again("run", 0)])
        once = answer(store, ReadRunFigures(of_run="run"))
        assert once.rounds == (RoundFigures(trajectories=1, gained=1), RoundFigures(trajectories=1, gained=1))
        assert [share.met for share in once.kinds.values()] == [1], "the first round is chosen now"
    with open_store(tmp_path) as store:
        store.append([reopened("run", 0, reopening=2)])
        assert answer(store, ReadRunFigures(of_run="run")) == RunFigures()
        store.append([ended_again("run", 0, reopening=2)])
        assert answer(store, ReadRunFigures(of_run="run")) == once
        store.reset_index()
        store.catch_up()
        assert answer(store, ReadRunFigures(of_run="run")) == once


def test_a_timeline_tells_when_each_role_worked_and_on_which_round(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        first = begun()
        id_ = first.trajectory
        assert answer(store, ReadTimeline(trajectory=id_)) == Timeline()
        drawn = structs.replace(attempt(1, "mu"), drawing=Spent(seconds=0.25), verifying=Spent(seconds=0.5))
        hasty = structs.replace(attempt(2, "mu"), drawing=Spent(seconds=0.25), verifying=Spent(seconds=9.0))
        refinement = Refinement(round=2, prompt="a redder fox")
        records: list[AnyRecord] = [
            first,
            PromptPlanned(trajectory=id_, prompt="a fox", spent=Spent(seconds=0.5)),
            PromptDecomposed(trajectory=id_, requirements=(), spent=Spent(seconds=1.5)),
            AttemptVerified(trajectory=id_, attempt=drawn),
            PromptRefined(trajectory=id_, refinement=refinement, spent=Spent(seconds=0.25)),
            AttemptVerified(trajectory=id_, attempt=hasty),
        ]
        for record in records:
            store.append([record])
        found = answer(store, ReadTimeline(trajectory=id_)).steps
        assert [(step.role, step.round, step.began_at - 1000.0, step.ended_at - 1000.0) for step in found] == [
            ("planner", 0, 0.5, 1.0),
            ("decomposer", 0, 0.5, 2.0),
            ("generator", 1, 2.25, 2.5),
            ("verifier", 1, 2.5, 3.0),
            ("refiner", 2, 3.75, 4.0),
            ("generator", 2, 4.0, 4.25),
            ("verifier", 2, 4.25, 5.0),
        ]
        assert found[-1].seconds == 9.0, "whose calls ran side by side"
