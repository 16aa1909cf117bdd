"""A trial of a skill: every prompt drawn with it and with none, from the same seeds and with equal images.

without/, with/        the two bulks, as `gems bulk` leaves them
prompts.jsonl          the prompts that both of them draw
skills/ID/SKILL.md     the skill as it was tried
trial.json, trial.html the result, once both bulks are done
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from gems_actors import __version__
from gems_actors.app.bulk.folder_files import inspect_folder
from gems_actors.app.bulk.interface import BulkResult, BulkView
from gems_actors.app.bulk.reading.readers import open_source, open_tasks
from gems_actors.app.bulk.reading.records import json_text
from gems_actors.app.bulk.rows import Row, rows_of
from gems_actors.app.bulk.running.servers import WAIT_S
from gems_actors.app.bulk.tasks import BadTask
from gems_actors.app.interrupts import open_interrupts
from gems_actors.app.options import DrawOptions
from gems_actors.app.picture_files import OutputError, check_writable, text_of_path, write_whole
from gems_actors.app.prompts import PromptError
from gems_actors.app.skills.pairing import Evidence, Pair, Side, weigh
from gems_actors.app.skills.shelf import Shelf
from gems_actors.app.skills.trial_record import record_trial
from gems_actors.app.skills.workbench import SKILLS_FOLDER, BenchOptions, Workbench, open_workbench
from gems_actors.config.skill_folders import catalogue_of, learnt_skills_folder
from gems_actors.errors import UsageError
from gems_actors.transport.sockets import require_trio
from protocol.costs import chat_cost
from protocol.messages import Spent
from skills import Skill, SkillFormatError, UnknownSkillError, load_skill

NONE: Final = "none"
WITHOUT, WITH = "without", "with"
"""Folders of the two bulks."""
_FILE_NAME: Final = "SKILL.md"
_KEPT_FIELDS: Final = ("seed", "size", "steps", "guidance", "negative_prompt")
"""Drawing fields of a record that hold for both ways; how many images a picture may have is the trial's choice."""

Outcome = Literal["done", "failed", "interrupted", "unavailable"]


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What the pictures of one way cost."""

    pictures: int
    images: int
    calls: int
    """Calls of chat models; the same applies to tokens and cost."""
    tokens: int
    cost: float


class TrialReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a trial; the content of trial.json."""

    skill: str
    digest: str
    """Digest of what the planner reads of the skill."""
    against: str
    """Skill of the other way: `none`, or the version that a proposal would replace, as `ID@DIGEST`."""
    prompts: str
    """Path of the prompts."""
    seed: int
    samples: int
    models: dict[str, str]
    settings: dict[str, Any]
    evidence: Evidence
    costs: dict[str, Cost]
    """By way: `without` and `with`."""
    incomplete: int
    """Prompts of which a picture is missing because its task failed; they do not count."""
    version: str = __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialOptions:
    """What `run` tries, and into which folder."""

    skill: str
    """Id of a skill, or its folder."""
    file: Path
    """Input file with the prompts."""
    out: Path
    """Folder to fill; one that an earlier call filled is continued."""
    options: DrawOptions = field(default_factory=DrawOptions)
    """How to draw; one round a picture unless it says otherwise."""
    samples: int = 1
    """Pictures of each prompt, each way."""
    confidence: float = 0.95
    wait_for_servers_s: float = WAIT_S
    redirects_stderr: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """The outcome of a call of `run`."""

    outcome: Outcome
    unfinished: str
    """Why it ended early; empty for a trial that is complete."""
    report: TrialReport | None
    page: Path | None
    retired: Path | None = None
    """Where the skill is now, if it is a learnt one that hurts, and so was retired."""


class TrialView:
    """Shows a trial while it runs; this base class shows nothing."""

    bulk: BulkView = BulkView()
    """Shows the bulks."""

    def say(self, text: str) -> None:
        """Show a line that stays."""


