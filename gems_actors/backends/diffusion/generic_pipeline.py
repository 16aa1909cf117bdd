"""Any other text-to-image pipeline of diffusers, without access to its steps: one call per batch.

Requests with the same size, steps and guidance share a call; each has its own seed.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from gems_actors.backends.diffusion.engine_messages import Draw
from gems_actors.backends.diffusion.flow_matching import check_size, count_patches
from gems_actors.backends.diffusion.jobs import Defaults, Job, Stepped, UnfitError

_TOKEN_PX: Final = 16
"""Approximate side of the area that one token covers, only to estimate the cost of a request."""
_STEPS_IN_ONE: Final = 8
"""Steps counted as one, because a whole call is one step to the engine; a batch takes as long as 8 of Z-Image's."""


class GenericPipeline:
    """Calls a stock pipeline as one step of the engine."""

    mixes_sizes, max_texts = False, 32

    def __init__(self, pipe: Any) -> None:
        """Wrap a stock pipeline with all components on one device.

        Raises:
            UnfitError: it does not draw from a prompt and a generator.
        """
        self._pipe = pipe
        self.name = type(pipe).__name__
        parameters = inspect.signature(pipe.__call__).parameters
        if missing := {"prompt", "generator", "output_type"} - set(parameters):
            raise UnfitError(f"expected a text-to-image pipeline, got {self.name}, which takes no {min(missing)}")
        self._takes = frozenset(parameters)
        steps = parameters["num_inference_steps"].default if "num_inference_steps" in parameters else 1
        self.defaults = Defaults(steps=steps if isinstance(steps, int) else 1)
        processor = getattr(pipe, "image_processor", None)
        self.multiple_px = int(getattr(getattr(processor, "config", None), "vae_scale_factor", 8))
        self._guidance = "true_cfg_scale" if "true_cfg_scale" in parameters else "guidance_scale"

    def prepare(self, draw: Draw) -> Job:
        """Return the job of a request; its bucket holds the arguments that are shared by a call.

        Raises:
            UnfitError: the pipeline cannot draw this request.
        """
        check_size(draw.width_px, draw.height_px, self.multiple_px)
        for name, parameter in ("guidance", self._guidance), ("negative_prompt", "negative_prompt"):
            if getattr(draw, name) and parameter not in self._takes:
                raise UnfitError(
                    f"{name}: expected none, because {self.name} does not support it, got {getattr(draw, name)!r}"
                )
        steps = draw.steps or self.defaults.steps
        is_negative = bool(draw.negative_prompt)
        return Job(
            id=draw.id,
            prompt=draw.prompt,
            negative_prompt=draw.negative_prompt or "",
            seed=draw.seed,
            width_px=draw.width_px,
            height_px=draw.height_px,
            steps=1,
            guidance=draw.guidance,
            is_alone=draw.is_alone,
            bucket=(draw.width_px, draw.height_px, steps, draw.guidance, is_negative),
            timesteps=(float(steps),),
            tokens=max(1, count_patches(draw.width_px, draw.height_px, _TOKEN_PX) * steps // _STEPS_IN_ONE),
        )

    def encode(self, jobs: Sequence[Job]) -> None:
        """Do nothing: the call encodes the text."""

    def denoise(self, jobs: Sequence[Job]) -> list[Stepped]:
        """Return the pictures of one call, each (3, height, width) in [0, 1]."""
        first = jobs[0]
        arguments: dict[str, Any] = {
            "prompt": [job.prompt for job in jobs],
            "height": first.height_px,
            "width": first.width_px,
            "num_inference_steps": int(first.timesteps[0]),
            "generator": [torch.Generator("cpu").manual_seed(job.seed) for job in jobs],
            "output_type": "pt",
        }
        if first.guidance is not None:
            arguments[self._guidance] = first.guidance
        if first.negative_prompt:
            arguments["negative_prompt"] = [job.negative_prompt for job in jobs]
        images = self._pipe(**{name: value for name, value in arguments.items() if name in self._takes}).images
        return [Stepped(image) for image in images]

    def reuse(self, job: Job) -> Tensor | None:
        """Return None: a call has no steps."""
        return None

    def decode(self, jobs: Sequence[Job], *, tiled: bool = False) -> Tensor:
        """Return the pictures as (count, height, width, 3), uint8."""
        images = torch.stack([job.latents for job in jobs if job.latents is not None])
        return (images.float() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
