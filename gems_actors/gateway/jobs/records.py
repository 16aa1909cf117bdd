"""What a job is: its pictures, their states, and how it is described to its caller. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, Literal

from msgspec import Struct

from gems_actors.app.picture_files import PictureFormat
from protocol.messages import Budget, DrawPicture, DrawSettings, ImageRef

_EXCERPT_CHARS: Final = 200

JobStatus = Literal["running", "completed", "failed", "cancelled"]
PictureStatus = Literal["waiting", "done", "failed"]


class ShownRound(Struct, frozen=True, kw_only=True):
    """The best image of a round."""

    round: int
    prompt: str
    met: int
    requirements: int
    image: ImageRef


class JobPicture(Struct, kw_only=True):
    """One picture of a job."""

    index: int
    """Position of its prompt in the job."""
    sample: int
    prompt: str
    seed: int
    status: PictureStatus = "waiting"
    rounds: list[ShownRound] = []
    image: ImageRef | None = None
    revised_prompt: str | None = None
    story: dict[str, Any] = {}
    error: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """Its name in addresses and files."""
        return f"{self.index}-{self.sample}"


class Webhook(Struct, frozen=True, kw_only=True):
    """Where the end of a job is reported, and the secret that signs the report."""

    url: str
    secret: str


class Job(Struct, kw_only=True):
    """Pictures of one or many prompts that share their settings."""

    id: str
    caller: str
    body_digest: str
    """Digest of the request, by which a repeated one is recognised."""
    created_at: float
    model: str
    settings: DrawSettings
    budget: Budget
    pictures: list[JobPicture]
    references: tuple[ImageRef, ...] = ()
    """Pictures that all of them are drawn from."""
    picture_format: PictureFormat = "png"
    compression: int | None = None
    status: JobStatus = "running"
    ended_at: float | None = None
    webhook: Webhook | None = None
    is_reported: bool = False
    """Whether the webhook was answered, or given up."""
    retries: int = 0
    """How often it was begun again."""

    @property
    def run(self) -> str:
        """Name of its run in the mesh."""
        return f"http-{self.caller}-{self.id}"

    @property
    def is_over(self) -> bool:
        """Whether nothing more is drawn."""
        return self.status != "running"

    def task(self, picture: JobPicture) -> DrawPicture:
        """Return the request to the mesh for a picture."""
        return DrawPicture(
            run=self.run,
            line=picture.index,
            sample=picture.sample,
            prompt=picture.prompt,
            seed=picture.seed,
            references=self.references,
            settings=self.settings,
            budget=self.budget,
        )

    def find(self, name: str) -> JobPicture | None:
        """Return the picture with a name."""
        return next((picture for picture in self.pictures if picture.name == name), None)

    @property
    def unfinished(self) -> list[JobPicture]:
        """The pictures that are not drawn."""
        return [picture for picture in self.pictures if picture.status != "done"]

    def begin_again(self) -> None:
        """Continue a job that is over with the pictures that are not drawn."""
        for picture in self.unfinished:
            picture.status, picture.error = "waiting", None
        self.status, self.ended_at, self.is_reported = "running", None, False
        self.retries += 1

    def end(self, now: float, *, is_cancelled: bool = False) -> None:
        """Set the final status: failed only if every picture failed."""
        is_any_done = any(picture.status == "done" for picture in self.pictures)
        self.status = "cancelled" if is_cancelled else "completed" if is_any_done else "failed"
        self.ended_at = now


def summary_of(job: Job, base: str) -> dict[str, Any]:
    """Return a job without its pictures, for its caller; `base` is the address of the gateway."""
    counts = Counter(picture.status for picture in job.pictures)
    return {
        "id": job.id,
        "object": "gems.job",
        "status": job.status,
        "created_at": int(job.created_at),
        "ended_at": None if job.ended_at is None else int(job.ended_at),
        "model": job.model,
        "prompt": job.pictures[0].prompt[:_EXCERPT_CHARS],
        "run": job.run,
        "counts": {"total": len(job.pictures), **{name: counts[name] for name in ("waiting", "done", "failed")}},
        "url": f"{base}/v1/gems/jobs/{job.id}",
        "events_url": f"{base}/v1/gems/jobs/{job.id}/events",
        "zip_url": f"{base}/v1/gems/jobs/{job.id}/zip",
    }


def description_of(job: Job, base: str) -> dict[str, Any]:
    """Return a job with its pictures, for its caller."""
    return {**summary_of(job, base), "pictures": [picture_tree(job, picture, base) for picture in job.pictures]}


def picture_tree(job: Job, picture: JobPicture, base: str) -> dict[str, Any]:
    """Return one picture of a job, for its caller."""
    address = f"{base}/v1/gems/jobs/{job.id}/pictures/{picture.name}"
    return {
        "index": picture.index,
        "sample": picture.sample,
        "prompt": picture.prompt,
        "seed": picture.seed,
        "trajectory": job.task(picture).trajectory,
        "status": picture.status,
        "url": None if picture.image is None else f"{address}.{job.picture_format}",
        "revised_prompt": picture.revised_prompt,
        "rounds": [round_tree(job, shown, address) for shown in picture.rounds],
        "gems": picture.story,
        "error": picture.error,
    }


def round_tree(job: Job, shown: ShownRound, address: str) -> dict[str, Any]:
    """Return one round of a picture, for its caller; `address` is that of the picture without its ending."""
    return {
        "round": shown.round,
        "prompt": shown.prompt,
        "met": shown.met,
        "requirements": shown.requirements,
        "url": f"{address}-{shown.round}.{job.picture_format}",
    }
