"""Limits of the wire; a message that exceeds one is refused, never truncated."""

from __future__ import annotations

MAX_FRAME_BYTES = 4 * 1024 * 1024
"""Size of a frame, header and body; messages refer to pictures, so a trajectory of five rounds stays far below."""

MAX_BLOB_BYTES = 64 * 1024 * 1024
"""Size of a picture, which travels on separate sockets."""

MAX_PROMPT_CHARS = 32_000
"""Length of a prompt, as in the OpenAI Images API."""

MAX_NOTE_CHARS = 2_000
"""Length of the note that a hook gives the refiner."""

MAX_TEXT_CHARS = 64_000
"""Length of any other text, such as reasoning or a failure's message."""

MAX_REQUIREMENTS = 64
"""Requirements of one trajectory."""

MAX_ROUNDS = 64
"""Rounds of one trajectory."""

MAX_CANDIDATES = 64
"""Images drawn in one round."""

MAX_STEPS = 1000
"""Denoising steps of a picture."""

MAX_GUIDANCE = 100
"""Guidance scale of a picture."""

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

MAX_REVISION = MAX_COUNT
"""Revision of a run state: enough for a change each microsecond for 285 years."""
