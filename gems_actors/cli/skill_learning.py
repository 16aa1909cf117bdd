"""`gems skills trial`, `report`, `learn`, `retire` and `restore`: evidence for skills, and skills from evidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import click
import trio

from gems_actors.app.bulk.tasks import MAX_SAMPLES
from gems_actors.app.options import DrawOptions
from gems_actors.app.picture_files import encode_json, text_of_path
from gems_actors.app.skills.learn_interface import LearnOptions, Result
from gems_actors.app.skills.learning import run as run_learning
from gems_actors.app.skills.plan import MAX_PROPOSALS
from gems_actors.app.skills.shelf import Shelf
from gems_actors.app.skills.trial import TrialOptions, TrialReport, TrialResult, TrialView
from gems_actors.app.skills.trial import run as run_trial
from gems_actors.app.skills.trial_page import VERDICTS, interval, points, verdict_line
from gems_actors.app.skills.usage import SkillReport, locations, never_chosen, read_uses, report_of
from gems_actors.cli import options as shared
from gems_actors.cli.exit_codes import DONE, FAILED, INTERRUPTED, QUEUE_AGAIN
from gems_actors.cli.terminal.bulk_views import bulk_view_for
from gems_actors.cli.terminal.memory_views import short_time
from gems_actors.cli.terminal.tables import table_lines
from gems_actors.cli.terminal.views import open_terminal
from gems_actors.config import MeshConfig
from gems_actors.config.skill_folders import catalogue_of, learnt_skills_folder
from gems_actors.ops.log_setup import configure_logging
from gems_actors.terminal_text import printable

_MAX_BUDGET = 10**9
_CODES = {"interrupted": INTERRUPTED, "unavailable": QUEUE_AGAIN}


class _View(TrialView):
    """Shows trials on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self.bulk = bulk_view_for(stream, as_json=False)
        self._stream = stream

    def say(self, text: str) -> None:
        print(printable(text), file=self._stream)


@click.command("trial", short_help="Tell whether a skill helps.")
@click.argument("skill", metavar="SKILL")
@click.argument("file", type=click.Path(path_type=Path), metavar="PROMPTS")
@shared.path_option("--out", metavar="DIR", help_text="Folder to fill (default trial-SKILL).")
@shared.number_option("--samples", MAX_SAMPLES, "N", "Pictures of each prompt, each way (default 1).", default=1)
@shared.images_option
@shared.seed_option("Base of the pictures' seeds (default 0).", default=0)
@shared.size_option
@shared.steps_option
@shared.guidance_option
@shared.wait_option
@shared.config_option
@shared.set_option
@shared.router_option
@shared.json_option
def trial(skill: str, file: Path, out: Path | None, samples: int, as_json: bool, **chosen: Any) -> int:
    """Draw PROMPTS with SKILL and with none, from the same seeds, and tell whether it helps.

    SKILL is an id or the folder of a skill, PROMPTS a file as for `gems bulk`. Both ways may draw up to --images for a
    picture (default: one round). DIR gets trial.json and trial.html; the same command continues. With --router, that
    mesh draws, and must offer the skill.
    """
    wait_s = chosen.pop("wait_for_servers_s")
    options = _draw_options(chosen)
    target = out or Path(f"trial-{Path(skill).absolute().name}")
    with open_terminal() as stream:
        result = trio.run(
            run_trial,
            TrialOptions(
                skill=skill, file=file, out=target, options=options, samples=samples, wait_for_servers_s=wait_s,
                redirects_stderr=True,
            ),
            _View(stream),
        )  # fmt: skip
    return _print_trial(result, as_json=as_json)


def _print_trial(result: TrialResult, *, as_json: bool) -> int:
    if result.report is None:
        click.echo(f"gems: {printable(result.unfinished)}", err=True)
        return _CODES.get(result.outcome, FAILED)
    if as_json:
        click.echo(encode_json(result.report))
    else:
        click.echo("\n".join([*_trial_lines(result.report), f"page: {text_of_path(result.page or Path())}"]))
    if result.retired is not None:
        back = f"gems skills restore {result.report.skill}"
        click.echo(f"gems: retired {result.report.skill}, a learnt skill that hurts; `{back}` brings it back", err=True)
    if result.report.incomplete:
        click.echo(f"gems: {result.report.incomplete} prompts do not count: a picture failed", err=True)
    return FAILED if result.outcome == "failed" else DONE


