"""Limits of the wire; a message that exceeds one is refused, never truncated."""

from __future__ import annotations

MAX_FRAME_BYTES = 4 * 1024 * 1024
"""Size of a frame, header and body; messages refer to pictures, so a trajectory of five rounds stays far below."""

MAX_BLOB_BYTES = 64 * 1024 * 1024
"""Size of a picture, which travels on separate sockets."""

MAX_PROMPT_CHARS = 32_000
"""Length of a prompt, as in the OpenAI Images API."""

MAX_NOTE_CHARS = 2_000
"""Length of a lesson, of a requirement's question, and of the note that a hook gives the refiner."""

MAX_CLAIM_CHARS = 500
"""Length of the value of a claim; longer texts have no claim."""

MAX_REASON_CHARS = 8_000
"""Length of a verdict's reason: an attempt with all of its verdicts fits a frame."""

MAX_REMARK_CHARS = 1_000
"""Length of what an actor says of itself, and of the reason of a cancellation."""

MAX_NAME_CHARS = 200
"""Length of a name: of a run, process, host, role, skill, person or version, of a failure's code or of a media type."""

MAX_EXCERPT_CHARS = 200
"""Length of the part of a prompt or description that lists show."""

MAX_TEXT_CHARS = 64_000
"""Length of any other text, such as reasoning or a failure's message."""

MAX_REQUIREMENTS = 64
"""Requirements of one trajectory."""

MAX_ROUNDS = 64
"""Rounds of one trajectory."""

MAX_CANDIDATES = 64
"""Images drawn in one round."""

MAX_PROMPTS = 8
"""Prompts that the refiner writes for one round; further candidates share them in turn."""

MAX_ATTEMPTS = MAX_ROUNDS * MAX_CANDIDATES
"""Images of one trajectory."""

MAX_HOOKS = 16
"""Hooks of one trajectory, of which there are three today."""

MAX_EDITS = 8
"""Changes of a skill in one proposal: with more, learning drifts instead of improving."""

MAX_STEPS = 1000
"""Denoising steps of a picture."""

MAX_GUIDANCE = 100
"""Guidance scale of a picture."""

MAX_REFERENCES = 16
"""Pictures that one picture is drawn from, as in the OpenAI Images API."""

MAX_SIDE_PX = 8192
"""Width or height of a picture."""

MAX_ACTORS = 4096
"""Actors of one role on one host."""

MAX_SHARDS = 256
"""Number of processes that share memory."""

MAX_COUNT = 2**53 - 1
"""Any count, position or number of tokens: exact as a double in JSON, and a thousand of them stay below 2**63."""

MAX_SECONDS = 1e10
"""Any duration: 317 years."""

MAX_COST = 1e15
"""Any price, in the currency of the settings."""

MAX_UNIX_TIME = 1e11
"""Any time of a clock, in seconds before or after 1970: until the year 5138."""

MAX_FIGURES = 1_000
"""Figures that one actor reports."""

TOTAL = "total/"
"""Beginning of the names of figures that count up from the start of an actor's process; routers add their growth to the
`totals` of its role."""

CALLS = ("calls", "call_seconds")
"""Totals of a role that each router counts by itself: requests answered, and the time that they took."""

CALLS_WITHIN = "calls_within/"
"""Prefix of the names of the totals that count, for each limit in `CALLS_WITHIN_S`, requests answered within it."""

CALLS_WITHIN_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Those seconds."""

MAX_FIGURE = 1e18
"""Any figure that an actor reports, above or below zero, and any likeness; figures are finite."""

MAX_PAGE = 1_000
"""Entries of one page of a list."""

MAX_ITEMS = 262_144
"""Entries of any other array or map, such as requests in flight; a frame has no room for more."""

MAX_REVISION = MAX_COUNT
"""Revision of a run state: enough for a change each microsecond for 285 years."""
