"""Names of the runs that callers begin, by which a gateway with tokens shows each of them its own. Pure."""

from __future__ import annotations

import re

from gems_actors.gateway.tokens import Caller


def job_of(run: str) -> str | None:
    """Return the id of the job that a run is of; None for every other run."""
    match = re.search(r"-(job-[0-9a-f]{24})\Z", run) if run.startswith("http-") else None
    return match[1] if match else None


def is_run_of(caller: Caller, run: str) -> bool:
    """Return whether a caller has begun a run here; whole names, because one caller's may begin like another's."""
    own = rf"http-{re.escape(caller.name)}-([0-9a-f]{{16}}|key-[0-9a-f]{{32}}|job-[0-9a-f]{{24}})"
    return re.fullmatch(own, run) is not None
