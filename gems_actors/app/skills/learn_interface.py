"""What learning a skill is given, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from gems_actors import __version__
from gems_actors.app.bulk.running.servers import WAIT_S
from gems_actors.app.options import DrawOptions
from gems_actors.app.skills.trial import TrialReport

Outcome = Literal["accepted", "nothing_accepted", "nothing_proposed", "budget_spent", "interrupted", "unavailable"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a proposal; the content of verdict.json."""

    accepted: bool
    reason: str
    trial: TrialReport | None = None
    """None for a proposal that was not tried."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How learning ended; the content of result.json."""

    outcome: Outcome
    proposals: int
    tried: int
    skill: str = ""
    """Id of the accepted skill; empty if there is none."""
    path: str = ""
    retired: tuple[str, ...] = ()
    images: int = 0
    calls: int = 0
    reason: str = ""
    """The trial that accepted it, or why there is none."""
    version: str = __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnOptions:
    """What `run` learns from, and in which folder."""

    out: Path
    """Folder to fill; one that an earlier call filled is continued."""
    run: str | None = None
    """Run to learn from: the folder of a bulk, or a run in memory."""
    file: Path | None = None
    """Or a file with prompts, of which a part is drawn for evidence."""
    skill: str | None = None
    """Id of the skill to change; by default a new one is learnt."""
    options: DrawOptions = field(default_factory=DrawOptions)
    samples: int = 4
    """Pictures of each held-out prompt, each way."""
    proposals: int = 4
    """Maximum number of proposals that are tried."""
    confidence: float = 0.98
    """Confidence at which a proposal must be better to be accepted."""
    max_images: int | None = None
    """Maximum images that all calls together may draw, never exceeded; by default there is no limit. The same applies
    to `max_calls` of chat models."""
    max_calls: int | None = None
    wait_for_servers_s: float = WAIT_S
    redirects_stderr: bool = False
