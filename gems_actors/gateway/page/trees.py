"""What the page shows of runs, trajectories and the mesh, as trees for JSON. Pure.

Texts of prompts and models are passed on as they are: the page shows them as text, and never as markup.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from gems_actors.app.draw_progress import compare_words, count_met, leading_attempt
from gems_actors.roles import OPTIONAL_ROLES, RoleSpec
from gems_actors.run_states import RunStates
from protocol.identity import is_agent_role, run_bytes
from protocol.messages import (
    ActorStatus,
    Attempt,
    MeshStatus,
    RecalledExperience,
    RoleStatus,
    RunFigures,
    RunSummary,
    TrajectoryState,
)

SUPERVISOR: Final = "supervisor"
_RESTARTS: Final = "restarts/"
"""Beginning of the totals in which supervisors report how often they replaced processes of a role."""
_LOAD: Final = "host_load_share"


def trajectory_tree(id_: str, state: TrajectoryState) -> dict[str, Any]:
    """Return a trajectory that memory has, round by round."""
    task, ending = state.task, state.ending
    rounds = sorted({attempt.round for attempt in state.attempts})
    return {
        "id": id_,
        "run": task.run if task else None,
        "prompt": task.prompt if task else "",
        "prepared": state.prepared,
        "seed": task.seed if task else None,
        "settings": msgspec.to_builtins(task.settings) if task else {},
        "status": "failed" if state.failure else "ended" if ending else "running",
        "failure": msgspec.to_builtins(state.failure),
        "outcome": ending.outcome if ending else None,
        "decided_by": ending.decided_by if ending else None,
        "skill": state.plan.skill if state.plan else None,
        "reasoning": state.plan.reasoning if state.plan else "",
        "began_at": state.began_at,
        "last_at": state.last_at,
        "requirements": msgspec.to_builtins(state.requirements or ()),
        "references": [
            {"width_px": image.width_px, "height_px": image.height_px} for image in (task.references if task else ())
        ],
        "rounds": [_round_tree(state, round_) for round_ in rounds],
        "spent": msgspec.to_builtins(state.spent),
    }


def _round_tree(state: TrajectoryState, round_: int) -> dict[str, Any]:
    attempts = [attempt for attempt in state.attempts if attempt.round == round_]
    ending = state.ending
    is_chosen = ending is not None and ending.best_round == round_
    chosen = [item for item in attempts if is_chosen and ending and item.candidate == ending.best_candidate]
    leading = (chosen or [leading_attempt(attempts) or attempts[0]])[0]
    edits = {item.round for item in state.refinements if item.edited is not None}
    drawn = [state.prompt_of(known) for known in range(round_ - 1, 0, -1) if known not in edits]
    before = next(filter(None, drawn), state.request_prompt)
    prompt = state.prompt_of(round_) or leading.prompt
    refinement = state.refinement_of(round_)
    changes = [("kept", prompt)] if round_ in edits else _changes(before, prompt)
    return {
        "round": round_,
        "is_chosen": is_chosen,
        "prompt": prompt,
        "changes": [{"change": change, "text": text} for change, text in changes],
        "action": refinement.action if refinement else None,
        "edited": msgspec.to_builtins(refinement.edited) if refinement else None,
        "reasoning": refinement.reasoning if refinement else "",
        "experience": next((item.text for item in state.experiences if item.round == round_), None),
        "leading": leading.candidate,
        "attempts": [_attempt_tree(attempt) for attempt in attempts],
    }


@lru_cache(maxsize=1024)
def _changes(before: str, prompt: str) -> tuple[tuple[str, str], ...]:
    return tuple(compare_words(before, prompt))


def _attempt_tree(attempt: Attempt) -> dict[str, Any]:
    return {
        "candidate": attempt.candidate,
        "seed": attempt.seed,
        "image": f"{attempt.round}-{attempt.candidate}",
        "width_px": attempt.image.width_px,
        "height_px": attempt.image.height_px,
        "met": count_met(attempt),
        "total": len(attempt.verdicts),
        "verdicts": msgspec.to_builtins(attempt.verdicts),
        "seconds": round(attempt.drawing.seconds + attempt.verifying.seconds, 3),
    }


def best_of(state: TrajectoryState) -> Attempt | None:
    """Return the chosen attempt of a trajectory, or its best one so far; None before the first."""
    ending = state.ending
    key = (ending.best_round, ending.best_candidate) if ending else None
    chosen = next((item for item in state.attempts if (item.round, item.candidate) == key), None)
    return chosen or leading_attempt(state.attempts)


def states_of(status: MeshStatus) -> RunStates:
    """Return which runs are paused or cancelled."""
    states = RunStates()
    states.merge(status.run_states)
    return states


def run_tree(run: RunSummary, states: RunStates) -> dict[str, Any]:
    """Return a run of a list, with its phase: `running`, `paused` or `cancelled`."""
    return {**msgspec.to_builtins(run), "phase": states.phase_of(run_bytes(run.run))}


def figures_tree(figures: RunFigures) -> dict[str, Any]:
    """Return what a run achieved by round and by kind, its failures by code, and its costs by role."""
    met, rounds = 0, []
    for number, round_ in enumerate(figures.rounds, 1):
        met += round_.gained
        rounds.append({"round": number, "trajectories": round_.trajectories, "met": met})
    return {
        "requirements": figures.requirements,
        "by_round": rounds,
        "by_kind": msgspec.to_builtins(figures.kinds),
        "failures": figures.failures,
        "spent": msgspec.to_builtins(figures.spent),
    }


def may_scale(specs: Mapping[str, RoleSpec], role: str) -> bool:
    """Return whether the number of a role's actors can be changed."""
    return role in specs and role not in OPTIONAL_ROLES and not specs[role].sharded


