"""The totals of a bulk: how many pictures there are, and how many requirements they meet. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import msgspec

from gems_actors.app.bulk.rows import Row
from gems_actors.app.picture_files import BLIND_VERIFIER, format_cost
from gems_actors.terminal_text import printable
from protocol.costs import chat_cost
from protocol.messages import Spent

_SHOWN_REASON_CHARS: Final = 100
_SHOWN_ROUNDS: Final = 6
"""Rounds in a line of progress; of more rounds, the first ones and the last."""
_COMPLETE: Final = ("all_met", "checkable_met", "rounds_spent", "nothing_to_check", "refiner_stopped")
"""Outcomes of tasks that ended because nothing was left to do; the others ended early."""


@dataclass(slots=True)
class Share:
    """How many requirements are met, over some pictures."""

    pictures: int = 0
    met: int = 0
    total: int = 0

    def add(self, met: int, total: int) -> None:
        """Add the verdicts of one picture."""
        self.pictures += 1
        self.met += met
        self.total += total

    @property
    def rate(self) -> float | None:
        """Share of requirements met, 0 to 1; None without requirements."""
        return self.met / self.total if self.total else None


@dataclass(slots=True)
class FailureClass:
    """The failed tasks of one class, such as `backend`."""

    first_reason: str
    count: int = 0


def add_failure(failures: dict[str, FailureClass], class_: str, reason: str) -> None:
    """Add a failed task to those of its class."""
    failures.setdefault(class_, FailureClass(reason)).count += 1


@dataclass(slots=True)
class Tally:
    """Counts over the pictures of a bulk."""

    pictures: int = 0
    before: int = 0
    """Pictures that existed before this process."""
    failures: dict[str, FailureClass] = field(default_factory=dict)
    """Failed tasks by class."""
    images: int = 0
    all_met: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    """Number of pictures by outcome."""
    actions: Counter[str] = field(default_factory=Counter)
    """How often the refiner decided otherwise than to rewrite the prompt, by action."""
    judged_blind: int = 0
    """Pictures with verdicts of a verifier that sees none."""
    skills: dict[str, str] = field(default_factory=dict)
    """Digest of each skill that a picture was drawn with, that of the latest one."""
    chosen: Share = field(default_factory=Share)
    """Share of the chosen pictures."""
    in_round: list[Share] = field(default_factory=list)
    """Shares of the best pictures of each round, over the prompts that needed the round."""
    after_round: list[Share] = field(default_factory=list)
    """Shares of the best pictures up to each round, over all prompts."""
    last_round: int = 0
    spent: dict[str, Spent] = field(default_factory=dict)
    """Cost by role, for roles that report it."""

    @property
    def chats(self) -> Spent:
        """Cost of all chat models."""
        return chat_cost(self.spent)

    def add(self, row: Row, *, is_from_before: bool = False) -> None:
        """Add one picture."""
        total = len(row.requirements)
        self.pictures += 1
        self.before += is_from_before
        self.images += row.images
        self.all_met += row.all_met
        self.outcomes[row.outcome] += 1
        self.actions.update(action for action in row.actions if action != "rewrite")
        self.judged_blind += row.judged_blind
        if row.skill is not None:
            self.skills[row.skill] = "" if row.skill_digest is msgspec.UNSET else row.skill_digest
        self.chosen.add(row.met, total)
        for _ in range(self.last_round, row.rounds):  # earlier pictures had reached their best before such a round
            self.in_round.append(Share())
            self.after_round.append(replace(self.after_round[-1]) if self.after_round else Share())
        self.last_round = max(self.last_round, row.rounds)
        best = 0
        for index, share in enumerate(self.after_round):
            if index < len(row.met_by_round):
                best = max(best, row.met_by_round[index])
                self.in_round[index].add(row.met_by_round[index], total)
            share.add(best, total)

    @property
    def failed(self) -> int:
        """Number of failed tasks."""
        return sum(found.count for found in self.failures.values())

    @property
    def checkable_met(self) -> int:
        """Pictures that meet everything except words of the prompt that were not understood."""
        return self.outcomes["checkable_met"]

    @property
    def ended_early(self) -> str:
        """How many tasks ended early, by outcome, such as `3 refused, 1 failed later`; empty if none did."""
        early = ((name, count) for name, count in self.outcomes.most_common() if name not in _COMPLETE)
        return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in early)

    @property
    def images_per_picture(self) -> float | None:
        """Mean number of images drawn per picture."""
        return self.images / self.pictures if self.pictures else None


@dataclass(frozen=True, slots=True)
class BulkProgress:
    """The progress of a bulk at one moment."""

    tally: Tally
    total: int | None
    """Number of tasks, or None while it is unknown."""
    seconds: float
    """Time since this process began to draw, without pauses."""
    in_flight: int = 0
    """Tasks that are being drawn."""
    left_s: float | None = None
    """Seconds that the run is expected to take from now on; None while that is unknown."""
    cohort: Tally | None = None
    """The pictures in the order of their tasks up to the first one in flight; by default all pictures."""
    busy_share: float | None = None
    """Share of time, 0 to 1, that the generators' devices are busy, if they report it."""
    note: str = ""
    """Note for the user on what happens next; may be empty."""
    images: tuple[int, int | None] | None = None
    """Images that the run has drawn or granted, and its budget or None while that is unknown; None without a budget."""
    uncounted: int = 0
    """Pictures in the tally that are not in `total`: of another part of the input, or about to be replaced."""

    @property
    def finished(self) -> int:
        """Tasks with an outcome."""
        return self.tally.pictures - self.uncounted + self.tally.failed

    @property
    def pictures_per_s(self) -> float:
        """Rate of this process."""
        return (self.tally.pictures - self.tally.before) / self.seconds if self.seconds > 0 else 0.0


