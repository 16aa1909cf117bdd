"""Simulated errors of a verifier: faults that it does not notice, and faults that it only imagines. Pure.

Each answer errs independently, by a hash of the picture, the question and the look, so a trajectory that resumes hears
the same answer again, while another look at the same picture, such as another vote, may err in another way.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from gems_actors.backends.storyboard.scene import Kind
from gems_actors.config import VerifierErrorConfig

Word = Literal["yes", "no", "unsure"]
NO_ERRORS = VerifierErrorConfig()


@dataclass(frozen=True, slots=True)
class Eye:
    """How a verifier sees one picture."""

    errors: VerifierErrorConfig
    picture: bytes
    """Digest of the picture."""
    look: str = ""
    """What tells this look at the picture from others, such as `vote 2`, or the place in a comparison of two."""

    def sees(self, truth: Word, question: str, kind: Kind) -> Word:
        """Return what the verifier answers where a perfect one answers `truth`."""
        if truth == "unsure":
            return truth
        if self._uniform(question, "unsure") < self.errors.rate("unsure", kind):
            return "unsure"
        rate = self.errors.rate("miss" if truth == "no" else "false_alarm", kind)
        if self._uniform(question, "error") >= rate:
            return truth
        return "yes" if truth == "no" else "no"

    def _uniform(self, question: str, purpose: str) -> float:
        """Return a number in [0, 1) that depends on picture, question, look and purpose only."""
        data = "\0".join((purpose, self.look, question)).encode("utf-8", "backslashreplace")
        return int.from_bytes(hashlib.blake2b(data, digest_size=8, key=self.picture[:64]).digest()) / 2**64
