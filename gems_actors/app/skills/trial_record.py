"""The record of a trial in memory, where reports find it."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from gems_actors.client import Mesh
from protocol.envelope import Lane
from protocol.messages import AppendRecord, CountSkills, SkillTried

if TYPE_CHECKING:
    from gems_actors.app.skills.trial import TrialReport


def tried(report: TrialReport) -> SkillTried:
    """Return the record of a trial; the same result has the same id."""
    evidence = report.evidence
    found = evidence.requirements
    parts = [report.skill, report.digest, report.against, report.seed, report.models, report.settings, evidence]
    return SkillTried(
        trial=blake2b(msgspec.json.encode(parts), digest_size=8).hexdigest(),
        skill=report.skill,
        digest=report.digest,
        against=report.against,
        prompts=evidence.prompts,
        pictures=evidence.pictures,
        verdict=evidence.verdict,
        change=found.change,
        low=found.change if found.low is None else found.low,
        high=found.change if found.high is None else found.high,
        confidence=evidence.confidence,
    )


async def record_trial(mesh: Mesh, report: TrialReport) -> None:
    """Record a trial in the memory of a mesh, once.

    Raises:
        RequestError: memory failed.
    """
    record = tried(report)
    known = await mesh.ask(CountSkills())
    if all(trial.trial.trial != record.trial for trial in known.trials):
        await mesh.ask(AppendRecord(record=record), lane=Lane.BULK)
