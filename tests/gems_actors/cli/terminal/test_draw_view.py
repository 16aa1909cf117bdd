"""The live view of a draw on terminals of several sizes."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import reduce

import pytest
from msgspec import structs
from rich.cells import cell_len
from rich.console import Console

from gems_actors.app.draw_progress import Progress, advance, finish
from gems_actors.cli.terminal.draw_view import ASCII, UNICODE, DrawState, Glyphs, glyphs_for, render
from protocol.messages import ActorStatus, Event, RoleStatus
from tests.gems_actors.cli.stories import EVENTS, PICTURE, PROMPT


def role_status(role: str, *busy: int, queued: int = 0) -> RoleStatus:
    """Return a role with an actor for each number of requests in flight."""
    actors = tuple(
        ActorStatus(
            name=f"{role}-{number}", role=role, host="h", pid=1, version="", capacity=1, busy=count, handled=0,
            silent_s=0.0, oldest_s=0.0,
        )
        for number, count in enumerate(busy)
    )  # fmt: skip
    return RoleStatus(role=role, queued=queued, oldest_s=0.0, actors=actors)


ROLES = (role_status("generator", 1, 0, queued=3), role_status("verifier"), role_status("memory", *[0] * 9))


def show(
    columns: int,
    rows: int = 40,
    glyphs: Glyphs = UNICODE,
    events: tuple[Event, ...] = EVENTS[:-1],
    roles: tuple[RoleStatus, ...] = ROLES,
) -> list[str]:
    """Return the view's lines as a terminal of that size shows them."""
    progress = reduce(advance, events, Progress(PROMPT, max_rounds=5, candidates=1))
    state = DrawState(
        progress, seed=7, roles=roles, is_connected=True, elapsed_s=3.14, note="Ctrl-C again stops at once"
    )
    console = Console(file=io.StringIO(), width=columns)
    with console.capture() as capture:
        console.print(render(state, columns, rows, glyphs), highlight=False)
    return capture.get().splitlines()


@pytest.mark.parametrize("columns", [20, 40, 80, 120])
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
def test_no_line_is_wider_than_the_terminal(columns: int, glyphs: Glyphs) -> None:
    lines = show(columns, glyphs=glyphs)
    assert max(map(cell_len, lines)) <= columns


def test_every_requirement_has_a_tick_for_every_round() -> None:
    lines = show(80)
    assert [line.split()[-5:] for line in lines if "?" in line] == [
        ["✓", "✓", "·", "·", "·"],
        ["✗", "✓", "·", "·", "·"],
        ["?", "✗", "·", "·", "·"],
    ]
    assert next(line for line in lines if line.startswith("met")).split() == ["met,", "of", "3", "1", "2"]


def test_a_narrow_terminal_cuts_questions_and_keeps_ticks() -> None:
    assert "Is there a green backpac…  ✓  ✓  ·  ·  ·" in show(40)


@pytest.mark.parametrize("rows", [8, 12, 16, 24])
def test_the_view_is_never_higher_than_the_terminal(rows: int) -> None:
    assert len(show(80, rows)) < rows


def test_a_low_terminal_shows_unmet_requirements_first() -> None:
    progress = reduce(advance, EVENTS[:-1], Progress(PROMPT, max_rounds=5, candidates=1))
    assert progress.requirements
    others = tuple(
        structs.replace(progress.requirements[0], id=f"more{number}", question="More?") for number in range(6)
    )
    progress = replace(progress, requirements=(*others, *progress.requirements))
    console = Console(file=io.StringIO(), width=120)
    with console.capture() as capture:
        console.print(render(DrawState(progress, seed=7), 120, 14, UNICODE), highlight=False)
    shown = [line for line in capture.get().splitlines() if "?" in line]
    assert 1 < len(shown) < 9
    assert "開店" in shown[0]


def test_the_prompt_of_a_round_is_shown_with_its_changes() -> None:
    assert "prompt 2: A picture of a green backpack and EXACTLY four rabbits beside a sign that reads 開店" in show(120)


def test_roles_show_busy_actors_queued_requests_and_missing_actors() -> None:
    assert "generator ●○ +3  verifier away  memory 0/9" in show(80)


def test_roles_of_the_user_follow_the_built_in_ones() -> None:
    others = (role_status("translator", 0), role_status("supervisor", 0), role_status("agent_1a2b", 0))
    text = "\n".join(show(120, roles=(*others, *ROLES)))
    assert text.index("memory") < text.index("translator")
    assert "supervisor" not in text
    assert "agent_" not in text


def test_a_terminal_that_is_not_utf8_gets_ascii_glyphs() -> None:
    assert glyphs_for("ANSI_X3.4-1968") is ASCII
    assert glyphs_for("UTF-8") is glyphs_for("utf8") is UNICODE
    lines = show(80, glyphs=ASCII)
    ours = [line.replace("開店", "") for line in lines]
    assert all(line.isascii() for line in ours)


def test_before_the_mesh_is_ready_the_view_says_that_it_starts() -> None:
    console = Console(file=io.StringIO(), width=80)
    with console.capture() as capture:
        console.print(render(DrawState(Progress(PROMPT, 5, 1), seed=7), 80, 24, UNICODE))
    assert "starting the mesh · seed 7" in capture.get()


def test_the_chosen_round_is_shown_even_if_many_follow() -> None:
    progress = finish(Progress(PROMPT, max_rounds=64, candidates=1), PICTURE)
    progress = replace(progress, prompts=dict.fromkeys(range(1, 65), "x"))
    console = Console(file=io.StringIO(), width=40)
    with console.capture() as capture:
        console.print(render(DrawState(progress, seed=7), 40, 40, UNICODE))
    head = next(line for line in capture.get().splitlines() if line.startswith("requirement"))
    assert head.split() == ["requirement", "2", "3", "4", "5", "6", "7"]
