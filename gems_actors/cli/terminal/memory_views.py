"""How the contents of memory look on a terminal: a trajectory round by round; runs and records one per line."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from gems_actors.app.draw_progress import (
    Change,
    Progress,
    action_text,
    compare_words,
    comparison_line,
    count_met,
    refinement_lines,
)
from gems_actors.app.picture_files import encode_json
from gems_actors.app.run_control import SHORT_ID_DIGITS
from gems_actors.cli.terminal.draw_view import Glyphs, requirement_lines
from gems_actors.cli.terminal.painter import open_console
from gems_actors.cli.terminal.tables import fit_to_terminal, table_lines
from gems_actors.roles import BUILT_IN_ROLES
from gems_actors.terminal_text import printable
from protocol import messages as m

ResultT = TypeVar("ResultT")

_ALL_ROWS = 10_000
_PLAIN_COLUMNS = 100
_LABEL_CELLS = 12
_STYLES: dict[Change, str] = {"kept": "dim", "added": "green", "removed": "red strike"}
_PLAIN: dict[Change, str] = {"kept": "{}", "added": "{{+{}+}}", "removed": "[-{}-]"}
"""Marks of changes where the output has no colours."""


class Labelled(NamedTuple):
    """Text with a label in the margin; further lines of the text stay right of the margin."""

    label: str
    text: Text
    is_unbroken: bool = False
    """Keep the text on one line, so that a user can copy it."""


def trajectory_view(
    state: m.TrajectoryState,
    task: m.DrawPicture,
    console: Console,
    *,
    glyphs: Glyphs,
    has_reasoning: bool,
    locate: Callable[[str], str],
) -> Iterator[Text | Labelled]:
    """Yield a trajectory from its prompt to its costs.

    `locate` returns the location of the picture with a digest, as text.
    """
    has_colours = console.is_terminal and not console.no_color
    yield Text(printable(task.prompt), "bold")
    yield Text(_status_line(state, task, glyphs), "cyan")
    rounds = sorted({attempt.round for attempt in state.attempts})
    yield from requirement_lines(_progress_of(state, task), console.width, _ALL_ROWS, glyphs)
    if state.prepared is not None:
        yield Labelled("prepared", _changes(task.prompt, state.prepared, has_colours))
    for number, reference in enumerate(task.references, 1):
        yield Labelled(
            "given" if len(task.references) == 1 else f"given {number}", Text(locate(reference.digest)), True
        )
    before = state.request_prompt
    last = max([*rounds, *(item.round for item in state.refinements), 1 if state.plan else 0])
    for round_ in range(1, last + 1):
        prompt = state.prompt_of(round_) or before
        attempts = [attempt for attempt in state.attempts if attempt.round == round_]
        yield Text()
        met = f"{glyphs.between}{max(map(count_met, attempts))} of {len(attempts[0].verdicts)} met" if attempts else ""
        yield Text(f"round {round_}{met}", "bold")
        refinement = state.refinement_of(round_)
        yield from _prompt_lines(refinement, before, prompt, has_colours)
        if refinement is None or refinement.edited is None:  # else it is no description that others change
            before = prompt
        if has_reasoning:
            yield from _reasoning_lines(state, round_)
        for attempt in attempts:
            yield from _attempt_lines(state, attempt, locate, is_only=len(attempts) == 1)
        if note := next((item.text for item in state.notes if item.round == round_), ""):
            yield Labelled("note", Text(printable(note), "italic"))
        if (lesson := next((item.text for item in state.experiences if item.round == round_), None)) is not None:
            yield Labelled("lesson", Text(printable(lesson), "italic"))
    yield Text()
    if state.ending is not None:
        chosen = f"round {state.ending.best_round}"
        if task.settings.candidates > 1:
            chosen += f", candidate {state.ending.best_candidate}"
        yield Labelled("chosen", Text(f"{chosen}: {printable(state.ending.decided_by)}"))
        if (ended_by := state.ending.failure) is not None:
            yield Labelled("ended by", Text(f"{ended_by.code}: {printable(ended_by.message)}", "red"))
    if state.failure is not None:
        yield Labelled("failed", Text(f"{state.failure.code}: {printable(state.failure.message)}", "red"))
    if state.spent:
        order = [*BUILT_IN_ROLES]
        costs = sorted(state.spent.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order))
        yield Labelled("cost", Text("; ".join(f"{role} {_cost(spent)}" for role, spent in costs)))


def run_lines(runs: Sequence[m.RunSummary]) -> Iterator[str]:
    """Yield a table of runs."""
    rows: list[tuple[str, ...]] = [("run", "began", "ended", "all met", "failed", "running", "images", "what")]
    for run in runs:
        ended = f"{run.ended} of {run.total}" if run.total is not None else str(run.ended)
        cells = (run.run, short_time(run.began_at), ended, run.all_met, run.failed, run.running, run.images)
        rows.append((*map(str, cells), printable(run.what)))
    yield from table_lines(rows, left=(0, 1, 7))


def trajectory_lines(trajectories: Sequence[m.TrajectorySummary]) -> Iterator[str]:
    """Yield a table of trajectories."""
    rows: list[tuple[str, ...]] = [("trajectory", "line", "status", "rounds", "images", "met", "prompt")]
    for found in trajectories:
        status = found.status if found.status != "failed" else f"failed ({found.failure})"
        if found.outcome is not None:
            status = found.outcome.replace("_", " ")
        line = f"{found.line + 1}.{found.sample}" if found.sample else str(found.line + 1)
        has_ended = found.status == "ended"
        counts = (str(found.rounds), str(found.images), f"{found.met}/{found.requirements}") if has_ended else ("",) * 3
        rows.append((found.trajectory[:SHORT_ID_DIGITS], line, status, *counts, printable(found.prompt)))
    yield from table_lines(rows, left=(0, 2, 6))


def recollection_lines(recalled: m.Recollection) -> Iterator[Text | Labelled]:
    """Yield recalled lessons with their evidence."""
    for found in recalled.experiences:
        yield Text(printable(found.prompt), "bold")
        yield Labelled("lesson", Text(printable(found.text), "italic"))
        met = f"{found.met_before} of {found.requirements} met in the round of the lesson"
        where = f"trajectory {found.trajectory[:SHORT_ID_DIGITS]}, round {found.round}"
        yield Labelled("evidence", Text(f"{met}, {found.met_after} in the next; {where}"))
        yield Text()
    yield Text(
        f"trajectories with similar prompts that met every requirement after a lesson: {recalled.trajectories}; "
        f"of these, the next round met more requirements in {recalled.gained}"
    )


def record_line(logged: m.LoggedRecord) -> str:
    """Return one record in one line."""
    id_ = logged.record.trajectory if isinstance(logged.record, m.TrajectoryRecord) else "-" * SHORT_ID_DIGITS
    number = f"{logged.shard}:{logged.sequence}" if logged.shard else str(logged.sequence)
    return f"{number:>6}  {local_time(logged.at)}  {id_[:SHORT_ID_DIGITS]}  {_describe(logged.record)}"


def local_time(at: float) -> str:
    """Return a time as date and time in the local time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def short_time(at: float) -> str:
    """Return a time as `ls` shows it, such as `Nov 28 17:31`, in the local time zone."""
    return time.strftime("%b %d %H:%M", time.localtime(at))


