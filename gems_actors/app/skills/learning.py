"""Learns a skill: distils evidence, has the curator propose, tries proposals on held-out prompts, accepts what helps.

    plan.json                    the split of the prompts and the settings, written once
    evidence/                    with prompts: the bulk that draws those that give evidence
    evidence.json                what its refinements achieved, as the curator is shown it
    skills/                      the skill to change and the candidates, as the mesh of this command offers them
    proposals/1/proposal.json    what the curator proposed, and its cost; asked.json, how often it was asked
    proposals/1/without, with/   the two bulks of its trial, with trial.json and trial.html
    proposals/1/verdict.json     whether it was accepted, and why
    result.json                  the end of it

Each step begins once the one before is on disk, and what is there is not done again: killed at any moment, the same
command goes on, and draws no image twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from gems_actors import __version__
from gems_actors.app.bulk.rows import rows_of
from gems_actors.app.interrupts import open_interrupts
from gems_actors.app.options import DrawOptions
from gems_actors.app.picture_files import OutputError, check_writable, write_whole
from gems_actors.app.skills.budget import ASKED, Spending, check_calls, limits_of, most_of
from gems_actors.app.skills.evidence import Distilled, distil
from gems_actors.app.skills.learn_files import read_json, write_json, write_records
from gems_actors.app.skills.learn_interface import LearnOptions, Outcome, Result, Verdict
from gems_actors.app.skills.plan import MAX_PROPOSALS, Plan, Record
from gems_actors.app.skills.preparing import keep_parent, of_one_round, plan_of
from gems_actors.app.skills.proposals import Candidate, UnfitProposalError, candidate_of, rejection_of
from gems_actors.app.skills.shelf import GAIN_KEY, Accepted, Shelf
from gems_actors.app.skills.trial import (
    NONE,
    WITH,
    WITHOUT,
    TrialReport,
    TrialView,
    find_skill,
    read_trial,
    write_trial,
)
from gems_actors.app.skills.trial_page import interval, points
from gems_actors.app.skills.trial_record import record_trial
from gems_actors.app.skills.workbench import SKILLS_FOLDER, BenchOptions, Workbench, open_workbench
from gems_actors.config.skill_folders import learnt_skills_folder
from gems_actors.errors import ConfigError, UsageError
from gems_actors.locks import LockHeldError, hold_lock
from gems_actors.transport.sockets import require_trio
from protocol.messages import ProposeSkill, ReadTrajectory, RejectedProposal, SkillProposal, SkillVersion
from skills import Skill, load_skill
from skills.editing import MAX_INSTRUCTIONS_CHARS, skill_text
from skills.parsing import FILE_NAME

MAX_UNFIT: Final = 4
"""Proposals that do not fit the skill, or repeat one that was rejected, after which the curator has nothing more."""


async def run(options: LearnOptions, view: TrialView | None = None) -> Result:
    """Learn from a run or from prompts; called again with the same options, go on where it stopped.

    Raises:
        UsageError: the source, the skill or the folder cannot be used, or the folder is that of another task.
        GemsError: as `bulk.run`.
    """
    require_trio("app.skills.learning.run")
    view = view or TrialView()
    if options.skill is not None and not options.out.exists():  # a mistyped id leaves no folder
        find_skill(options.skill, options.options, "--skill")
    try:
        check_writable(options.out)
        with hold_lock(options.out / "learn.lock"):
            done = read_json(options.out / "result.json", Result)
            if done is not None and not _may_continue(done, options):
                return done
            return await _run(options, view)
    except LockHeldError as error:
        raise UsageError(
            f"--out: {options.out}: expected a folder that no other command fills, got one {error}"
        ) from error
    except OutputError as error:
        raise UsageError(f"--out: {error}") from error


def _may_continue(done: Result, options: LearnOptions) -> bool:
    """Return whether a call has more to spend than the one that ended."""
    limits = limits_of(options)
    return done.outcome == "budget_spent" and limits.images > done.images and limits.calls > done.calls


async def _run(options: LearnOptions, view: TrialView) -> Result:
    skill = find_skill(options.skill, options.options, "--skill") if options.skill is not None else None
    try:  # found out only now and not when a proposal is accepted, after all images
        check_writable(learnt_skills_folder(options.options.read_config()))
    except OutputError as error:
        raise ConfigError(f"skills.folders: {error}") from error
    plan = await plan_of(options, skill)
    draw_options = _limited(options.options, plan)
    first = draw_options if options.run is None else of_one_round(draw_options)
    check_calls(options.max_calls, most_of(first), options.options.read_config())
    skill = keep_parent(options.out, skill)
    bench = BenchOptions(
        folder=options.out,
        options=options.options,
        wait_for_servers_s=options.wait_for_servers_s,
        redirects_stderr=options.redirects_stderr,
    )
    result: Result | None = None
    async with (
        open_interrupts() as interrupts,
        open_workbench(bench, interrupts, view.bulk, roles=("curator",)) as workbench,
    ):
        result = await _Learner(options, plan, skill, workbench, view).learn()
    if result is None:
        raise KeyboardInterrupt
    return result


class _Learner:
    """One call of `run`, with a mesh."""

    def __init__(
        self, options: LearnOptions, plan: Plan, skill: Skill | None, workbench: Workbench, view: TrialView
    ) -> None:
        self._options, self._plan, self._skill = options, plan, skill
        self._bench, self._view, self._out = workbench, view, options.out
        self._draw_options = _limited(workbench.bench.draw_options, plan)
        most = {"evidence": most_of(self._draw_options), "proposals": most_of(of_one_round(self._draw_options))}
        self._spending = Spending(options.out, limits_of(options), most)

    async def learn(self) -> Result:
        """Go on from what is on disk until a proposal is accepted, or there is no reason to go on."""
        ended, evidence = await self._evidence()
        if evidence is None:
            return self._end(ended or "budget_spent", "the evidence is not complete")
        if not evidence.turns:
            return self._end("nothing_proposed", "no refinement turned an unmet requirement into a met one")
        for number in range(1, MAX_PROPOSALS + MAX_UNFIT + 1):
            verdicts = [self._verdict(before) for before in range(1, number)]
            tried = sum(verdict.trial is not None for verdict in verdicts)
            if tried >= len(self._plan.slices):
                return self._end("nothing_accepted", f"{tried} proposals were tried, and none helped for certain")
            if number - 1 - tried >= MAX_UNFIT:
                return self._end("nothing_proposed", "the curator proposes nothing more that fits")
            verdict, outcome = await self._propose_and_try(number, evidence, self._plan.slices[tried])
            if verdict is None:
                return self._end(outcome or "nothing_proposed", "")
            if verdict.accepted:
                return self._accept(number, verdict)
        raise AssertionError("unreachable: the loop ends by its counts")

    # ------------------------------------------------------------------------------------------------ evidence

    async def _evidence(self) -> tuple[Outcome | None, Distilled | None]:
        """Return the evidence, or why it is not complete."""
        path = self._out / "evidence.json"
        known = read_json(path, Distilled)
        if known is not None:
            return None, known
        folder, prompts = self._out / "evidence", self._out / "train.jsonl"
        write_records(prompts, self._plan.train)
        self._view.say(f"evidence: drawing {len(self._plan.train)} prompts")
        how = replace(self._draw_options, skill=NONE if self._skill is None else self._skill.id)
        if (outcome := await self._draw(prompts, folder, how, 1, "evidence")) is not None:
            return outcome, None
        found = [row.trajectory for row in rows_of(folder)]
        states = [await self._bench.mesh.ask(ReadTrajectory(trajectory=trajectory)) for trajectory in found]
        evidence = distil(states)
        write_json(path, evidence)
        return None, evidence

    # ------------------------------------------------------------------------------------------------ proposals

    async def _propose_and_try(
        self, number: int, evidence: Distilled, records: Sequence[Record]
    ) -> tuple[Verdict | None, Outcome | None]:
        """Return the verdict on a proposal; without one, why learning ends."""
        folder = self._out / "proposals" / str(number)
        known = read_json(folder / "verdict.json", Verdict)
        if known is not None:
            return known, None
        proposal = read_json(folder / "proposal.json", SkillProposal)
        if proposal is None:
            if not self._spending.can_propose():
                return None, "budget_spent"
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / ASKED, (read_json(folder / ASKED, int) or 0) + 1)
            self._view.say(f"proposal {number}: asking the curator")
            proposal = await self._bench.mesh.ask(self._request(number, evidence))
            write_json(folder / "proposal.json", proposal)
        if not proposal.edits and not proposal.id:
            return None, "nothing_proposed"
        rejected = [item for item in map(self._rejected, range(1, number)) if item is not None]
        try:
            candidate = candidate_of(proposal, self._skill, rejected)
        except UnfitProposalError as error:
            verdict = Verdict(accepted=False, reason=str(error))
            write_json(folder / "verdict.json", verdict)
            self._view.say(f"proposal {number}: not tried, {error}")
            return verdict, None
        return await self._try(number, candidate, records)

    def _request(self, number: int, evidence: Distilled) -> ProposeSkill:
        shown, skill = None, self._skill
        if skill is not None:
            shown = SkillVersion(id=skill.id, description=skill.description, instructions=skill.instructions)
        rejected = [item for item in map(self._rejected, range(1, number)) if item is not None]
        return ProposeSkill(
            skill=shown,
            counts=evidence.counts,
            turns=evidence.turns,
            rejected=tuple(rejected),
            max_chars=MAX_INSTRUCTIONS_CHARS,
        )

    def _rejected(self, number: int) -> RejectedProposal | None:
        """Return an earlier proposal as the curator is shown it."""
        proposal = read_json(self._out / "proposals" / str(number) / "proposal.json", SkillProposal)
        return None if proposal is None else rejection_of(proposal, self._verdict(number).reason)

    def _verdict(self, number: int) -> Verdict:
        found = read_json(self._out / "proposals" / str(number) / "verdict.json", Verdict)
        if found is None:
            raise OutputError(f"{self._out}: expected the verdict on proposal {number}, got none")
        return found

    async def _try(
        self, number: int, candidate: Candidate, records: Sequence[Record]
    ) -> tuple[Verdict | None, Outcome | None]:
        """Draw the held-out prompts of a proposal both ways, and weigh them."""
        folder = self._out / "proposals" / str(number)
        prompts, name = folder / "prompts.jsonl", f"candidate-{number}"
        write_records(prompts, records)
        path = self._out / SKILLS_FOLDER / name
        text = skill_text(name, candidate.description, candidate.instructions, {})
        if not (path / FILE_NAME).exists():
            path.mkdir(parents=True, exist_ok=True)
            write_whole(path / FILE_NAME, text.encode())
        tried = load_skill(path)
        for way, skill in {WITHOUT: NONE if self._skill is None else self._skill.id, WITH: name}.items():
            self._view.say(f"proposal {number}: drawing {len(records)} held-out prompts {way} it")
            how = of_one_round(self._draw_options, skill)
            outcome = await self._draw(prompts, folder / way, how, self._plan.samples, "proposals")
            if outcome is not None:
                return None, outcome
        against = NONE if self._skill is None else self._plan.parent
        report = read_trial(folder, tried, against, source=prompts, confidence=self._plan.confidence)
        report = msgspec.structs.replace(report, skill=candidate.id)
        write_trial(folder, report)
        await record_trial(self._bench.mesh, report)
        is_better = report.evidence.verdict == "helps"
        verdict = Verdict(accepted=is_better, reason=_reason(report), trial=report)
        write_json(folder / "verdict.json", verdict)
        self._view.say(f"proposal {number}: {'accepted' if is_better else 'rejected'}, {verdict.reason}")
        return verdict, None

    # ------------------------------------------------------------------------------------------------ drawing

    async def _draw(self, prompts: Path, folder: Path, how: DrawOptions, samples: int, what: str) -> Outcome | None:
        """Draw what is missing in a folder within the budget; return why it is not complete, or None if it is."""
        allowance = self._spending.allowance(what)
        result = await self._bench.draw(
            prompts, folder, how, samples=samples, view=self._view.bulk, allowance=allowance
        )
        if result.tally.failed:  # whatever is tried: they do not count as evidence
            self._view.say(f"{result.tally.failed} pictures failed; each counts as the most that one may cost")
        if result.outcome in ("interrupted", "unavailable"):
            return result.outcome
        return "budget_spent" if result.unfinished else None

    # ------------------------------------------------------------------------------------------------ the end

    def _accept(self, number: int, verdict: Verdict) -> Result:
        """Write the accepted version into the user's folder."""
        candidate = load_skill(self._out / SKILLS_FOLDER / f"candidate-{number}")
        report = verdict.trial
        if report is None:
            raise OutputError(f"{self._out}: expected the trial of proposal {number}, got none")
        config = self._options.options.read_config()
        accepted: Accepted = Shelf(learnt_skills_folder(config)).accept(
            report.skill,
            candidate.description,
            candidate.instructions,
            _provenance(self._plan, report),
            digest=candidate.digest,
            cap=config.skills.max_learnt,
        )
        return self._end("accepted", verdict.reason, accepted)

    def _end(self, outcome: Outcome, reason: str, accepted: Accepted | None = None) -> Result:
        self._spending.count()
        result = Result(
            outcome=outcome,
            proposals=len(list((self._out / "proposals").glob("*/proposal.json"))),
            tried=len(list((self._out / "proposals").glob("*/trial.json"))),
            skill=accepted.id if accepted else "",
            path=str(accepted.path) if accepted else "",
            retired=tuple(str(path) for path in accepted.retired) if accepted else (),
            images=self._spending.images,
            calls=self._spending.calls,
            reason=reason,
        )
        if outcome not in ("interrupted", "unavailable"):
            write_json(self._out / "result.json", result)
        return result


