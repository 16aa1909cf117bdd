"""The roles, one module each. A role knows messages and never another role; only the conductor knows the order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ROLES: Final[Mapping[str, str]] = {
    "memory": "actors.memory:Memory",
    "generator": "actors.generator:Generator",
    "verifier": "actors.verifier:Verifier",
    "compressor": "actors.compressor:Compressor",
    "refiner": "actors.refiner:Refiner",
    "decomposer": "actors.decomposer:Decomposer",
    "planner": "actors.planner:Planner",
    "conductor": "actors.conductor:Conductor",
}
"""Where the class of each role is; text, so that a process loads no role but its own."""
