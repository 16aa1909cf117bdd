"""The laboratory in which skills can be learnt: instructions whose effect on the pictures is known, because planted.

With planted instructions, the storyboard's planner copies the rules of the skill into the prompt, and each planted
instruction that the image model finds there changes how often it gets one kind of requirement wrong. Every change of
the rules also draws other errors, as with real models, so that a rule without effect can have good or bad luck. Without
planted instructions nothing here has any effect.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Final

from gems_actors.backends.storyboard.grammar import DIRECTION_OPENING, STRESS_OPENING
from gems_actors.backends.storyboard.scene import Claim
from gems_actors.config import PlantedInstruction

MAX_RULES_CHARS: Final = 4_000
"""Characters of a skill's rules that are copied into a prompt."""
_RULE: Final = re.compile(r"^[ \t]*(?:[-*]|\d+\.)[ \t]+(.+(?:\n[ \t]{2,}\S.*)*)", re.MULTILINE)


def rules_in(instructions: str) -> str:
    """Return the rules of a skill, which are its list items, as one line."""
    rules = " ".join(" ".join(rule.split()) for rule in _RULE.findall(instructions))
    for opening in (STRESS_OPENING, DIRECTION_OPENING):
        rules = rules.replace(opening, opening.rstrip(":"))
    return rules[:MAX_RULES_CHARS].rstrip()


class Garden:
    """The planted instructions that one prompt contains."""

    def __init__(self, planted: Sequence[PlantedInstruction], prompt: str) -> None:
        self._rules = prompt.partition(STRESS_OPENING)[0].partition(DIRECTION_OPENING)[2].casefold() if planted else ""
        self._found = [item for item in planted if " ".join(item.words.casefold().split()) in self._rules]

    def factor(self, claim: Claim) -> float:
        """Return the factor on the probability that a claim is drawn wrong."""
        factor = 1.0
        for item in self._found:
            if item.kind == claim.kind:
                factor *= item.factor
        return factor

    def seed_of_errors(self, seed: int) -> int:
        """Return the seed by which errors are drawn: the picture's own unless rules are followed."""
        if not self._rules:
            return seed
        digest = hashlib.blake2b(f"{seed}\0{self._rules}".encode("utf-8", "backslashreplace"), digest_size=4).digest()
        return int.from_bytes(digest, "big")
