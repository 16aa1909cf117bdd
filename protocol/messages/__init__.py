"""Every body that travels: requests and their replies, events, the records of memory, and the link's own messages.

Bodies are frozen and typed; on the wire each is a msgpack map whose `type` names its class. A field may be added with a
default at any time (older readers skip it); to change what a field means, add another type. A request names the role
that answers it and, through its base, the type of its reply. Each module is one chapter; import from this package.
"""

from __future__ import annotations

from typing import Any

from protocol.messages.control import *
from protocol.messages.events import *
from protocol.messages.figures import *
from protocol.messages.learning import *
from protocol.messages.link import *
from protocol.messages.loop import *
from protocol.messages.memory import *
from protocol.messages.records import *
from protocol.messages.values import *

LINK_BODIES: tuple[type[Body], ...] = (
    Hello, Welcome, Heartbeat, Pulse, HelloAgain, Capacity, Goodbye, Subscribe, Cancel, Failure,
)  # fmt: skip
REQUESTS: tuple[type[Request[Any]], ...] = (
    ReadStatus, ReportLoss, ControlRun, ScaleRole, StopMesh, PlanPrompt, DecomposePrompt, GenerateImage, VerifyImage,
    CompareImages, CompressAttempt, RefinePrompt, BeforePlan, AfterVerdicts, BeforeRefinement, DrawPicture,
    AppendRecord, AppendRecords, ReadTrajectory, ReadTimeline, FindBestAttempt, ListTrajectories, SearchTrajectories,
    ListRuns, ReadRunFigures, RecallExperiences, ReadLog, CountRecords, CountSkills,
    ProposeSkill,
)  # fmt: skip
REPLIES: tuple[type[Reply], ...] = (
    MeshStatus, Noted, Controlled, Scaled, Plan, Requirements, Image, Verification, Comparison, Lesson, Refined,
    PreparedPrompt, ReviewedVerdicts, RefinementNote, Picture, Appended, TrajectoryState, Timeline, BestAttempt,
    Trajectories, Runs, RunFigures, Recollection, LoggedRecords, MemoryCounts, SkillUses,
    SkillProposal,
)  # fmt: skip
EVENTS: tuple[type[Event], ...] = (ActorJoined, ActorLeft, StepTaken, ImageDrawn)
RECORDS: tuple[type[Record], ...] = (
    RunBegun, RecordsLost, TrajectoryBegun, PromptPrepared, PromptPlanned, PromptDecomposed, AttemptVerified,
    VerdictsReviewed, ExperienceKept, RefinementNoted, PromptRefined, AttemptsCompared, TrajectoryEnded,
    TrajectoryReopened, TrajectoryFailed, SkillTried,
)  # fmt: skip
