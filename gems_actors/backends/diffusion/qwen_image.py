"""Qwen-Image and Qwen-Image-Edit, step by step: requests of one size, of any prompt length, step count and guidance.

They share a forward; those of Qwen-Image-Edit, if their references have equal sizes, too.

Source: QwenImagePipeline, QwenImageImg2ImgPipeline, QwenImageEditPipeline and QwenImageEditPlusPipeline of diffusers
0.39 to 0.42, whose components are used and which tests compare with.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gems_actors.backends.diffusion import flow_matching
from gems_actors.backends.diffusion.engine_messages import Draw
from gems_actors.backends.diffusion.jobs import Defaults, Job, Reference
from gems_actors.backends.diffusion.row_attention import Processors, RowLengths, attend, rotate
from gems_actors.backends.diffusion.stepwise import StepwisePipeline
from gems_actors.backends.pictures import over_white
from protocol.limits import MAX_REFERENCES

_MAX_TEXT_TOKENS: Final = 512
_EDITED_PX: Final = 1024 * 1024
"""Pixels of the one reference of the first Qwen-Image-Edit."""


class QwenImageSteps(StepwisePipeline):
    """Takes the steps of `QwenImagePipeline`, also image to image.

    The positions of a forward are those of its first row, so a bucket holds one width and one height: of a landscape
    and a portrait with equal tokens, the second would come out wrong without an error.
    """

    name = "QwenImagePipeline"
    max_references, redraws = 1, True
    guidance = flow_matching.Guidance(above=1.0, combine=flow_matching.with_length_of_prompt, is_apart=True)

    def __init__(self, pipe: Any) -> None:
        """Use the components of a stock pipeline, all on one device."""
        # Defaults of Qwen-Image-2512; true guidance needs a negative prompt, if only a blank.
        defaults = Defaults(steps=50, guidance=4.0, negative_prompt=" ")
        super().__init__(pipe, multiple_px=pipe.vae_scale_factor * 2, defaults=defaults)
        self._lengths = RowLengths()
        attentions = [block.attn for block in self.transformer.transformer_blocks]
        self.attention = Processors(attentions, lambda _: _RowByRow(self._lengths))

    @classmethod
    def can_drive(cls, pipe: Any) -> bool:
        """Return whether this class takes the steps of a stock pipeline; distilled ones take the scale as an input."""
        return super().can_drive(pipe) and not pipe.transformer.config.guidance_embeds

    def embed(self, texts: Sequence[str], *, is_alone: bool) -> list[Tensor]:
        """Return the embeddings of each text without padding: (tokens, 3584 for Qwen2.5-VL-7B)."""
        hidden, mask = self.pipe._get_qwen_prompt_embeds(list(texts), self.device)
        lengths = mask.sum(dim=1).tolist()
        return [row[: min(length, _MAX_TEXT_TOKENS)].clone() for row, length in zip(hidden, lengths, strict=True)]

    def noise(self, job: Job, generator: torch.Generator) -> Tensor:
        """Return the initial latents: (tokens, 64), in the dtype of the text encoder."""
        assert job.positive is not None
        channels = self.transformer.config.in_channels // 4
        height, width = (2 * (side // self.multiple_px) for side in (job.height_px, job.width_px))
        fresh = flow_matching.noise((1, 1, channels, height, width), generator, job.positive.dtype, self.device)
        return self._packed(fresh)

    def encode_pixels(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the latents of a reference: (tokens, 64)."""
        latents = self.pipe.vae.encode(pixels[:, :, None]).latent_dist.sample(generator)
        mean, deviation = self._statistics(latents)
        return self._packed((latents - mean) * (1.0 / deviation))

    def velocities(self, jobs: Sequence[Job], texts: Sequence[Tensor]) -> Tensor:
        """Return the velocity of each job, in the dtype of the transformer."""
        lengths = [len(text) for text in texts]
        self._lengths.set(text=lengths)
        mask = None
        if len(set(lengths)) > 1:
            mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).to(self.device, non_blocking=True)
        latents = self.latents_of(jobs)
        height, width = (side // self.multiple_px for side in (jobs[0].height_px, jobs[0].width_px))
        grids = [(1, height, width), *((1, *grid) for grid in jobs[0].grids)]
        velocity: Tensor = self.transformer(
            hidden_states=self.latents_to_read(jobs),
            timestep=self.timesteps_of(jobs, latents.dtype),
            guidance=None,
            encoder_hidden_states_mask=mask,
            encoder_hidden_states=pad_sequence(list(texts), batch_first=True),
            img_shapes=[grids] * len(jobs),
            attention_kwargs={},
            return_dict=False,
        )[0]
        return velocity[:, : latents.shape[1]]

    def latents_to_decode(self, jobs: Sequence[Job]) -> Tensor:
        """Return the latents of jobs of one size as the decoder takes them."""
        pipe, packed = self.pipe, self.latents_of(jobs)
        latents = pipe._unpack_latents(packed, jobs[0].height_px, jobs[0].width_px, pipe.vae_scale_factor)
        latents = latents.to(pipe.vae.dtype)
        mean, deviation = self._statistics(latents)
        restored: Tensor = latents / (1.0 / deviation) + mean
        return restored

    def decoded(self, latents: Tensor) -> Tensor:
        """Return decoded latents; the decoder is one of videos, and a picture is the only frame."""
        return super().decoded(latents)[:, :, 0]

    def _packed(self, latents: Tensor) -> Tensor:
        """Return latents of one picture, (1, 1, channels, height, width) or with the axes of a video, as tokens."""
        height, width = latents.shape[-2:]
        packed: Tensor = self.pipe._pack_latents(latents, 1, self.transformer.config.in_channels // 4, height, width)
        return packed[0]

    def _statistics(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and the standard deviation of each channel of latents of a video."""
        config = self.pipe.vae.config
        mean, deviation = (
            torch.tensor(values).view(1, -1, 1, 1, 1).to(latents.device, latents.dtype)
            for values in (config.latents_mean, config.latents_std)
        )
        return mean, deviation


class QwenImageEditSteps(QwenImageSteps):
    """Takes the steps of `QwenImageEditPipeline`, which edits one picture, or of `QwenImageEditPlusPipeline`.

    Text encoder and transformer both see the references, each in its own size.
    """

    redraws, appends = False, True
    needs_references = True
    max_texts = 4  # a picture costs as much as many prompts

    def __init__(self, pipe: Any) -> None:
        """Use the components of a stock pipeline, all on one device."""
        super().__init__(pipe)
        self.name = type(pipe).__name__
        self._stock = sys.modules[type(pipe).__module__]
        self._is_plus = self.name == "QwenImageEditPlusPipeline"
        self.max_references = MAX_REFERENCES if self._is_plus else 1
        # Defaults of Qwen-Image-Edit-2509 and 2511, and of the first one.
        self.defaults = Defaults(steps=40 if self._is_plus else 50, guidance=4.0, negative_prompt=" ")

    def fit(self, picture: Image, draw: Draw) -> Reference:
        """Return a reference in its own shape, of about a million pixels; later models show a smaller one."""
        processor, opaque = self.pipe.image_processor, over_white(picture)
        read_px, shown_px = _EDITED_PX, _EDITED_PX
        if self._is_plus:
            read_px, shown_px = self._stock.VAE_IMAGE_SIZE, self._stock.CONDITION_IMAGE_SIZE
        (width, height), (shown_width, shown_height) = (
            self._stock.calculate_dimensions(area, picture.width / picture.height)[:2] for area in (read_px, shown_px)
        )
        return Reference(
            processor.preprocess(opaque, height, width), shown=processor.resize(opaque, shown_height, shown_width)
        )

    def encode_pixels(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the latents of a reference: (tokens, 64)."""
        return self._packed(self.pipe._encode_vae_image(pixels[:, :, None], generator))

    def embed_shown(self, text: str, job: Job) -> Tensor:
        """Return the embeddings of a text with references before it: (tokens, 3584)."""
        shown = [reference.shown for reference in job.references]
        hidden: Tensor = self.pipe._get_qwen_prompt_embeds([text], shown if self._is_plus else shown[0], self.device)[0]
        return hidden[0]


class _RowByRow:
    """Attention for Qwen-Image's blocks that handles each row separately and needs no mask."""

    def __init__(self, lengths: RowLengths) -> None:
        self._lengths = lengths

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        encoder_hidden_states_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        width = attn.inner_dim // attn.heads
        text_tokens = encoder_hidden_states.shape[1]
        joint = []
        for states, projections, norms, place in (
            (encoder_hidden_states, (attn.add_q_proj, attn.add_k_proj), (attn.norm_added_q, attn.norm_added_k), 1),
            (hidden_states, (attn.to_q, attn.to_k), (attn.norm_q, attn.norm_k), 0),
        ):
            pair = [project(states).unflatten(-1, (-1, width)) for project in projections]
            pair = [part if norm is None else norm(part) for part, norm in zip(pair, norms, strict=True)]
            if image_rotary_emb is not None:
                pair = [rotate(part, image_rotary_emb[place]) for part in pair]
            joint.append(pair)
        query, key = (torch.cat(parts, 1) for parts in zip(*joint, strict=True))
        values = (attn.add_v_proj(encoder_hidden_states), attn.to_v(hidden_states))
        value = torch.cat([part.unflatten(-1, (-1, width)) for part in values], 1)
        rows = None
        if encoder_hidden_states_mask is not None:
            rows = [(slice(length), slice(text_tokens, None)) for length in self._lengths["text"]]
        attended = attend(query, key, value, rows, rows).flatten(2, 3).to(query.dtype)
        picture = attn.to_out[1](attn.to_out[0](attended[:, text_tokens:].contiguous()))
        return picture, attn.to_add_out(attended[:, :text_tokens].contiguous())
