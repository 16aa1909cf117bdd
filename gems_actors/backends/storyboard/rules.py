"""Answers the tasks of a trajectory by rules, in the formats that language models are asked for.

All pure functions of a request's fields; the tasks that look at a picture are in `models`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from gems_actors.backends import ChatReply
from gems_actors.backends.storyboard.claims import ask, ask_about, claim_fields, parse_claim, state
from gems_actors.backends.storyboard.editing.instructions import parse_instruction
from gems_actors.backends.storyboard.editing.keeping import ask_kept
from gems_actors.backends.storyboard.grammar import DIRECTION_OPENING, STRESS_OPENING, parse_scene
from gems_actors.backends.storyboard.laboratory.curating import propose
from gems_actors.backends.storyboard.laboratory.planted import rules_in
from gems_actors.backends.storyboard.scene import Claim, Scene, claims_of
from gems_actors.errors import BackendError

_MAX_EXCLAMATIONS: Final = 3
_MAX_WORDS: Final = 95
_MIN_SKILL_SCORE: Final = 2.0
_MAX_HARD_KINDS: Final = 2
_MAX_FORESEEN: Final = 6
"""Maximum claims stressed because of lessons before any failed; stressing everything stresses nothing."""
_MAX_FAILURES: Final = 6
"""Failures of a claim after which the refiner gives it up, if it was stressed as much as words can."""
_VIEWS: Final = (
    "seen from above, every part by itself",
    "seen from the front, the hardest part in the middle",
    "seen from near, nothing else around",
    "seen from far, all parts in one row",
    "seen from the side, the parts one behind another",
    "drawn plainly, large and with wide gaps",
    "drawn from left to right in the order of the request",
)
"""Directions by which the prompts of several candidates differ."""
_HARDEST: Final = re.compile(r"\bHardest: ([a-z]+(?:, [a-z]+)*)\.")
"""Phrase by which `_compress` names the kinds of claims that failed most."""
_HINTS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    (r"\b(chart|diagram|graph|infographic|plot|flowchart|table of)\b", ("chart", "diagram", "infographic")),
    (r"[\"“「«]|\b(text|sign|says|reads|poster|title|letters|slogan|logo)\b", ("text", "typography", "lettering")),
    (
        r"\b(left of|right of|above|below|under|behind|in front of|on top of|next to|between|beside|inside)\b",
        ("spatial", "position", "layout"),
    ),
    (r"\b(two|three|four|five|six|seven|eight|nine|ten|dozen|\d+)\b", ("count", "number", "quantity")),
    (r"\b(photo|portrait|cinematic|film|lens)\b", ("photo", "cinematic", "portrait")),
    (r"\b(watercolou?r|painting|sketch|style|anime|cartoon|aesthetic)\b", ("style", "aesthetic", "artistic", "art")),
    (r"\b(creative|imaginative|surreal|unusual)\b", ("creative", "imaginative")),
)
"""Patterns in a prompt, each with the words in a skill's name that it speaks for."""
_COMMON: Final = frozenset(
    ("the", "and", "for", "with", "that", "this", "from", "into", "when", "use", "used", "image", "images", "prompt")
)


def answer(task: str, fields: Mapping[str, Any]) -> ChatReply:
    """Return the reply to one task that needs no picture.

    Raises:
        BackendError: the task is unknown, or a field is missing.
    """
    rule = _RULES.get(task)
    if rule is None:
        raise BackendError(f"storyboard chat: expected a task of {', '.join(_RULES)}, got {task!r}")
    try:
        return rule(fields)
    except KeyError as error:
        raise BackendError(f"storyboard chat: task {task!r} needs the field {error}") from error


def _route_skill(fields: Mapping[str, Any]) -> ChatReply:
    prompt = str(fields["prompt"])
    scores = {str(skill["id"]): _score(prompt, skill) for skill in fields["manifest"]}
    best = max(scores, key=lambda name: scores[name], default=None)
    if best is None or scores[best] < _MIN_SKILL_SCORE:
        return ChatReply(_json({"skill": None}), "No skill fits this prompt well.")
    return ChatReply(_json({"skill": best}), f"The words of the prompt speak for {best}.")


def _score(prompt: str, skill: Mapping[str, str]) -> float:
    """Return a score from the words that prompt and skill share; hints at the skill's name count most."""
    name = skill["id"].lower()
    shared = _words(prompt) & _words(f"{name} {skill.get('description', '')}")
    score = 0.5 * len(shared)
    for rank, (pattern, marks) in enumerate(_HINTS):
        if re.search(pattern, prompt, re.IGNORECASE) and any(mark in name for mark in marks):
            score += 4 - 0.3 * rank
    return score


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"[^\W\d_]{3,}", text.lower()) if word not in _COMMON}