def _trial_lines(report: TrialReport) -> Iterator[str]:
    evidence = report.evidence
    yield printable(verdict_line(report))
    yield ""
    rows = [("kind", "prompts", "without", "with", "change", "interval")]
    shown = {"all kinds": evidence.requirements, **evidence.kinds, "all requirements met": evidence.all_met}
    for kind, found in shown.items():
        shares = (f"{100 * found.before:.1f} %", f"{100 * found.after:.1f} %")
        rows.append((kind, str(found.prompts), *shares, points(found.change), interval(found)))
    yield from table_lines(rows)
    yield ""
    yield f"sign-flip p {evidence.p_requirements:.3g}; McNemar p {evidence.p_all_met:.3g}"
    for way, cost in report.costs.items():
        yield f"{way}: {cost.pictures} pictures, {cost.images} images, {cost.calls} calls, {cost.tokens} tokens"


@click.command("report", short_help="Show how often skills are chosen.")
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path), metavar="[DIR]...")
@shared.router_option
@shared.config_options
@shared.json_option
def report(folders: tuple[Path, ...], router: str | None, config: MeshConfig, as_json: bool) -> int:
    """Show how often each version of each skill was chosen, what trials found, and when it was last used.

    Reads the memories of DIR..., outputs of bulks and trials; by default that of the configured data_dir and those of
    all bulks that `gems history` lists. Skills that are offered and never chosen are named.
    """
    configure_logging(config.log, role="client")
    uses, problems = trio.run(read_uses, list(locations(config, router, folders)))
    reports = report_of(uses, catalogue_of(config).skills())
    bypassed = never_chosen(reports)
    if as_json:
        click.echo(encode_json({"skills": reports, "never_chosen": bypassed}))
    else:
        click.echo("\n".join(_report_lines(reports)))
        if bypassed:
            click.echo(f"never chosen: {', '.join(map(printable, bypassed))}")
    for problem in problems:
        click.echo(f"gems: {printable(problem)}", err=True)
    return FAILED if problems else DONE


def _report_lines(reports: Sequence[SkillReport]) -> Iterator[str]:
    rows = [("skill", "version", "chosen", "named", "last used", "trials", "latest trial")]
    for item in reports:
        latest = "-"
        if item.latest is not None:
            tried = item.latest.trial
            verdict = VERDICTS[tried.verdict]
            change = f"{points(tried.change)} [{points(tried.low)}, {points(tried.high)}]"
            latest = f"{verdict}: {change} against {tried.against}, {tried.prompts} prompts"
        used = short_time(item.last_at) if item.last_at is not None else "-"
        version = (item.digest or "unknown") + ("" if item.is_offered else " (not offered)")
        rows.append((item.skill, version, str(item.chosen), str(item.fixed), used, str(item.trials), latest))
    yield from table_lines(rows, left=(0, 1, 4, 6))


