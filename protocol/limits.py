"""The largest things the wire carries; a message beyond them is refused, never cut."""

from __future__ import annotations

MAX_FRAME_BYTES = 4 * 1024 * 1024
"""One frame, header and body. Pictures travel by reference, so a trajectory of five rounds stays far below."""

MAX_BLOB_BYTES = 64 * 1024 * 1024
"""One picture that travels by itself, beside the messages."""

MAX_PROMPT_CHARS = 32_000
"""One prompt; the limit of the OpenAI Images API, which the gateways before us share."""

MAX_TEXT_CHARS = 64_000
"""One text that is no prompt: reasoning, a failure's message."""

MAX_REQUIREMENTS = 64
"""Requirements of one trajectory."""

MAX_ROUNDS = 64
"""Rounds of one trajectory."""

MAX_CANDIDATES = 64
"""Images drawn in one round."""

MAX_STEPS = 1000
"""Denoising steps of a picture."""

MAX_GUIDANCE = 100
"""Strength of guidance."""

MAX_SIDE_PX = 8192
"""Width or height of a picture."""

MAX_SHARDS = 256
"""Processes that memory is shared out over."""

MAX_REVISION = 2**53 - 1
"""Of a mark: exact in every language, and 285 years of a change a microsecond."""
