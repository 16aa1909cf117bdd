"""The events and the picture of a draw with two rounds."""

from __future__ import annotations

from protocol.messages import (
    Answer,
    Attempt,
    AttemptVerified,
    DrawSettings,
    Ending,
    Event,
    Experience,
    ExperienceKept,
    ImageDrawn,
    ImageRef,
    Picture,
    PromptDecomposed,
    PromptPlanned,
    PromptRefined,
    Refinement,
    Requirement,
    Spent,
    StepTaken,
    TrajectoryEnded,
    Verdict,
)

PROMPT = "a green backpack and four rabbits beside a sign that says 開店"
FIRST_PROMPT = "A picture of a green backpack and four rabbits beside a sign"
SECOND_PROMPT = "A picture of a green backpack and EXACTLY four rabbits beside a sign that reads 開店"
TRAJECTORY = "0" * 32
IMAGE = ImageRef(digest="sha256:" + "0" * 64, media_type="image/png", bytes=1, width_px=64, height_px=48)
REQUIREMENTS = (
    Requirement(id="r1", question="Is there a green backpack in the picture, right in the middle?", kind="object"),
    Requirement(id="r2", question="Are there exactly four rabbits?", kind="count", depends_on="r1"),
    Requirement(id="r3", question="Is the sign's text 開店?", kind="text"),
)


def attempt(round_: int, *answers: Answer, candidate: int = 1, seconds: float = 0.5) -> Attempt:
    """Return an attempt with a verdict on each requirement."""
    return Attempt(
        round=round_,
        candidate=candidate,
        prompt=FIRST_PROMPT if round_ == 1 else SECOND_PROMPT,
        image=IMAGE,
        seed=6 + round_,
        verdicts=tuple(
            Verdict(requirement=requirement.id, answer=answer)
            for requirement, answer in zip(REQUIREMENTS, answers, strict=True)
        ),
        verify_calls_saved=1,
        drawing=Spent(seconds=seconds, calls=1),
        verifying=Spent(seconds=seconds, calls=2),
    )


ATTEMPTS = (attempt(1, "met", "unmet", "unsure"), attempt(2, "met", "met", "unmet"))
ENDING = Ending(outcome="rounds_spent", best_round=2, best_candidate=1, decided_by="2 of 3 requirements met")
EVENTS: tuple[Event, ...] = (
    StepTaken(record=PromptPlanned(trajectory=TRAJECTORY, prompt=FIRST_PROMPT, skill="spatial-layout")),
    StepTaken(record=PromptDecomposed(trajectory=TRAJECTORY, requirements=REQUIREMENTS)),
    ImageDrawn(round=1, candidate=1, image=IMAGE),
    StepTaken(record=AttemptVerified(trajectory=TRAJECTORY, attempt=ATTEMPTS[0])),
    StepTaken(record=ExperienceKept(trajectory=TRAJECTORY, experience=Experience(round=1, text="count them"))),
    StepTaken(record=PromptRefined(trajectory=TRAJECTORY, refinement=Refinement(round=2, prompt=SECOND_PROMPT))),
    ImageDrawn(round=2, candidate=1, image=IMAGE),
    StepTaken(record=AttemptVerified(trajectory=TRAJECTORY, attempt=ATTEMPTS[1])),
    StepTaken(record=TrajectoryEnded(trajectory=TRAJECTORY, ending=ENDING)),
)
PICTURE = Picture(
    trajectory=TRAJECTORY,
    prompt=PROMPT,
    skill="spatial-layout",
    requirements=REQUIREMENTS,
    attempts=ATTEMPTS,
    ending=ENDING,
    settings=DrawSettings(max_rounds=2),
)
