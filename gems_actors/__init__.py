"""What a program needs to use or extend a mesh; every guide imports from here and nowhere deeper.

Names are loaded when they are first used, so importing this package loads neither trio nor ZeroMQ.
"""

# ruff: noqa: I001 -- one import statement per module, with `as` for type checkers

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gems_actors.actor import Actor as Actor, answers as answers, current_call as current_call
    from gems_actors.backends import (
        ChatMessage as ChatMessage,
        ChatModel as ChatModel,
        ChatReply as ChatReply,
        ChatRequest as ChatRequest,
        GeneratedImage as GeneratedImage,
        ImageModel as ImageModel,
        ImagePart as ImagePart,
        ImageRequest as ImageRequest,
        TextPart as TextPart,
    )
    from gems_actors.blobs import BlobStore as BlobStore
    from gems_actors.client import Mesh as Mesh, open_client as open_client
    from gems_actors.config import (
        ChatModelConfig as ChatModelConfig,
        ImageConfig as ImageConfig,
        MeshConfig as MeshConfig,
        load_config as load_config,
    )
    from gems_actors.errors import (
        AddressInUseError as AddressInUseError,
        BackendError as BackendError,
        BlobError as BlobError,
        CancelledRequestError as CancelledRequestError,
        ConfigError as ConfigError,
        DeadlineError as DeadlineError,
        ForbiddenError as ForbiddenError,
        GemsError as GemsError,
        InternalError as InternalError,
        LogError as LogError,
        MeshRefusedError as MeshRefusedError,
        MeshUnavailableError as MeshUnavailableError,
        ModelOutputError as ModelOutputError,
        OverloadedError as OverloadedError,
        PoisonedError as PoisonedError,
        RefusedError as RefusedError,
        RequestError as RequestError,
        SupervisorError as SupervisorError,
        UnansweredError as UnansweredError,
        UsageError as UsageError,
    )
    from gems_actors.roles import RoleSpec as RoleSpec
    from gems_actors.supervision.service import run_mesh as run_mesh
    from gems_actors.testing import open_test_mesh as open_test_mesh
    from protocol.messages import (
        AfterVerdicts as AfterVerdicts,
        Attempt as Attempt,
        BeforePlan as BeforePlan,
        BeforeRefinement as BeforeRefinement,
        BestAttempt as BestAttempt,
        Budget as Budget,
        Controlled as Controlled,
        ControlRun as ControlRun,
        CountRecords as CountRecords,
        DrawPicture as DrawPicture,
        DrawSettings as DrawSettings,
        Ending as Ending,
        Event as Event,
        Experience as Experience,
        FindBestAttempt as FindBestAttempt,
        ImageDrawn as ImageDrawn,
        ImageRef as ImageRef,
        ListRuns as ListRuns,
        ListTrajectories as ListTrajectories,
        MemoryCounts as MemoryCounts,
        MeshStatus as MeshStatus,
        Picture as Picture,
        PreparedPrompt as PreparedPrompt,
        ReadStatus as ReadStatus,
        ReadTrajectory as ReadTrajectory,
        RecalledExperience as RecalledExperience,
        RecallExperiences as RecallExperiences,
        Recollection as Recollection,
        RefinementNote as RefinementNote,
        Reply as Reply,
        Request as Request,
        Requirement as Requirement,
        ReviewedVerdicts as ReviewedVerdicts,
        Runs as Runs,
        RunSummary as RunSummary,
        Spent as Spent,
        StepTaken as StepTaken,
        Trajectories as Trajectories,
        TrajectoryState as TrajectoryState,
        TrajectorySummary as TrajectorySummary,
        Verdict as Verdict,
    )

__version__ = "0.1.0"

_EXPORTS = {
    "gems_actors.actor": "Actor answers current_call",
    "gems_actors.backends": (
        "ChatMessage ChatModel ChatReply ChatRequest GeneratedImage ImageModel ImagePart ImageRequest TextPart"
    ),
    "gems_actors.blobs": "BlobStore",
    "gems_actors.client": "Mesh open_client",
    "gems_actors.config": "ChatModelConfig ImageConfig MeshConfig load_config",
    "gems_actors.errors": (
        "AddressInUseError BackendError BlobError CancelledRequestError ConfigError DeadlineError "
        "ForbiddenError GemsError InternalError LogError MeshRefusedError MeshUnavailableError "
        "ModelOutputError OverloadedError PoisonedError RefusedError RequestError SupervisorError "
        "UnansweredError UsageError"
    ),
    "gems_actors.roles": "RoleSpec",
    "gems_actors.supervision.service": "run_mesh",
    "gems_actors.testing": "open_test_mesh",
    "protocol.messages": (
        "AfterVerdicts Attempt BeforePlan BeforeRefinement BestAttempt Budget ControlRun Controlled CountRecords "
        "DrawPicture DrawSettings Ending Event Experience FindBestAttempt ImageDrawn ImageRef ListRuns "
        "ListTrajectories MemoryCounts MeshStatus Picture PreparedPrompt ReadStatus ReadTrajectory "
        "RecallExperiences RecalledExperience Recollection RefinementNote Reply Request Requirement "
        "ReviewedVerdicts RunSummary Runs Spent StepTaken Trajectories TrajectoryState TrajectorySummary Verdict"
    ),
}
"""Public names by the module that defines them."""

_HOMES = {name: module for module, names in _EXPORTS.items() for name in names.split()}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 -- strings, taken from the table


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # found at once from now on
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