def mesh_tree(status: MeshStatus, specs: Mapping[str, RoleSpec], *, is_admin: bool) -> dict[str, Any]:
    """Return the mesh as the router sees it, with the restarts that supervisors count; errors are for admins."""
    supervisors = [role for role in status.roles if role.role == SUPERVISOR or is_agent_role(role.role)]
    restarts: Counter[str] = Counter()
    for role in supervisors:
        for name, count in role.totals.items():
            if name.startswith(_RESTARTS):
                restarts[name.removeprefix(_RESTARTS)] += int(count)
    loads = {
        actor.host: actor.figures[_LOAD] for role in supervisors for actor in role.actors if _LOAD in actor.figures
    }
    home = next((actor.host for role in supervisors if role.role == SUPERVISOR for actor in role.actors), None)
    played = [role for role in status.roles if role not in supervisors]
    roles = []
    for role in played:
        tree = _role_tree(role, restarts[role.role], is_admin=is_admin)
        if is_admin and home is not None and may_scale(specs, role.role):
            tree["count"] = sum(actor.host == home for actor in role.actors)
        roles.append(tree)
    return {
        "uptime_s": status.uptime_s,
        "clients": status.clients,
        "requeued": status.requeued,
        "paused_runs": sum(state.state == "paused" for state in status.run_states),
        "is_admin": is_admin,
        "hosts": [_host_tree(host, played, loads) for host in sorted(_hosts_of(status.roles))],
        "roles": roles,
    }


def _hosts_of(roles: Iterable[RoleStatus]) -> set[str]:
    return {actor.host for role in roles for actor in role.actors}


def _host_tree(host: str, roles: Iterable[RoleStatus], loads: Mapping[str, float]) -> dict[str, Any]:
    here = [actor for role in roles for actor in role.actors if actor.host == host]
    return {
        "host": host,
        "load": loads.get(host),
        "actors": len(here),
        "busy": sum(actor.busy for actor in here),
        "capacity": sum(actor.capacity for actor in here),
        "versions": sorted({actor.version for actor in here if actor.version}),
    }


def _role_tree(role: RoleStatus, restarts: int, *, is_admin: bool) -> dict[str, Any]:
    return {
        "role": role.role,
        "queued": role.queued,
        "paused": role.paused,
        "oldest_s": role.oldest_s,
        "capacity": sum(actor.capacity for actor in role.actors),
        "busy": sum(actor.busy for actor in role.actors),
        "restarts": restarts,
        "last_error": role.last_error if is_admin else "",
        "last_error_s": role.last_error_s,
        "totals": role.totals,
        "actors": [_actor_tree(actor) for actor in role.actors],
    }


def _actor_tree(actor: ActorStatus) -> dict[str, Any]:
    names = ("name", "host", "pid", "capacity", "busy", "handled", "silent_s", "oldest_s", "note")
    return {name: getattr(actor, name) for name in names}


def lessons_tree(lessons: Iterable[RecalledExperience]) -> list[dict[str, Any]]:
    """Return lessons that memory recalls for a prompt."""
    return [msgspec.to_builtins(lesson) for lesson in lessons]