def _write_prompt(fields: Mapping[str, Any]) -> ChatReply:
    prompt = str(fields["prompt"]).rstrip()
    thoughts = ["The prompt keeps every requirement"]
    advice = ""
    if fields["skill"] is not None:
        skill = str(fields["skill"]).replace("_", " ").replace("-", " ")
        advice = f"\n\n{DIRECTION_OPENING} composed with {skill} in mind, every part clear and fully in view."
        if fields.get("follows_rules"):
            advice = f"{advice} {rules_in(str(fields['instructions']))}".rstrip()
        thoughts.append(f"the skill {skill} shapes how it is composed")
    levels: Counter[Claim] = Counter()
    scene, hard = _scene_of(fields), _hard_kinds(fields)
    if foreseen := _foresee(scene, hard):
        levels = Counter(dict(scene.stress)) + Counter(foreseen)
        thoughts.append(f"lessons of other pictures call for stress on {' and '.join(hard)}")
    return ChatReply(_json({"prompt": _stress(prompt, scene, levels, advice)}), f"{'; '.join(thoughts)}.")


def _scene_of(fields: Mapping[str, Any]) -> Scene:
    """Return what the prompt of a task asks for; one with references is an instruction about them."""
    prompt = str(fields["prompt"])
    return parse_instruction(prompt).scene if fields.get("references") else parse_scene(prompt)


def _decompose(fields: Mapping[str, Any]) -> ChatReply:
    scene = _scene_of(fields)
    claims = claims_of(scene)
    ids = {claim: f"r{number}" for number, claim in enumerate(claims, start=1)}
    questions: list[dict[str, Any]] = [
        {
            "id": ids[claim],
            "question": ask(claim, scene),
            "kind": claim.kind,
            "depends_on": None if claim.kind == "object" else ids.get(Claim("object", claim.subject)),
            **({"claim": claim_fields(claim)} if fields.get("with_claims") else {}),
        }
        for claim in claims
    ]
    questions += [
        {
            "id": f"r{len(claims) + number}",
            "question": ask_about(words),
            "kind": "other",
            "depends_on": None,
            "not_understood": words,
        }
        for number, words in enumerate(scene.not_understood, start=1)
    ]
    if fields.get("references"):
        kept = {"question": ask_kept(parse_instruction(str(fields["prompt"]))), "kind": "other", "compares": True}
        questions.append({"id": f"r{len(questions) + 1}", "depends_on": None, **kept})
    thoughts = f"The prompt names {len(scene.things)} things and {len(claims)} requirements."
    return ChatReply(_json({"requirements": questions}), thoughts)


def _compress(fields: Mapping[str, Any]) -> ChatReply:
    met, unmet = [str(q) for q in fields["met"]], [str(q) for q in fields["unmet"]]
    kinds = Counter(claim.kind for claim in map(parse_claim, unmet) if claim is not None)
    parts = [f"{len(met)} of {len(met) + len(unmet)} requirements met."]
    parts += [f"Worked: {_listed(met)}."] if met else []
    parts += [f"Failed: {_listed(unmet)}."] if unmet else ["Nothing failed; keep the wording."]
    if kinds:
        parts.append(f"Hardest: {', '.join(kind for kind, _ in kinds.most_common(3))}.")
    if unmet:
        before = " again, more strongly than before" if fields.get("experiences") else ""
        parts.append(f"Next: insist on each failed point in a clause of its own{before}.")
    return ChatReply(" ".join(" ".join(parts).split()[:_MAX_WORDS]))


def _listed(questions: list[str]) -> str:
    """Return the first few questions as clauses."""
    clauses = []
    for question in questions[:3]:
        claim = parse_claim(question)
        words = (state(claim, Scene()) if claim is not None else question.rstrip("?")).split()
        clauses.append(" ".join(words[:9]))
    return "; ".join(clauses) + (f" and {len(questions) - 3} more" if len(questions) > 3 else "")


def _hard_kinds(fields: Mapping[str, Any]) -> list[str]:
    """Return the kinds of claims that the lessons of other pictures name most often as the hardest."""
    named = (match[1] for lesson in fields.get("lessons", ()) for match in _HARDEST.finditer(str(lesson)))
    kinds = Counter(kind for names in named for kind in names.split(", "))
    return [kind for kind, _ in kinds.most_common(_MAX_HARD_KINDS)]


def _foresee(scene: Scene, hard: Iterable[str]) -> list[Claim]:
    """Return the claims to stress before any has failed, those of the hardest kind first."""
    return [claim for kind in hard for claim in claims_of(scene) if claim.kind == kind][:_MAX_FORESEEN]