def rate_parts(progress: BulkProgress) -> list[str]:
    """Return count, rate and remaining time, a few words each."""
    total = "" if progress.total is None else f" of {progress.total}"
    parts = [f"{progress.finished}{total}"]
    if progress.in_flight:
        parts.append(f"{progress.in_flight} in flight")
    parts.append(f"{progress.pictures_per_s:.1f} pictures/s")
    if progress.left_s and progress.in_flight:
        parts.append(f"about {format_duration(progress.left_s)} left")
    return parts


def result_parts(progress: BulkProgress) -> list[str]:
    """Return results and costs, a few words each."""
    tally, parts = progress.cohort or progress.tally, []
    if tally.images_per_picture is not None:
        parts.append(f"{tally.images_per_picture:.2f} images each")
    if tally.chosen.rate is not None:
        rates = [f"{100 * (share.rate or 0.0):.1f}" for share in tally.after_round[: tally.last_round]]
        shown = rates if len(rates) <= _SHOWN_ROUNDS else [*rates[: _SHOWN_ROUNDS - 2], "..", rates[-1]]
        blind = " (blind verifier)" if tally.judged_blind else ""
        parts.append(f"{_percent(tally.chosen.rate)} met{blind}")
        parts.append(f"by round {' '.join(shown)} %")
    if progress.images is not None:
        spent, budget = progress.images
        parts.append(f"{spent} images" + ("" if budget is None else f" of {budget}"))
    if progress.busy_share is not None:
        parts.append(f"devices busy {_percent(progress.busy_share)}")
    chats = progress.tally.chats
    if chats.tokens:
        parts.append(f"{chats.tokens:,} tokens")
    if chats.cost:
        parts.append(f"cost {chats.cost:,.2f}")
    if progress.tally.ended_early:
        parts.append(f"ended early: {progress.tally.ended_early}")
    return [*parts, f"{progress.tally.failed} failed"]


def progress_line(progress: BulkProgress) -> str:
    """Return the progress of a bulk as one line."""
    line = ", ".join([*rate_parts(progress), *result_parts(progress)])
    return f"{line}; {progress.note}" if progress.note else line


