"""The storyboard's curator: generalises the wording with which refinements turned requirements from unmet to met.

It knows only the evidence that it is shown. A prompt that met a requirement at last said it in a clause of its own; the
rule that follows is to say all requirements of that kind so from the beginning. Whether that helps is for a trial.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gems_actors.backends.storyboard.claims import parse_claim
from gems_actors.backends.storyboard.grammar import STRESS_OPENING
from gems_actors.backends.storyboard.scene import Claim

_NOUNS: Final = {
    "object": "thing",
    "count": "count",
    "attribute": "attribute",
    "position": "position",
    "action": "action",
    "text": "text",
    "style": "style",
    "other": "detail",
}


def propose(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the proposal for the kind of requirement that was turned most often and has no such rule yet."""
    skill = fields["skill"]
    known = str(skill["instructions"]) if skill else ""
    tried = "\n".join(str(item) for item in fields["rejected"])
    for kind, clause in _turned(fields["turns"]):
        rule = f"- State every {_NOUNS[kind]} in a clause of its own"
        if rule in known or rule in tried:
            continue
        line = f"{rule}, such as: {clause}."
        if skill:
            return {"edits": [{"action": "add", "line": "", "text": line}], "reasoning": _reason(fields, kind)}
        noun = _NOUNS[kind]
        return {
            "edits": [],
            "id": f"clear-{noun}s",
            "description": f"Use for prompts that ask for a certain {noun}, where it is easily drawn wrong.",
            "instructions": f"# Clear {noun}s\n\n{line}\n",
            "reasoning": _reason(fields, kind),
        }
    return {"edits": [], "reasoning": "Every kind of wording that helped is a rule, or was tried as one."}


def _turned(turns: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return kinds with an example of the clause that only the second prompt has, those turned most often first."""
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for turn in turns:
        claim = parse_claim(str(turn["question"]))
        if claim is None:
            continue
        said, said_before = (_clauses_of(str(turn[name])) for name in ("after", "before"))
        if claim in said and claim not in said_before:
            counts[str(turn["kind"])] += 1
            examples.setdefault(str(turn["kind"]), said[claim])
    return [(kind, examples[kind]) for kind, _ in counts.most_common()]


def _clauses_of(prompt: str) -> dict[Claim, str]:
    """Return what a prompt says in clauses of their own."""
    clauses = (clause.strip().rstrip("!") for clause in prompt.partition(STRESS_OPENING)[2].split(";"))
    return {claim: clause for clause in clauses if (claim := parse_claim(clause)) is not None}


def _reason(fields: Mapping[str, Any], kind: str) -> str:
    found = next((item for item in fields["counts"] if item["kind"] == kind), None)
    many = f" {found['turned']} of {found['unmet']} were met" if found else " some were met"
    return f"Of unmet requirements of kind {kind},{many} once the prompt said them in a clause of their own."