async def run(options: TrialOptions, view: TrialView | None = None) -> TrialResult:
    """Draw what is missing of a trial, and weigh it once it is complete.

    Raises:
        UsageError: the skill, the prompts or the folder cannot be used.
        GemsError: as `bulk.run`.
    """
    require_trio("app.skills.trial.run")
    view = view or TrialView()
    skill = find_skill(options.skill, options.options)
    records = read_prompts(options.file)
    how = options.options
    if how.images is None and how.rounds is None:
        how = replace(how, rounds=1)
    bench = BenchOptions(
        folder=options.out,
        options=how,
        wait_for_servers_s=options.wait_for_servers_s,
        redirects_stderr=options.redirects_stderr,
    )
    try:
        check_writable(options.out)
        keep_skill(options.out, skill)
        write_prompts(records, options.out / "prompts.jsonl")
    except OutputError as error:
        raise UsageError(f"--out: {error}") from error
    result: TrialResult | None = None
    async with open_interrupts() as interrupts, open_workbench(bench, interrupts, view.bulk) as workbench:
        ways = {WITHOUT: NONE, WITH: skill.id}
        result = await draw_both(workbench, options.out, ways, view, samples=options.samples)
        if result.outcome in ("done", "failed"):
            report = read_trial(options.out, skill, NONE, source=options.file, confidence=options.confidence)
            await record_trial(workbench.mesh, report)
            retired = _retire_if_it_hurts(report, options.options)
            result = replace(result, report=report, page=write_trial(options.out, report), retired=retired)
    if result is None:
        raise KeyboardInterrupt
    return result


def _retire_if_it_hurts(report: TrialReport, options: DrawOptions) -> Path | None:
    """Retire a learnt skill whose trial says that it hurts; return its new folder, or None if it stays."""
    if report.evidence.verdict != "hurts":
        return None
    shelf = Shelf(learnt_skills_folder(options.read_config()))
    is_learnt = any((skill.id, skill.digest) == (report.skill, report.digest) for skill in shelf.active())
    return shelf.retire(report.skill) if is_learnt else None


def find_skill(name: str, options: DrawOptions, what: str = "SKILL") -> Skill:
    """Return the skill in a folder, or the one with an id; `what` names the option that has it.

    Raises:
        UsageError: there is no such skill.
    """
    path = Path(name)
    if (path / _FILE_NAME).exists() or len(path.parts) > 1:
        try:
            return load_skill(path.absolute())
        except SkillFormatError as error:
            raise UsageError(f"{what}: {text_of_path(path)}: {error}") from error
    if name == NONE:
        raise UsageError(f"{what}: expected the id or the folder of a skill, got none, which it is compared with")
    try:
        return catalogue_of(options.read_config()).get(name)
    except UnknownSkillError as error:
        raise UsageError(f"{what}: {error}") from error


def keep_skill(out: Path, skill: Skill) -> None:
    """Copy a skill into the folder of its trial, where the planner finds it.

    Raises:
        OutputError: the folder has another version of it, or another skill.
    """
    folder = out / SKILLS_FOLDER
    tried = [load_skill(path.parent) for path in sorted(folder.glob(f"*/{_FILE_NAME}"))]
    if other := next((one for one in tried if (one.id, one.digest) != (skill.id, skill.digest)), None):
        got = f"{other.id} with the digest {other.digest}"
        raise OutputError(
            f"{text_of_path(out)}: expected a new folder, or the trial of {skill.id} with the digest {skill.digest}, "
            f"got that of {got}"
        )
    if not tried:
        (folder / skill.id).mkdir(parents=True, exist_ok=True)
        write_whole(folder / skill.id / _FILE_NAME, (skill.path / _FILE_NAME).read_bytes())


def write_prompts(records: Iterable[dict[str, Any]], target: Path) -> None:
    """Write prompts as tasks of the two bulks.

    Raises:
        OutputError: the tasks cannot be written.
    """
    lines = "".join(f"{json_text(record)}\n" for record in records).encode()
    if not target.exists() or target.read_bytes() != lines:
        write_whole(target, lines)


def read_prompts(source: Path, what: str = "PROMPTS") -> list[dict[str, Any]]:
    """Return the prompts of a file, each with the drawing fields that hold for both ways.

    Args:
        source: path of the file.
        what: argument or option that names the file.

    Raises:
        UsageError: the file cannot be read, has no records, or has one that cannot be drawn.
    """
    records = []
    with ExitStack() as stack:
        try:
            for task in open_tasks(*open_source(stack, source, what)):
                if isinstance(task, BadTask):
                    raise PromptError(f"{task.where}: {task.reason}")
                fields = {name: task.record[name] for name in _KEPT_FIELDS if task.record.get(name) is not None}
                records.append({"prompt": task.prompt, **fields})
            if not records:
                raise PromptError("expected at least one record, got none")
        except PromptError as error:
            raise UsageError(f"{what}: {text_of_path(source)}: {error}") from error
    return records


