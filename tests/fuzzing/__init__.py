"""Fuzzing of everything that reads foreign bytes; `README.md` in this folder says how."""

from __future__ import annotations

TARGETS = (
    "message_bodies",
    "picture_frames",
    "skill_files",
    "settings_files",
    "allow_lists",
    "prompt_files",
    "chat_replies",
    "model_words",
    "picture_bytes",
    "memory_logs",
)
"""Modules of this folder. Each has `seeds()`, real inputs, and `check(data)`, which raises what must not happen."""