def _limited(options: DrawOptions, plan: Plan) -> DrawOptions:
    """Return the options with the limit of a picture's calls that the plan has."""
    if (limit := plan.calls_before_last_round) is None:
        return options
    return replace(options, overrides=(*options.overrides, f"budget.max_calls_per_trajectory={limit}"))


def _reason(report: TrialReport) -> str:
    evidence = report.evidence
    found = evidence.requirements
    return (
        f"{points(found.change)} points of requirements met {interval(found)} at {100 * evidence.confidence:g} %, "
        f"{evidence.prompts} held-out prompts, {evidence.pictures} pictures each way, p = {evidence.p_requirements:.2g}"
    )


def _provenance(plan: Plan, report: TrialReport) -> dict[str, str]:
    """Return what the front matter says of a skill's origin; no time, so that a repeated acceptance writes the same."""
    found = report.evidence.requirements
    return {
        "learnt-by": f"gems-actors {__version__}",
        "learnt-parent": plan.parent,
        "learnt-from": plan.source,
        "learnt-prompts": f"{len(plan.train)} for evidence, {report.evidence.prompts} held out",
        "learnt-trial": _reason(report),
        GAIN_KEY: f"{found.change:.4f}",
        "learnt-models": ", ".join(f"{role} {name}" for role, name in sorted(report.models.items())),
    }