@click.command("learn", short_help="Improve a skill, or write a new one.")
@click.option("--from", "run", metavar="RUN", help="Run to learn from: a DIR of `gems bulk`, or a run in memory.")
@shared.path_option("--prompts", "file", metavar="FILE", help_text="Prompts to learn from, as for `gems bulk`.")
@click.option("--skill", metavar="ID", help="Skill to change (default: write a new one).")
@shared.path_option("--out", metavar="DIR", help_text="Folder to fill (default learn-ID, or learn-new).")
@shared.number_option("--images", _MAX_BUDGET, "N", "Maximum images that all calls for DIR may draw.")
@shared.number_option("--calls", _MAX_BUDGET, "N", "Maximum calls of chat models that all calls for DIR may make.")
@shared.number_option("--proposals", MAX_PROPOSALS, "N", "Maximum proposals that are tried (default 4).", default=4)
@shared.number_option("--samples", MAX_SAMPLES, "N", "Pictures of a held-out prompt, each way (default 4).", default=4)
@click.option(
    "--confidence",
    type=shared.between(90, 99),
    default=98,
    metavar="PERCENT",
    help="Confidence of an acceptance (default 98).",
)
@shared.rounds_option
@shared.seed_option("Base of the seeds, and of the split of the prompts (default 0).", default=0)
@shared.size_option
@shared.steps_option
@shared.guidance_option
@shared.wait_option
@shared.config_option
@shared.set_option
@shared.router_option
@shared.json_option
def learn(
    run: str | None,
    file: Path | None,
    skill: str | None,
    out: Path | None,
    images: int | None,
    calls: int | None,
    proposals: int,
    samples: int,
    confidence: int,
    as_json: bool,
    **chosen: Any,
) -> int:
    """Improve a skill, or write a new one, from what refinements achieved; keep it only if it helps.

    The curator proposes; each proposal is tried on held-out prompts that no other proposal has seen, and accepted if it
    meets more requirements at --confidence. The accepted skill goes into the first of skills.folders, or into the
    user's state folder; a file that a person wrote is never replaced. The same command continues, after a kill too.
    With --router, that mesh draws: it needs a curator, and DIR/skills among its skills.folders.
    """
    if (run is None) == (file is None):
        raise click.UsageError(f"--from: expected either it or --prompts, got {'neither' if run is None else 'both'}")
    wait_s = chosen.pop("wait_for_servers_s")
    options = LearnOptions(
        out=out or Path(f"learn-{skill or 'new'}"),
        run=run,
        file=file,
        skill=skill,
        options=_draw_options(chosen),
        samples=samples,
        proposals=proposals,
        confidence=confidence / 100,
        max_images=images,
        max_calls=calls,
        wait_for_servers_s=wait_s,
        redirects_stderr=True,
    )
    with open_terminal() as stream:
        result = trio.run(run_learning, options, _View(stream))
    click.echo(encode_json(result) if as_json else _result_line(result))
    return _CODES.get(result.outcome, DONE)


def _result_line(result: Result) -> str:
    spent = f"{result.images} images, {result.calls} calls"
    tried = f"{result.tried} of {result.proposals} proposals tried"
    match result.outcome:
        case "accepted":
            retired = f"; retired: {', '.join(result.retired)}" if result.retired else ""
            return printable(f"accepted {result.skill} ({result.path}): {result.reason}; {spent}{retired}")
        case "budget_spent":
            return f"the budget is spent: {spent}, {tried}; more --images or --calls continue"
        case "interrupted" | "unavailable":
            return f"{result.outcome}: {spent}, {tried}; the same command continues"
    return printable(f"nothing accepted: {result.reason or 'the curator proposed nothing'}; {spent}, {tried}")


@click.command("retire", short_help="Take a learnt skill out of use.")
@click.argument("skill_id", metavar="ID")
@shared.config_options
def retire(skill_id: str, config: MeshConfig) -> int:
    """Take a learnt skill out of use; `gems skills restore` brings it back."""
    click.echo(text_of_path(Shelf(learnt_skills_folder(config)).retire(skill_id)))
    return DONE


@click.command("restore", short_help="Bring a retired skill back.")
@click.argument("name", metavar="[NAME]", required=False)
@shared.config_options
def restore(name: str | None, config: MeshConfig) -> int:
    """Bring a retired skill back, or list retired skills.

    NAME is an id, or ID-DIGEST where several versions are retired. A learnt version in its place is retired in turn.
    """
    shelf = Shelf(learnt_skills_folder(config))
    if name is None:
        if not (retired := shelf.retired()):
            click.echo("gems: no skill is retired", err=True)
        for skill in retired:
            click.echo(f"{printable(skill.id)}  {points(skill.gain)} points")
        return DONE
    click.echo(text_of_path(shelf.restore(name).path))
    return DONE


def _draw_options(chosen: dict[str, Any]) -> DrawOptions:
    """Return the drawing options of a command; settings are checked before it creates its first file."""
    shared.read_settings(chosen.get("config_file"), chosen.get("overrides", ()))
    return DrawOptions(**chosen)
