"""The page of a trial: its verdict, what changed by kind of requirement, what it cost, and how it was drawn."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from gems_actors import __version__
from gems_actors.app.page_frame import page_head
from gems_actors.app.skills.pairing import Difference, Evidence
from gems_actors.app.skills.trial import TrialReport

VERDICTS: Final = {"helps": "helps", "hurts": "hurts", "cannot_tell": "cannot tell"}
_BADGES: Final = {"helps": "met", "hurts": "unmet", "cannot_tell": "unsure"}
_MARKS: Final = {"helps": "✓", "hurts": "✗", "cannot_tell": "?"}


def points(change: float | None) -> str:
    """Return a change of a share in percentage points with its sign."""
    return "–" if change is None else f"{100 * change:+.1f}"


def interval(found: Difference) -> str:
    """Return the interval of a change in percentage points."""
    return f"[{points(found.low)}, {points(found.high)}]"


def verdict_line(report: TrialReport) -> str:
    """Return the verdict of a trial as a sentence, with what would tell if it cannot."""
    evidence = report.evidence
    found = evidence.requirements
    percent = f"{100 * evidence.confidence:g} %"
    change = f"{points(found.change)} points of requirements met {interval(found)} ({percent} interval)"
    against = "no skill" if report.against == "none" else report.against
    line = f"{report.skill} {VERDICTS[evidence.verdict]}, against {against}: {change}, {evidence.prompts} prompts"
    return f"{line}. {tell_line(evidence)}" if evidence.verdict == "cannot_tell" else f"{line}."


def tell_line(evidence: Evidence) -> str:
    """Return how many prompts would tell."""
    if evidence.prompts_to_tell_2_points is None:
        return "No prompt differs, so more of this kind would not tell."
    small = f"about {evidence.prompts_to_tell_2_points:,} prompts would tell a change of 2 points"
    if evidence.prompts_to_tell is None:
        return f"A number of {small}."
    return f"About {evidence.prompts_to_tell:,} prompts would tell a change as large as this one, {small}."


def page_of(report: TrialReport) -> Iterator[str]:
    """Yield the page of a trial piece by piece."""
    evidence = report.evidence
    verdict = evidence.verdict
    yield page_head(report.skill, "trial")
    yield f"<header><h1>Trial of {escape(report.skill)} "
    yield f"<span class='badge {_BADGES[verdict]}'>{_MARKS[verdict]} {VERDICTS[verdict]}</span></h1>"
    yield f"<p class=quiet>version {report.digest}, against {escape(report.against)} · {escape(report.prompts)}</p>"
    yield f"</header><main><section><h2 class=spoken>Verdict</h2>{_figures_of(report)}"
    if verdict == "cannot_tell":
        yield f"<p class=notice>{escape(tell_line(evidence))}</p>"
    if report.incomplete:
        yield f"<p class='notice failed'>Prompts that do not count, because a picture failed: {report.incomplete}.</p>"
    yield f"</section><section><h2>By kind of requirement</h2>{''.join(_kinds_of(evidence))}</section>"
    yield f"<section><h2>Cost</h2>{''.join(_costs_of(report))}</section>"
    yield f"<section><h2>Settings</h2>{''.join(_settings_of(report))}</section></main>"
    yield "<footer>Every prompt was drawn both ways from the same seeds. The intervals come from a bootstrap over "
    yield "prompts, because requirements of one picture are not independent. "
    yield f"Written by gems-actors {__version__}. This file loads nothing and runs no script.</footer></body></html>\n"


def _figures_of(report: TrialReport) -> str:
    evidence = report.evidence
    found, all_met = evidence.requirements, evidence.all_met
    figures = {
        "Requirements met": (
            f"{points(found.change)} points",
            f"{100 * evidence.confidence:g} % interval {interval(found)}, sign-flip p = {evidence.p_requirements:.3g}",
        ),
        "All requirements met": (
            f"{points(all_met.change)} points",
            f"more on {evidence.gained} prompts, fewer on {evidence.lost}; McNemar p = {evidence.p_all_met:.3g}",
        ),
        "Prompts": (f"{evidence.prompts:,}", f"{evidence.pictures:,} pictures each way"),
    }
    tiles = "".join(
        f"<div><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>" for name, (value, note) in figures.items()
    )
    return f"<dl class=figures>{tiles}</dl>"


def _kinds_of(evidence: Evidence) -> Iterator[str]:
    rows = {"all kinds": evidence.requirements, **evidence.kinds, "pictures that meet everything": evidence.all_met}
    yield "<div class='panel scroll' tabindex=0 role=region aria-label='By kind'><table><thead><tr>"
    yield "<th scope=col>Kind"
    for name in ("Prompts", "Without", "With", "Change in points", "Interval"):
        yield f"<th scope=col class=number>{name}"
    yield "</tr></thead><tbody>"
    for name, found in rows.items():
        cells = (
            f"{found.prompts:,}",
            f"{100 * found.before:.1f} %",
            f"{100 * found.after:.1f} %",
            points(found.change),
            interval(found),
        )
        yield f"<tr><th scope=row>{escape(name)}" + "".join(f"<td class=number>{cell}" for cell in cells)
    yield "</tbody></table></div>"


def _costs_of(report: TrialReport) -> Iterator[str]:
    yield "<div class='panel scroll' tabindex=0 role=region aria-label=Cost><table><thead><tr><th scope=col>Way"
    for name in ("Pictures", "Images", "Calls", "Tokens", "Cost"):
        yield f"<th scope=col class=number>{name}"
    yield "</tr></thead><tbody>"
    for way, cost in report.costs.items():
        cells = (f"{cost.pictures:,}", f"{cost.images:,}", f"{cost.calls:,}", f"{cost.tokens:,}", f"{cost.cost:,.4f}")
        yield f"<tr><th scope=row>{escape(way)}" + "".join(f"<td class=number>{cell}" for cell in cells)
    yield "</tbody></table></div>"


def _settings_of(report: TrialReport) -> Iterator[str]:
    shown = {
        "seed": report.seed,
        "samples per prompt": report.samples,
        **{f"{role} model": name for role, name in report.models.items()},
        **{name.replace("_", " "): value for name, value in report.settings.items()},
    }
    yield "<dl class='panel settings'>"
    for name, value in shown.items():
        yield f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>"
    yield "</dl>"