def progress_event(progress: BulkProgress) -> dict[str, Any]:
    """Return the progress of a bulk as a tree for JSON; rates and shares are 0 to 1."""
    return {
        "event": "progress",
        "finished": progress.finished,
        "total": progress.total,
        "in_hand": progress.in_flight,
        "left_s": None if progress.left_s is None else round(progress.left_s, 1),
        "busy_share": _rounded(progress.busy_share),
        "image_budget": None if progress.images is None else {"spent": progress.images[0], "of": progress.images[1]},
        "note": progress.note,
        **summary_of(progress.tally, progress.seconds),
        **_rates_of(progress.cohort or progress.tally),
    }


def format_duration(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours."""
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{seconds:.0f} s" if seconds < 100 else f"{hours} h {minutes} min" if hours else f"{minutes} min"


def summary_of(tally: Tally, seconds: float) -> dict[str, Any]:
    """Return the totals of a bulk as a tree for JSON; rates are 0 to 1."""
    drawn = tally.pictures - tally.before
    return {
        "pictures": tally.pictures,
        "done_before": tally.before,
        "failures": tally.failed,
        "failure_classes": {class_: asdict(found) for class_, found in sorted(tally.failures.items())},
        "seconds": round(seconds, 3),
        "pictures_per_s": round(drawn / seconds, 3) if seconds > 0 else 0.0,
        "images": tally.images,
        "all_met": tally.all_met,
        "checkable_met": tally.checkable_met,
        "outcomes": dict(sorted(tally.outcomes.items())),
        "actions": dict(sorted(tally.actions.items())),
        **_rates_of(tally),
        "spent": msgspec.to_builtins(tally.spent),
    }


def _rates_of(tally: Tally) -> dict[str, Any]:
    return {
        "images_per_picture": _rounded(tally.images_per_picture),
        "met_rate": _rounded(tally.chosen.rate),
        "judged_blind": tally.judged_blind,
        "rounds": [
            {
                "round": index + 1,
                "met_rate_in_round": _rounded(tally.in_round[index].rate),
                "met_rate_after_round": _rounded(tally.after_round[index].rate),
            }
            for index in range(tally.last_round)
        ],
    }


def summary_table(tally: Tally, seconds: float | None) -> Iterator[str]:
    """Yield the totals of a bulk as lines; without the time if it is None."""
    drawn = tally.pictures - tally.before
    yield f"pictures           {tally.pictures}" + (f" ({tally.before} done before)" if tally.before else "")
    yield f"failed             {tally.failed}"
    for class_, found in sorted(tally.failures.items()):
        yield f"  {printable(class_):<16} {found.count}: {_shortened(printable(found.first_reason))}"
    if seconds is not None:
        rate = f" ({drawn / seconds:.1f} pictures/s)" if drawn and seconds else ""
        yield f"seconds            {seconds:.1f}{rate}"
    if tally.images_per_picture is not None:
        yield f"images per picture {tally.images_per_picture:.2f}"
        yield f"all met            {tally.all_met} of {tally.pictures}"
        if tally.checkable_met:
            yield f"checkable met      {tally.checkable_met} of {tally.pictures}; other words were not understood"
    if tally.ended_early:
        yield f"ended early        {tally.ended_early}"
    if tally.actions:
        yield f"refiner            {', '.join(f'{count} {name}' for name, count in tally.actions.most_common())}"
    for role, cost in sorted(tally.spent.items()):
        if text := format_cost(cost):
            yield f"{role:<18} {text}, {cost.seconds:,.1f} s"
    if text := format_cost(tally.chats):
        yield f"all chat models    {text}"
    if tally.chosen.rate is None:
        return
    yield f"requirements met   {_percent(tally.chosen.rate)} in the chosen pictures"
    if tally.judged_blind:
        yield f"judged blind       {tally.judged_blind} of {tally.pictures}; {BLIND_VERIFIER}"
    for index in range(tally.last_round):
        after, within = tally.after_round[index].rate or 0.0, tally.in_round[index].rate
        of_round = f", {_percent(within)} in the pictures of that round" if within is not None else ""
        yield f"  after round {index + 1:<2}   {_percent(after)}{of_round}"


def _shortened(reason: str) -> str:
    return reason if len(reason) <= _SHOWN_REASON_CHARS else f"{reason[: _SHOWN_REASON_CHARS - 3]}..."


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 4)
