"""The sums of a bulk: how many pictures, and how well they do what was asked. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from gems_actors.app.bulk.rows import Row
from gems_actors.app.picture_files import cost_in_words
from protocol.costs import chat_cost
from protocol.limits import MAX_ROUNDS
from protocol.messages import Spent

_SHOWN_ROUNDS: Final = 6
"""In a line; of more the first and the last."""


@dataclass(slots=True)
class Share:
    """Requirements met, of how many."""

    pictures: int = 0
    met: int = 0
    total: int = 0

    def add(self, met: int, total: int) -> None:
        """Count the verdicts of one picture."""
        self.pictures += 1
        self.met += met
        self.total += total

    @property
    def rate(self) -> float | None:
        """0 to 1; None where there was nothing to meet."""
        return self.met / self.total if self.total else None


@dataclass(slots=True)
class Tally:
    """What a bulk has come to so far."""

    pictures: int = 0
    before: int = 0
    """Of these, how many were there before this run."""
    failed: int = 0
    images: int = 0
    all_met: int = 0
    chosen: Share = field(default_factory=Share)
    """Over the chosen pictures."""
    in_round: list[Share] = field(default_factory=lambda: [Share() for _ in range(MAX_ROUNDS)])
    """Over the best pictures drawn in each round; only prompts that needed the round are in it."""
    after_round: list[Share] = field(default_factory=lambda: [Share() for _ in range(MAX_ROUNDS)])
    """Over all prompts, each with its best picture up to that round."""
    last_round: int = 0
    spent: dict[str, Spent] = field(default_factory=dict)
    """By role, as far as the roles count it."""

    @property
    def chats(self) -> Spent:
        """What was spent on chat models."""
        return chat_cost(self.spent)

    def add(self, row: Row, *, is_from_before: bool = False) -> None:
        """Count one picture."""
        total = len(row.requirements)
        self.pictures += 1
        self.before += is_from_before
        self.images += row.images
        self.all_met += row.all_met
        self.chosen.add(row.met, total)
        self.last_round = max(self.last_round, row.rounds)
        best = 0
        for place in range(MAX_ROUNDS):
            if place < len(row.met_by_round):
                best = max(best, row.met_by_round[place])
                self.in_round[place].add(row.met_by_round[place], total)
            self.after_round[place].add(best, total)

    def recount(self, rows: Iterable[Row]) -> None:
        """Count all pictures anew, because some stand in place of others."""
        fresh = Tally(before=self.before, failed=self.failed, spent=self.spent)
        for row in rows:
            fresh.add(row)
        for name in self.__slots__:
            setattr(self, name, getattr(fresh, name))

    @property
    def images_per_picture(self) -> float | None:
        """Images drawn for one prompt, on average."""
        return self.images / self.pictures if self.pictures else None


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a bulk is at one moment."""

    tally: Tally
    total: int | None
    """Tasks in all, where that is known."""
    seconds: float
    """Since this process took it up."""
    in_hand: int = 0
    busy_share: float | None = None
    """Of the generators' devices, where they tell."""
    note: str = ""
    """What the user should know about what comes next; empty where there is nothing."""
    beside: int = 0
    """Pictures that are there and not of the tasks in all: of another part of the input, or drawn anew."""

    @property
    def finished(self) -> int:
        """Tasks that have an outcome."""
        return self.tally.pictures - self.beside + self.tally.failed

    @property
    def pictures_per_s(self) -> float:
        """Of those that this process drew."""
        return (self.tally.pictures - self.tally.before) / self.seconds if self.seconds > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Until the end, if it goes on like this; None where that cannot be told."""
        if self.total is None or not self.pictures_per_s:
            return None
        return max(0, self.total - self.finished) / self.pictures_per_s


def pace_of(standing: Standing) -> list[str]:
    """Tell how far a bulk is and how long it will take, each in a few words."""
    total = "" if standing.total is None else f" of {standing.total}"
    parts = [f"{standing.finished}{total}", f"{standing.pictures_per_s:.1f} pictures/s"]
    if standing.left_s:
        parts.append(f"{duration_in_words(standing.left_s)} left")
    return parts


def outcome_of(standing: Standing) -> list[str]:
    """Tell what a bulk has come to and what it costs, each in a few words."""
    tally, parts = standing.tally, []
    if tally.images_per_picture is not None:
        parts.append(f"{tally.images_per_picture:.2f} images each")
    if tally.chosen.rate is not None:
        rates = [f"{100 * (share.rate or 0.0):.1f}" for share in tally.after_round[: tally.last_round]]
        shown = rates if len(rates) <= _SHOWN_ROUNDS else [*rates[: _SHOWN_ROUNDS - 2], "..", rates[-1]]
        parts.append(f"{_percent(tally.chosen.rate)} met")
        parts.append(f"by round {' '.join(shown)} %")
    if standing.busy_share is not None:
        parts.append(f"devices busy {_percent(standing.busy_share)}")
    if tally.chats.tokens:
        parts.append(f"{tally.chats.tokens:,} tokens")
    if tally.chats.cost:
        parts.append(f"cost {tally.chats.cost:,.2f}")
    return [*parts, f"{tally.failed} failed"]


def progress_line(standing: Standing) -> str:
    """Tell in one line how far a bulk is."""
    line = ", ".join([*pace_of(standing), *outcome_of(standing)])
    return f"{line}; {standing.note}" if standing.note else line


def progress_event(standing: Standing) -> dict[str, Any]:
    """Return how far a bulk is as a tree for JSON; rates and shares are 0 to 1."""
    return {
        "event": "progress",
        "finished": standing.finished,
        "total": standing.total,
        "in_hand": standing.in_hand,
        "left_s": None if standing.left_s is None else round(standing.left_s, 1),
        "busy_share": _rounded(standing.busy_share),
        "note": standing.note,
        **summary_of(standing.tally, standing.seconds),
    }


def duration_in_words(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{seconds:.0f} s" if seconds < 100 else f"{hours} h {minutes} min" if hours else f"{minutes} min"


def summary_of(tally: Tally, seconds: float) -> dict[str, Any]:
    """Return the outcome of a bulk as a tree for JSON; rates are 0 to 1."""
    drawn = tally.pictures - tally.before
    return {
        "pictures": tally.pictures,
        "done_before": tally.before,
        "failures": tally.failed,
        "seconds": round(seconds, 3),
        "pictures_per_s": round(drawn / seconds, 3) if seconds > 0 else 0.0,
        "images": tally.images,
        "images_per_picture": _rounded(tally.images_per_picture),
        "all_met": tally.all_met,
        "met_rate": _rounded(tally.chosen.rate),
        "rounds": [
            {
                "round": place + 1,
                "met_rate_in_round": _rounded(tally.in_round[place].rate),
                "met_rate_after_round": _rounded(tally.after_round[place].rate),
            }
            for place in range(tally.last_round)
        ],
        "spent": msgspec.to_builtins(tally.spent),
    }


def summary_table(tally: Tally, seconds: float | None) -> Iterator[str]:
    """Tell the outcome of a bulk in lines; without the time that it took where that is not known."""
    drawn = tally.pictures - tally.before
    yield f"pictures           {tally.pictures}" + (f" ({tally.before} done before)" if tally.before else "")
    yield f"failed             {tally.failed}"
    if seconds is not None:
        yield f"seconds            {seconds:.1f}" + (
            f" ({drawn / seconds:.1f} pictures/s)" if drawn and seconds else ""
        )
    if tally.images_per_picture is not None:
        yield f"images a picture   {tally.images_per_picture:.2f}"
        yield f"all met            {tally.all_met} of {tally.pictures}"
    for role, cost in sorted(tally.spent.items()):
        if words := cost_in_words(cost):
            yield f"{role:<18} {words}, {cost.seconds:,.1f} s"
    if words := cost_in_words(tally.chats):
        yield f"all chat models    {words}"
    if tally.chosen.rate is None:
        return
    yield f"requirements met   {_percent(tally.chosen.rate)} in the chosen pictures"
    for place in range(tally.last_round):
        after, within = tally.after_round[place].rate or 0.0, tally.in_round[place].rate
        of_round = f", {_percent(within)} in the pictures of that round" if within is not None else ""
        yield f"  after round {place + 1:<2}   {_percent(after)}{of_round}"


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 4)
