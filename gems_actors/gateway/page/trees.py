"""What the page shows of runs, trajectories and the mesh, as trees for JSON. Pure.

Texts of prompts and models are passed on as they are: the page shows them as text, and never as markup.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from gems_actors.app.draw_progress import compare_words, count_met, leading_attempt
from protocol.messages import (
    ActorStatus,
    Attempt,
    MeshStatus,
    RecalledExperience,
    RoleStatus,
    TrajectoryState,
)

_RESTARTS = "restarts/"
"""Beginning of the figures in which a supervisor reports how often it replaced processes of a role."""


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
        "rounds": [_round_tree(state, round_) for round_ in rounds],
        "spent": msgspec.to_builtins(state.spent),
    }


def _round_tree(state: TrajectoryState, round_: int) -> dict[str, Any]:
    attempts = [attempt for attempt in state.attempts if attempt.round == round_]
    ending = state.ending
    is_chosen = ending is not None and ending.best_round == round_
    chosen = [item for item in attempts if is_chosen and ending and item.candidate == ending.best_candidate]
    leading = (chosen or [leading_attempt(attempts) or attempts[0]])[0]
    before = state.request_prompt if round_ == 1 else state.prompt_of(round_ - 1) or state.request_prompt
    prompt = state.prompt_of(round_) or leading.prompt
    refinement = state.refinement_of(round_)
    return {
        "round": round_,
        "is_chosen": is_chosen,
        "prompt": prompt,
        "changes": [{"change": change, "text": text} for change, text in compare_words(before, prompt)],
        "action": refinement.action if refinement else None,
        "reasoning": refinement.reasoning if refinement else "",
        "experience": next((item.text for item in state.experiences if item.round == round_), None),
        "leading": leading.candidate,
        "attempts": [_attempt_tree(attempt) for attempt in attempts],
    }


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


def mesh_tree(status: MeshStatus) -> dict[str, Any]:
    """Return the mesh as the router sees it, with the restarts that supervisors count."""
    restarts: dict[str, float] = {}
    for role in status.roles:
        for actor in role.actors:
            for name, count in actor.figures.items():
                if name.startswith(_RESTARTS):
                    role_name = name.removeprefix(_RESTARTS)
                    restarts[role_name] = restarts.get(role_name, 0) + count
    return {
        "uptime_s": status.uptime_s,
        "clients": status.clients,
        "requeued": status.requeued,
        "paused_runs": len(status.run_states),
        "roles": [_role_tree(role, restarts.get(role.role, 0)) for role in status.roles],
    }


def _role_tree(role: RoleStatus, restarts: float) -> dict[str, Any]:
    return {
        "role": role.role,
        "queued": role.queued,
        "paused": role.paused,
        "oldest_s": role.oldest_s,
        "capacity": sum(actor.capacity for actor in role.actors),
        "busy": sum(actor.busy for actor in role.actors),
        "restarts": int(restarts),
        "totals": role.totals,
        "actors": [_actor_tree(actor) for actor in role.actors],
    }


def _actor_tree(actor: ActorStatus) -> dict[str, Any]:
    names = ("name", "host", "pid", "capacity", "busy", "handled", "silent_s", "oldest_s", "note")
    return {name: getattr(actor, name) for name in names}


def lessons_tree(lessons: Iterable[RecalledExperience]) -> list[dict[str, Any]]:
    """Return lessons that memory recalls for a prompt."""
    return [msgspec.to_builtins(lesson) for lesson in lessons]