def _describe(record: m.AnyRecord) -> str:
    match record:
        case m.RunBegun():
            total = "" if record.total is None else f", {record.total} trajectories"
            return f"run {record.run} began{total}: {printable(record.what)}"
        case m.TrajectoryBegun(task=task):
            count = len(task.references)
            given = f", {count} picture{'s' if count > 1 else ''} given" if count else ""
            return f"began (run {task.run}, line {task.line + 1}{given}): {printable(task.prompt)}"
        case m.PromptPrepared(hook=hook):
            return f"prompt prepared by {_name_of(hook)}: {printable(record.prompt)}"
        case m.PromptPlanned():
            return f"planned with {record.skill or 'no skill'}: {printable(record.prompt)}"
        case m.PromptDecomposed():
            return f"decomposed into {len(record.requirements)} requirements"
        case m.AttemptVerified(attempt=attempt):
            return _describe_verdicts(attempt, "")
        case m.VerdictsReviewed(review=review, hook=hook):
            return _describe_verdicts(review, f", reviewed by {_name_of(hook)}")
        case m.ExperienceKept(experience=experience):
            return f"round {experience.round}, lesson: {printable(experience.text)}"
        case m.RefinementNoted(note=note, hook=hook):
            return f"round {note.round}, note by {_name_of(hook)}: {printable(note.text)}"
        case m.PromptRefined(refinement=refinement):
            return "; ".join(refinement_lines(refinement))
        case m.AttemptsCompared(choice=choice):
            return comparison_line(choice)
        case m.TrajectoryEnded(ending=ending):
            reason = f" by {printable(ending.failure.message)}" if ending.failure else ""
            return f"ended, {ending.outcome.replace('_', ' ')}{reason}: {printable(ending.decided_by)}"
        case m.TrajectoryReopened(task=task):
            return f"reopened, for up to {task.settings.max_rounds} rounds"
        case m.TrajectoryFailed(failure=failure):
            return f"failed, {failure.code}: {printable(failure.message)}"
        case m.SkillTried():
            change = f"{100 * record.change:+.1f} points on {record.prompts} prompts"
            versions = f"skill {printable(record.skill)} tried against {printable(record.against)}"
            return f"{versions}: {record.verdict.replace('_', ' ')}, {change}"
        case m.RecordsLost():
            return f"records {record.first} to {record.last} were lost: {printable(record.reason)}"


def _describe_verdicts(judged: m.Attempt | m.Review, by: str) -> str:
    candidate = f", candidate {judged.candidate}" if judged.candidate > 1 else ""
    if isinstance(judged, m.Attempt) and judged.edited is not None:
        candidate += f", edit of round {judged.edited.round}"
    met = sum(verdict.answer == "met" for verdict in judged.verdicts)
    return f"round {judged.round}{candidate}{by}: {met} of {len(judged.verdicts)} met"


def _name_of(hook: m.Hook) -> str:
    return f"{hook.role} {hook.version}".rstrip()