def _refine(fields: Mapping[str, Any]) -> ChatReply:
    prompt, attempts = str(fields["prompt"]), list(fields["attempts"])
    scene = _scene_of(fields)
    failed = [_claims_in((*attempt.get("unmet", ()), *attempt.get("unsure", ()))) for attempt in attempts]
    failures = Counter(claim for claims in failed for claim in claims)
    for other in (other for attempt in attempts for other in attempt.get("others", ())):
        failures.update(_claims_in(other["missed"]))
    latest = attempts[-1] if attempts else {}
    missed = [str(question) for question in latest.get("unmet", ())]
    diagnosis = f"The last picture misses: {_listed(missed)}." if missed else "The last picture misses nothing known."
    count = int(fields.get("prompts", 1))
    instructions = _instructions(fields, attempts, scene, count)
    action = "rewrite" if fields.get("must_rewrite") else _action(failed, failures, attempts)
    action = "edit" if instructions else action
    answer: dict[str, Any] = {"diagnosis": diagnosis, "action": action}
    if fields.get("with_lesson"):
        experiences = [attempt["experience"] for attempt in attempts if attempt.get("experience")]
        answer["lesson"] = _compress({**latest, "experiences": experiences}).text
    written = _rewrite(prompt, scene, failures, _hard_kinds(fields), count) if action == "rewrite" else instructions
    answer |= {"prompt": "".join(written)} if count == 1 else {"prompts": written}
    earlier = len(Counter(dict(scene.stress)) + failures) - len(set(_claims_in(missed)))
    reasoning = f"{len(missed)} requirements failed last; {max(earlier, 0)} that failed earlier keep their stress."
    if action == "edit":
        reasoning = f"{_listed(missed)} is all that is left to put right in the best picture."
    elif action != "rewrite":
        reasoning = f"{len(missed)} requirements failed last, though they were stressed as much as words can."
    return ChatReply(_json(answer), reasoning)


def _instructions(fields: Mapping[str, Any], attempts: list[Mapping[str, Any]], scene: Scene, count: int) -> list[str]:
    """Return instructions to edit the best picture if it lacks one thing alone; none otherwise.

    Only where the task has references: without them, other pictures come closer to what real models do, which edit less
    surely than a storyboard is edited.
    """
    if not fields.get("references") or fields.get("must_rewrite"):
        return []
    best = next((item for item in attempts if item["round"] == fields.get("edits_round")), None)
    if best is None:
        return []
    missed = [str(question) for question in (*best["unmet"], *best["unsure"])]
    claims = _claims_in(missed)
    if len(missed) != 1 or not claims or not best["met"]:
        return []
    tried = sum(item.get("edited") is not None and missed[0] in item["unmet"] for item in attempts)
    if tried > _MAX_EXCLAMATIONS:
        return []
    clause = state(claims[0], scene)
    marks = ["!" * min(tried + number, _MAX_EXCLAMATIONS) for number in range(count)]
    return [
        f"Change the picture so that {clause}{mark}. Keep everything else as it is." for mark in dict.fromkeys(marks)
    ]


def _claims_in(questions: Iterable[object]) -> list[Claim]:
    return [claim for claim in map(parse_claim, map(str, questions)) if claim is not None]


def _action(failed: list[list[Claim]], failures: Counter[Claim], attempts: list[Mapping[str, Any]]) -> str:
    """Return `rewrite`, unless the last prompt stressed all that failed as much as words can.

    Then more words change nothing: chance gets another try, and if that does not help either, the end.
    """
    latest = failed[-1] if failed else []
    stressed = parse_scene(str(attempts[-1].get("prompt", ""))).stress if attempts else ()
    strongest = {claim for claim, level in stressed if level > _MAX_EXCLAMATIONS}
    if not latest or not strongest.issuperset(latest):
        return "rewrite"
    return "stop" if all(failures[claim] > _MAX_FAILURES for claim in latest) else "resample"


def _rewrite(prompt: str, scene: Scene, failures: Counter[Claim], hard: list[str], count: int) -> list[str]:
    """Return prompts that stress what failed; those after the first also what is like it, from another viewpoint."""
    levels = Counter(dict(scene.stress)) + failures
    # Stress from lessons stays, and grows for claims that failed all the same.
    foreseen = dict.fromkeys([*_foresee(scene, hard), *(claim for claim in failures if claim.kind in hard)])
    levels += Counter(foreseen.keys())
    prompts = [_stress(prompt, scene, levels)]
    kinds = [*dict.fromkeys(claim.kind for claim in failures)]
    for view in _VIEWS[: count - 1]:
        alike = [claim for claim in _foresee(scene, kinds) if claim not in levels]
        prompts.append(_stress(prompt, scene, levels + Counter(alike), f"\n\n{DIRECTION_OPENING} {view}."))
    return prompts


def _propose_skill(fields: Mapping[str, Any]) -> ChatReply:
    proposal = propose(fields)
    return ChatReply(_json(proposal), str(proposal["reasoning"]))


def _stress(prompt: str, scene: Scene, levels: Mapping[Claim, int], advice: str = "") -> str:
    """Return the prompt with advice appended, and with clauses that stress claims according to their levels.

    Earlier stress is replaced; without any level the prompt is not changed.
    """
    if not levels:
        return prompt + advice
    known = claims_of(scene)
    ordered = sorted(levels, key=lambda claim: known.index(claim) if claim in known else len(known))
    clauses = [state(c, scene) + "!" * min(levels[c] - 1, _MAX_EXCLAMATIONS) for c in ordered]
    base = prompt.partition(STRESS_OPENING)[0].rstrip()
    return f"{base}{advice}\n\n{STRESS_OPENING} {'; '.join(clauses)}"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


_RULES: Final[dict[str, Callable[[Mapping[str, Any]], ChatReply]]] = {
    "route_skill": _route_skill,
    "write_prompt": _write_prompt,
    "decompose": _decompose,
    "compress": _compress,
    "refine": _refine,
    "propose_skill": _propose_skill,
}
