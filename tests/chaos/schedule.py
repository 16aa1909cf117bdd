"""What is run and which faults it meets, as a pure function of a seed.

The schedule replays; the interleaving of the processes does not. Faults are tied to moments of the run (its start, a
share of the tasks, its end), so that the same seed meets similar states on a slow machine and on a fast one.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Final, Literal

Moment = Literal["start", "drawing", "end"]
Need = Literal["", "small disk", "own disk", "servers"]

ROLES: Final = ("conductor", "planner", "decomposer", "generator", "verifier", "compressor", "refiner", "memory")
MAX_LOSSES: Final = 2
"""Losses of actors of one role in a run: a request that was in flight at four of them fails as `poisoned`."""
MAX_TASKS: Final = 24


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault, as far as the schedule needs to know it."""

    name: str
    targets: tuple[str, ...]
    moments: tuple[Moment, ...] = ("drawing",)
    lasting_s: tuple[float, float] = (0.0, 0.0)
    needs: Need = ""
    costs_actors: bool = False
    """Whether requests in flight at the target count it as the loss of an actor."""
    weight: int = 2


SERVED: Final = ("chat", "image")
EVERY_MOMENT: Final[tuple[Moment, ...]] = ("start", "drawing", "end")
KINDS: Final = (
    Kind("kill a role", ROLES, EVERY_MOMENT, costs_actors=True, weight=6),
    Kind("kill a router", ("router",), EVERY_MOMENT, weight=3),
    Kind("kill the parent of all roles", ("zygote",), EVERY_MOMENT),
    Kind("kill the picture server", ("blobs",)),
    Kind("kill the command", ("command",), EVERY_MOMENT, weight=4),
    Kind("kill everything at once", ("everything",), EVERY_MOMENT),
    Kind("stop a role", ROLES, EVERY_MOMENT, (0.2, 4.0), costs_actors=True, weight=4),
    Kind("stop another process", ("router", "zygote", "command"), lasting_s=(0.2, 4.0)),
    Kind("starve a process of CPU", (*ROLES, "router", "zygote", "command"), lasting_s=(0.5, 3.0)),
    Kind("limit the memory of a role", ROLES, lasting_s=(0.2, 2.0), costs_actors=True),
    Kind("use up the descriptors of a role", ROLES, lasting_s=(0.2, 2.0), costs_actors=True),
    Kind("signal the command", ("INT", "TERM", "HUP"), EVERY_MOMENT, weight=4),
    Kind("signal the command twice", ("INT", "TERM", "HUP"), EVERY_MOMENT),
    Kind("terminate a role", ROLES, costs_actors=True),
    Kind("fill the disk", ("disk",), EVERY_MOMENT, (0.3, 2.0), "small disk", weight=8),
    Kind("use up the inodes of the disk", ("disk",), EVERY_MOMENT, (0.3, 2.0), "small disk", weight=8),
    Kind("remount the pictures read-only", ("pictures",), lasting_s=(0.3, 2.0), needs="own disk", weight=8),
    Kind("step the clock", ("-86400", "-3600", "-3", "3", "3600", "2592000"), EVERY_MOMENT, (0.2, 3.0), weight=4),
    Kind("servers answer 500", SERVED, lasting_s=(0.2, 2.0), needs="servers", weight=4),
    Kind("servers are overloaded (429)", SERVED, lasting_s=(0.2, 2.0), needs="servers", weight=3),
    Kind("servers are slow", SERVED, lasting_s=(0.2, 2.0), needs="servers", weight=3),
    Kind("servers cut their answers", SERVED, lasting_s=(0.2, 2.0), needs="servers", weight=4),
    Kind("servers answer garbage", SERVED, lasting_s=(0.2, 2.0), needs="servers", weight=3),
    Kind("servers are away", SERVED, lasting_s=(0.2, 2.0), needs="servers", weight=4),
    Kind("pictures vanish", ("1", "3"), ("drawing", "end"), weight=3),
    Kind("pictures flip", ("1", "3"), ("drawing", "end"), weight=3),
)  # fmt: skip
BY_NAME: Final = {kind.name: kind for kind in KINDS}


