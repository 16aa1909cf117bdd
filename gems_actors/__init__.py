"""What a program needs to use or extend a mesh; every guide imports from here and nowhere deeper.

Names are loaded when they are first used, so importing this package loads neither trio nor ZeroMQ.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

# fmt: off
# isort: off
if TYPE_CHECKING:
    from gems_actors.actor import Actor, answers, current_call
    from gems_actors.app.plain_draw import Drawing, DrawnRound, draw
    from gems_actors.app.references.drawing import put_images
    from gems_actors.backends import (
        ChatMessage, ChatModel, ChatReply, ChatRequest, GeneratedImage, ImageModel, ImagePart, ImageRequest, TextPart,
    )
    from gems_actors.blobs import BlobStore
    from gems_actors.client import Mesh, open_client
    from gems_actors.config import ChatModelConfig, ImageConfig, MeshConfig, load_config
    from gems_actors.errors import (
        AddressInUseError, BackendError, BlobError, CancelledRequestError, ConfigError, DeadlineError, ForbiddenError,
        GemsError, InternalError, LogError, MeshRefusedError, MeshUnavailableError, ModelOutputError, OverloadedError,
        PoisonedError, RefusedError, RequestError, SupervisorError, UnansweredError, UnsupportedError, UsageError,
    )
    from gems_actors.roles import RoleSpec
    from gems_actors.supervision.service import run_mesh
    from gems_actors.testing import open_test_mesh
    from protocol.messages import (
        AfterVerdicts, Attempt, BeforePlan, BeforeRefinement, BestAttempt, Budget, Controlled, ControlRun, CountRecords,
        DrawPicture, DrawSettings, Ending, Event, Experience, FindBestAttempt, ImageDrawn, ImageRef, ListRuns,
        ListTrajectories, MemoryCounts, MeshStatus, Picture, PreparedPrompt, ReadStatus, ReadTrajectory,
        RecalledExperience, RecallExperiences, Recollection, RefinementNote, Reply, Request, Requirement,
        ReviewedVerdicts, Runs, RunSummary, Spent, StepTaken, Trajectories, TrajectoryState, TrajectorySummary, Verdict,
    )

__all__ = [
    "Actor", "AddressInUseError", "AfterVerdicts", "Attempt", "BackendError", "BeforePlan", "BeforeRefinement",
    "BestAttempt", "BlobError", "BlobStore", "Budget", "CancelledRequestError", "ChatMessage", "ChatModel",
    "ChatModelConfig", "ChatReply", "ChatRequest", "ConfigError", "ControlRun", "Controlled", "CountRecords",
    "DeadlineError", "DrawPicture", "DrawSettings", "Drawing", "DrawnRound", "Ending", "Event", "Experience",
    "FindBestAttempt", "ForbiddenError", "GemsError", "GeneratedImage", "ImageConfig", "ImageDrawn", "ImageModel",
    "ImagePart", "ImageRef", "ImageRequest", "InternalError", "ListRuns", "ListTrajectories", "LogError",
    "MemoryCounts", "Mesh", "MeshConfig", "MeshRefusedError", "MeshStatus", "MeshUnavailableError", "ModelOutputError",
    "OverloadedError", "Picture", "PoisonedError", "PreparedPrompt", "ReadStatus", "ReadTrajectory",
    "RecallExperiences", "RecalledExperience", "Recollection", "RefinementNote", "RefusedError", "Reply", "Request",
    "RequestError", "Requirement", "ReviewedVerdicts", "RoleSpec", "RunSummary", "Runs", "Spent", "StepTaken",
    "SupervisorError", "TextPart", "Trajectories", "TrajectoryState", "TrajectorySummary", "UnansweredError",
    "UnsupportedError", "UsageError", "Verdict", "__version__", "answers", "current_call", "draw", "load_config",
    "open_client", "open_test_mesh", "put_images", "run_mesh",
]
# fmt: on

__version__ = "0.1.0"

_HOMES = (
    "protocol.messages", "gems_actors.errors", "gems_actors.roles", "gems_actors.config", "gems_actors.client",
    "gems_actors.actor", "gems_actors.blobs", "gems_actors.backends", "gems_actors.supervision.service",
    "gems_actors.testing", "gems_actors.app.plain_draw", "gems_actors.app.references.drawing",
)  # fmt: skip
"""Modules that define the public names, in the order in which they import one another."""


def __getattr__(name: str) -> object:
    for module in _HOMES if name in __all__ else ():
        home = importlib.import_module(module)
        if hasattr(home, name):
            globals()[name] = getattr(home, name)  # found at once from now on
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