async def draw_both(
    workbench: Workbench, out: Path, ways: dict[str, str], view: TrialView, *, samples: int
) -> TrialResult:
    """Draw the prompts in a folder in each way, a folder name and a skill, as far as they are not drawn yet."""
    options = workbench.bench.draw_options
    outcomes: list[BulkResult] = []
    for way, skill in ways.items():
        view.say(f"{way}: drawing with {'no skill' if skill == NONE else f'the skill {skill}'}")
        with_skill = replace(options, skill=skill)
        result = await workbench.draw(out / "prompts.jsonl", out / way, with_skill, samples=samples, view=view.bulk)
        if result.outcome in ("interrupted", "unavailable") or result.unfinished:
            return TrialResult(outcome=result.outcome, unfinished=result.unfinished, report=None, page=None)
        outcomes.append(result)
    has_failed = any(result.outcome == "failed" for result in outcomes)
    return TrialResult(outcome="failed" if has_failed else "done", unfinished="", report=None, page=None)


def read_trial(out: Path, skill: Skill, against: str, *, source: Path, confidence: float) -> TrialReport:
    """Weigh the pictures of a trial.

    Raises:
        UsageError: no prompt was drawn both ways and has requirements.
    """
    rows = {way: {(row.task, row.sample): row for row in rows_of(out / way)} for way in (WITHOUT, WITH)}
    pairs, incomplete = pairs_of(rows[WITHOUT], rows[WITH])
    first = next(iter(rows[WITH].values()), None)
    run = msgspec.json.decode((out / WITH / "run.json").read_bytes())
    try:
        evidence = weigh(pairs, confidence=confidence)
    except ValueError as error:
        raise UsageError(f"PROMPTS: {text_of_path(source)}: {error}") from error
    return TrialReport(
        skill=skill.id,
        digest=skill.digest,
        against=against,
        prompts=text_of_path(source.absolute()),
        seed=run["seed"],
        samples=run["samples"],
        models=first.models if first else {},
        settings={name: value for name, value in run["settings"].items() if name != "skill"},
        evidence=evidence,
        costs={way: cost_of(out / way) for way in (WITHOUT, WITH)},
        incomplete=incomplete,
    )


def pairs_of(before: dict[tuple[str, int], Row], after: dict[tuple[str, int], Row]) -> tuple[list[Pair], int]:
    """Return the prompts whose pictures are complete both ways, and how many are not."""
    samples: dict[str, set[tuple[str, int]]] = {}
    for key in before.keys() | after.keys():
        samples.setdefault(key[0], set()).add(key)
    pairs, incomplete = [], 0
    for task in dict.fromkeys(task for task, _ in (*before, *after)):
        keys = samples[task]
        if not keys <= before.keys() & after.keys():
            incomplete += 1
            continue
        ordered = sorted(keys)
        sides = (_side_of(rows[key] for key in ordered) for rows in (before, after))
        pairs.append(Pair(after[ordered[0]].prompt, *sides))
    return pairs, incomplete


def _side_of(rows: Iterable[Row]) -> Side:
    side = Side()
    for row in rows:
        side.pictures += 1
        side.all_met += row.all_met
        side.images += row.images
        for item in row.requirements:
            met, of = side.kinds.get(item.kind, (0, 0))
            side.kinds[item.kind] = (met + (item.answer == "met"), of + 1)
    return side


def cost_of(folder: Path) -> Cost:
    """Return what the pictures in the folder of a bulk cost."""
    images = pictures = 0

    def count(row: Row) -> None:
        nonlocal images, pictures
        images += row.images
        pictures += 1

    spent: Spent = chat_cost(inspect_folder(folder, count).spent)
    return Cost(pictures=pictures, images=images, calls=spent.calls, tokens=spent.tokens, cost=spent.cost)


def write_trial(out: Path, report: TrialReport) -> Path:
    """Write the result of a trial and its page into a folder, and return the path of the page.

    Raises:
        OutputError: a file cannot be written.
    """
    from gems_actors.app.skills.trial_page import page_of

    write_whole(out / "trial.json", msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    path = out / "trial.html"
    write_whole(path, "".join(page_of(report)).encode())
    return path