def _status_line(state: m.TrajectoryState, task: m.DrawPicture, glyphs: Glyphs) -> str:
    if state.ending is not None:
        status = state.ending.outcome.replace("_", " ")
    else:
        status = "failed" if state.failure is not None else "reopened" if state.reopenings else "not finished"
    parts = [
        task.trajectory,
        f"run {task.run}, line {task.line + 1}" + (f", sample {task.sample}" if task.sample else ""),
    ]
    parts += [f"seed {task.seed}", status]
    if state.plan is not None:
        parts.append(f"skill {state.plan.skill or 'none'}")
    if state.began_at is not None and state.last_at is not None:
        parts.append(f"{local_time(state.began_at)}, {state.last_at - state.began_at:.1f} s")
    return glyphs.between.join(parts)


def _progress_of(state: m.TrajectoryState, task: m.DrawPicture) -> Progress:
    rounds = max((attempt.round for attempt in state.attempts), default=0)
    return Progress(
        prompt=task.prompt,
        max_rounds=max(rounds, 1),
        candidates=task.settings.candidates,
        prompts=dict.fromkeys(range(1, rounds + 1), ""),
        requirements=state.requirements,
        attempts=state.attempts,
        ending=state.ending,
    )


def _changes(before: str, after: str, has_colours: bool) -> Text:
    changes = compare_words(printable(before), printable(after))
    if has_colours:
        return Text(" ").join(Text(passage, _STYLES[change]) for change, passage in changes)
    return Text(" ".join(_PLAIN[change].format(passage) for change, passage in changes))


def _prompt_lines(refinement: m.Refinement | None, before: str, prompt: str, has_colours: bool) -> Iterator[Labelled]:
    if refinement is not None and refinement.action != "rewrite":
        label = "prompt" if refinement.action == "edit" else refinement.action
        yield Labelled(label, Text(action_text(refinement)))
        return
    yield Labelled("prompt", _changes(before, prompt, has_colours))
    for number, other in enumerate(refinement.others if refinement else (), 2):
        yield Labelled(f"prompt {number}", _changes(before, other, has_colours))


def _reasoning_lines(state: m.TrajectoryState, round_: int) -> Iterator[Labelled]:
    refinement = next((item for item in state.refinements if item.round == round_), None)
    reasoning = state.plan.reasoning if round_ == 1 and state.plan else refinement.reasoning if refinement else ""
    if reasoning:
        yield Labelled("thoughts", Text(printable(reasoning), "dim"))


def _attempt_lines(
    state: m.TrajectoryState, attempt: m.Attempt, locate: Callable[[str], str], *, is_only: bool
) -> Iterator[Labelled]:
    questions = {requirement.id: requirement.question for requirement in state.requirements or ()}
    name = "image" if is_only else f"image {attempt.candidate}"
    met = "" if is_only else f"{count_met(attempt)} met, "
    yield Labelled(name, Text(f"{met}{locate(attempt.image.digest)}"), is_unbroken=True)
    for verdict in attempt.verdicts:
        if verdict.answer != "met":
            reason = f" ({printable(verdict.reason)})" if verdict.reason else ""
            question = printable(questions.get(verdict.requirement, verdict.requirement))
            style = "red" if verdict.answer == "unmet" else "yellow"
            yield Labelled(verdict.answer, Text.assemble((question, style), (reason, "dim")))


def _cost(spent: m.Spent) -> str:
    parts = [f"{spent.calls} call{'' if spent.calls == 1 else 's'}"] if spent.calls else []
    if spent.prompt_tokens or spent.completion_tokens:
        cached = f" ({spent.cached_tokens} cached)" if spent.cached_tokens else ""
        parts.append(f"{spent.prompt_tokens}{cached} + {spent.completion_tokens} tokens")
    return ", ".join([*parts, f"{spent.seconds:.2f} s"])


def print_rows(found: Sequence[ResultT], lines: Callable[[Sequence[ResultT]], Iterator[str]], *, as_json: bool) -> None:
    """Print results as JSON or as lines, each cut to the width of the terminal; `none` on standard error if empty."""
    if as_json:
        click.echo(encode_json(found))
    elif found:
        for line in lines(found):
            click.echo(fit_to_terminal(line))
    else:
        click.echo("none", err=True)


def open_wide_console() -> Console:
    """Return a console on standard output, as wide as its terminal or 100 columns."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _PLAIN_COLUMNS
    return open_console(sys.stdout, width=width)


def print_texts(console: Console, lines: Iterable[Text | Labelled]) -> None:
    """Print texts, those with a label behind their margin."""
    for line in lines:
        if isinstance(line, Text):
            console.print(line, soft_wrap=not console.is_terminal)
        elif console.is_terminal and not line.is_unbroken:
            grid = Table.grid(Column(width=_LABEL_CELLS, no_wrap=True), Column(overflow="fold"))
            grid.add_row(Text(f"  {line.label}", "dim"), line.text)
            console.print(grid)
        else:
            console.print(Text(f"  {line.label}".ljust(_LABEL_CELLS)) + line.text, soft_wrap=True)
