"""Any other pipeline of diffusers that draws, without access to its steps: one call per batch.

Requests with the same size, steps and guidance share a call; each has its own seed. Those with references run one by
one, because a list of pictures is a batch to some pipelines, and the references of one picture to others.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from PIL.Image import Image, Resampling
from torch import Tensor

from gems_actors.backends.diffusion.engine_messages import Draw
from gems_actors.backends.diffusion.flow_matching import check_size, count_patches
from gems_actors.backends.diffusion.jobs import Defaults, Job, Stepped, UnfitError, check_references
from gems_actors.backends.pictures import over_white
from protocol.limits import MAX_REFERENCES

_TOKEN_PX: Final = 16
"""Approximate side of the area that one token covers, only to estimate the cost of a request."""
_STEPS_IN_ONE: Final = 8
"""Steps counted as one, because a whole call is one step to the engine; a batch takes as long as 8 of Z-Image's."""
_EDITORS: Final = ("Edit", "Img2Img", "Pix2Pix")
"""Parts of the names of pipelines that draw from pictures only; their signatures do not say so."""


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
        parameters = _parameters_of(pipe)
        if missing := {"prompt", "generator", "output_type"} - set(parameters):
            raise UnfitError(f"expected a text-to-image pipeline, got {self.name}, which takes no {min(missing)}")
        self.needs_references = any(part in self.name for part in _EDITORS)
        self._editor = pipe if "image" in parameters else _image_to_image(pipe)
        self.max_references = MAX_REFERENCES if self._editor is not None else 0
        self.redraws = self._editor is not None and "strength" in _parameters_of(self._editor)
        steps = parameters["num_inference_steps"].default if "num_inference_steps" in parameters else 1
        self.defaults = Defaults(steps=steps if isinstance(steps, int) else 1)
        processor = getattr(pipe, "image_processor", None)
        self.multiple_px = int(getattr(getattr(processor, "config", None), "vae_scale_factor", 8))
        self._guidance = "true_cfg_scale" if "true_cfg_scale" in parameters else "guidance_scale"

    def prepare(self, draw: Draw, pictures: Sequence[Image] = ()) -> Job:
        """Return the job of a request; its bucket holds the arguments that are shared by a call.

        Raises:
            UnfitError: the pipeline cannot draw this request.
        """
        check_size(draw.width_px, draw.height_px, self.multiple_px)
        check_references(self, len(pictures))
        takes = _parameters_of(self._editor if pictures else self._pipe)
        for name, parameter in ("guidance", self._guidance), ("negative_prompt", "negative_prompt"):
            if getattr(draw, name) and parameter not in takes:
                raise UnfitError(
                    f"{name}: expected none, because {self.name} does not support it, got {getattr(draw, name)!r}"
                )
        steps = draw.steps or self.defaults.steps
        bucket = (draw.width_px, draw.height_px, steps, draw.guidance, bool(draw.negative_prompt))
        job = Job(
            id=draw.id,
            prompt=draw.prompt,
            negative_prompt=draw.negative_prompt or "",
            seed=draw.seed,
            width_px=draw.width_px,
            height_px=draw.height_px,
            steps=1,
            guidance=draw.guidance,
            is_alone=draw.is_alone,
            bucket=(*bucket, draw.id) if pictures else bucket,
            timesteps=(float(steps),),
            tokens=max(1, count_patches(draw.width_px, draw.height_px, _TOKEN_PX) * steps // _STEPS_IN_ONE),
        )
        if pictures:
            given = [over_white(picture) for picture in pictures]
            if "strength" in takes:  # image to image, which some pipelines do in the size of the picture
                given = [picture.resize((draw.width_px, draw.height_px), Resampling.LANCZOS) for picture in given]
                if draw.strength is not None:
                    job.kept["strength"] = draw.strength
            job.kept["image"] = given[0] if len(given) == 1 else given
        return job

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
            **first.kept,
        }
        if first.guidance is not None:
            arguments[self._guidance] = first.guidance
        if first.negative_prompt:
            arguments["negative_prompt"] = [job.negative_prompt for job in jobs]
        pipe = self._editor if first.kept else self._pipe
        takes = _parameters_of(pipe)
        images = pipe(**{name: value for name, value in arguments.items() if name in takes}).images
        return [Stepped(image) for image in images]

    def reuse(self, job: Job) -> Tensor | None:
        """Return None: a call has no steps."""
        return None

    def decode(self, jobs: Sequence[Job], *, tiled: bool = False) -> Tensor:
        """Return the pictures as (count, height, width, 3), uint8."""
        images = torch.stack([job.latents for job in jobs if job.latents is not None])
        return (images.float() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _image_to_image(pipe: Any) -> Any:
    """Return the stock pipeline that redraws pictures with the same components; None if diffusers has none."""
    from diffusers import AutoPipelineForImage2Image

    try:
        editor = AutoPipelineForImage2Image.from_pipe(pipe)
    except ValueError:
        return None
    editor.set_progress_bar_config(disable=True)
    return editor


def _parameters_of(pipe: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(pipe.__call__).parameters