@dataclass(frozen=True, slots=True)
class Shape:
    """A bulk and its mesh."""

    tasks: int
    concurrency: int
    models: Literal["storyboard", "servers"]
    store: Literal["folder", "mesh", "own disk"]
    conductors: int
    routers: int
    shards: int
    silence_s: float
    has_small_disk: bool

    def settings(self) -> tuple[str, ...]:
        """Return the settings of the mesh, without those of its servers and its disks."""
        return (
            f"roles.conductor.count={self.conductors}",
            f"router.count={self.routers}",
            f"memory.shards={self.shards}",
            f"router.heartbeat_s={self.silence_s / 6}",
            f"router.silence_s={self.silence_s}",
            *(('blobs="mesh:"',) if self.store == "mesh" else ()),
        )

    def fits(self, kind: Kind) -> bool:
        """Return whether a kind of fault can happen to this bulk."""
        return (
            (kind.needs != "small disk" or self.has_small_disk)
            and (kind.needs != "own disk" or self.store == "own disk")
            and (kind.needs != "servers" or self.models == "servers")
            and (kind.targets != ("blobs",) or self.store == "mesh")
        )


@dataclass(frozen=True, slots=True)
class Event:
    """A fault, when it begins and how long it lasts."""

    kind: str
    target: str
    moment: Moment
    share: float
    """Share of the tasks that are done when it begins, where the moment is `drawing`."""
    delay_s: float
    """Time from the moment to the fault."""
    lasting_s: float
    choice: float
    """From 0 to 1, to choose among several processes or files."""

    def __str__(self) -> str:
        when = f"{self.share:.0%} drawn" if self.moment == "drawing" else self.moment
        lasting = f" for {self.lasting_s:.1f} s" if self.lasting_s else ""
        return f"{when:>10} + {self.delay_s:.2f} s: {self.kind}: {self.target}{lasting}"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A bulk and what happens to it."""

    seed: int
    shape: Shape
    events: tuple[Event, ...]

    def __str__(self) -> str:
        return "\n".join((f"seed {self.seed}: {self.shape}", *(f"  {event}" for event in self.events)))


def schedule_of(seed: int) -> Schedule:
    """Return the schedule of a seed."""
    chance = random.Random(f"chaos {seed}")
    shape = _shape_of(chance)
    kinds = [kind for kind in KINDS if shape.fits(kind)]
    weights = [kind.weight for kind in kinds]
    losses, signals = Counter[str](), 0
    events: list[Event] = []
    for _ in range(chance.randint(4, 9)):
        (kind,) = chance.choices(kinds, weights)
        target = chance.choice(kind.targets)
        losses[target] += kind.costs_actors
        if losses[target] > MAX_LOSSES:
            continue
        signals += kind.name.startswith(("signal", "kill the command", "kill everything"))
        if kind.name.startswith("signal") and signals > 4:
            continue
        events.append(_event_of(kind, target, chance))
    return Schedule(seed, shape, tuple(sorted(events, key=_place_of)))


def _shape_of(chance: random.Random) -> Shape:
    return Shape(
        tasks=chance.randint(8, MAX_TASKS),
        concurrency=chance.choice((4, 8, 32)),
        models=chance.choice(("storyboard", "storyboard", "servers")),
        store=chance.choice(("folder", "folder", "mesh", "own disk")),
        conductors=chance.choice((1, 1, 2)),
        routers=chance.choice((1, 1, 2)),
        shards=chance.choice((1, 1, 3)),
        silence_s=chance.choice((2.0, 2.0, 6.0)),
        has_small_disk=chance.random() < 0.4,
    )


def _event_of(kind: Kind, target: str, chance: random.Random) -> Event:
    moment = chance.choice((*kind.moments, "drawing"))
    delay_s = {"start": chance.uniform(0.0, 2.0), "drawing": chance.uniform(0.0, 0.2), "end": chance.uniform(0.0, 0.6)}
    return Event(
        kind=kind.name,
        target=target,
        moment=moment,
        share=round(chance.uniform(0.0, 0.95), 2),
        delay_s=round(delay_s[moment], 2),
        lasting_s=round(chance.uniform(*kind.lasting_s), 1),
        choice=round(chance.random(), 3),
    )


def _place_of(event: Event) -> tuple[float, float]:
    place = {"start": -1.0, "drawing": event.share, "end": 1.0}[event.moment]
    return place, event.delay_s
