"""Qwen-Image 2.1 and its Turbo, step by step: requests of one size, of any prompt length, step count and guidance.

The text comes first, attends to nothing after it and is at time 0 in every step. So each prompt goes through the
blocks once, when it is embedded; what the transformer reads of it are the keys and values that the picture's tokens
attend to.

A picture's position on the frame axis follows its prompt's length. The stock pipeline takes that length, padding
included, from the first row, so in its batches a prompt moves the pictures of others. Attention depends on
differences of positions only: here every picture is at frame 0, and the keys of each text are turned back by its
length. References stand in the text, so all of this holds for them, too.

Source: QwenImage21Pipeline of diffusers 0.42, whose components are used and which tests compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import torch
from diffusers.models.transformers.transformer_qwenimage21 import QwenImage21KVCache, QwenImage21KVLayerCache
from diffusers.pipelines.qwenimage21 import pipeline_qwenimage21
from PIL.Image import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gems_actors.backends.diffusion import flow_matching
from gems_actors.backends.diffusion.engine_messages import Draw
from gems_actors.backends.diffusion.jobs import Defaults, Job, Reference
from gems_actors.backends.diffusion.row_attention import Processors, RowLengths, attend, rotate
from gems_actors.backends.diffusion.stepwise import StepwisePipeline
from protocol.limits import MAX_REFERENCES

_REFERENCE_PX: Final = 1024 * 1024
"""Pixels of a reference: those of the stock pipeline's default for `output_resolution`."""
_SMALLEST: Final = (2, 2)
"""Height and width, in tokens, of the smallest picture that the transformer takes: one token of a prompt."""


class QwenImage21Steps(StepwisePipeline):
    """Takes the steps of `QwenImage21Pipeline`."""

    name = "QwenImage21Pipeline"
    guidance = flow_matching.Guidance(above=1.0, combine=flow_matching.from_negative, is_apart=True)
    max_references = MAX_REFERENCES

    def __init__(self, pipe: Any) -> None:
        """Use the components of a stock pipeline, all on one device."""
        self._own_sigmas = pipe.config.sample_sigmas
        """Schedule of a distilled checkpoint; None for an even one of any length."""
        steps = len(self._own_sigmas) if self._own_sigmas else 40
        defaults = Defaults(steps=steps, guidance=1.0, negative_prompt=" ")
        super().__init__(pipe, multiple_px=pipe.vae_scale_factor * 2, defaults=defaults)
        self._lengths = RowLengths()
        attentions = [block.attn for block in self.transformer.transformer_blocks]
        self.attention = Processors(attentions, lambda _: _RowByRow(self._lengths))
        self.token_px = pipe.vae_scale_factor
        self._picture_positions = lru_cache(maxsize=32)(self._make_picture_positions)

    def sigmas_of(self, steps: int) -> Any:
        """Return the checkpoint's own sigmas if it has that many, else an even schedule."""
        return self._own_sigmas if self._own_sigmas and len(self._own_sigmas) == steps else super().sigmas_of(steps)

    def row_tokens(self, job: Job, text_tokens: int) -> int:
        """Return the length of one row without its references, of which a prompt's embedding has a fourth."""
        return super().row_tokens(job, text_tokens) - self._slots(job)

    def embed(self, texts: Sequence[str], *, is_alone: bool) -> list[Tensor]:
        """Return the keys and values of each text, (tokens, blocks, 2, heads, width); alone, its embeddings.

        They take half a megabyte a token, in bfloat16 at full size, until the picture is denoised.
        """
        hidden, mask, _ = self.pipe._get_qwen_prompt_embeds(list(texts), None, self.device)
        lengths = mask.sum(dim=1).tolist()
        read = hidden if is_alone else self._read(hidden, lengths)
        return [row[:length].clone() for row, length in zip(read, lengths, strict=True)]

    def fit(self, picture: Image, draw: Draw) -> Reference:
        """Return a reference with alpha, in its own shape, of about a million pixels; both encoders see it so."""
        processor, ratio = self.pipe.image_processor, picture.width / picture.height
        width, height, _ = pipeline_qwenimage21.calculate_dimensions(_REFERENCE_PX, ratio)
        clear = picture.convert("RGBA")
        return Reference(
            processor.preprocess(clear, width=width, height=height),
            shown=processor.resize(clear, width=width, height=height),
        )

    def encode_pixels(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the latents of a reference: (tokens, 64)."""
        latents: Tensor = self.pipe._encode_vae_image(pixels[:, :, None], generator)
        return latents[0].flatten(1).T

    def embed_shown(self, text: str, job: Job) -> Tensor:
        """Return the embeddings of a text with references in it: (tokens, 4096), a token for every four of latents.

        Its keys and values take two gigabytes a reference at full size, so they are read at the first step of a
        request and not while it waits.
        """
        shown = [reference.shown for reference in job.references]
        hidden, _, is_picture = self.pipe._get_qwen_prompt_embeds([text], shown, self.device)
        job.kept["slots"] = is_picture[0].nonzero()[:, 0]  # equal for every text, which comes after them
        return hidden[0]

    def noise(self, job: Job, generator: torch.Generator) -> Tensor:
        """Return the initial latents: (tokens, 64), in the dtype of the text encoder."""
        assert job.positive is not None
        side = self.pipe.vae_scale_factor
        shape = (1, self.transformer.config.in_channels, job.height_px // side, job.width_px // side)
        return flow_matching.noise(shape, generator, job.positive.dtype, self.device)[0].flatten(1).T

    def velocities(self, jobs: Sequence[Job], texts: Sequence[Tensor]) -> Tensor:
        """Return the velocity of each job, in the dtype of the transformer."""
        if self._is_stock(jobs[0], texts[0]):
            return self._stock_velocity(jobs[0], texts[0])
        transformer, latents = self.transformer, self.latents_of(jobs)
        texts = [
            self._read_with_pictures(*pair) if pair[0].grids else pair[1] for pair in zip(jobs, texts, strict=True)
        ]
        lengths = [len(text) for text in texts]
        self._lengths.set(text=lengths)
        shared, mask = max(lengths), None
        if min(lengths) < shared:
            tokens = shared + latents.shape[1]  # padding comes first, so that a row's own keys are one slice
            is_padding = torch.arange(tokens) < torch.tensor([shared - length for length in lengths])[:, None]
            mask = (~is_padding)[:, None, None].to(self.device, non_blocking=True)
        read = pad_sequence(list(texts), batch_first=True, padding_side="left")
        states = transformer.img_in(latents)
        time = transformer.time_text_embed(self.timesteps_of(jobs, latents.dtype).to(states.dtype), states)
        modulation = transformer.modulation(time)
        positions = self._picture_positions(jobs[0].width_px, jobs[0].height_px)
        for number, block in enumerate(transformer.transformer_blocks):
            keys = QwenImage21KVLayerCache()
            keys.store(read[:, :, number, 0], read[:, :, number, 1])
            states = block(
                hidden_states=states,
                modulation=modulation,
                rotary_emb=positions,
                attention_mask=mask,
                layer_cache=keys,
                kv_cache_mode="cached",
            )
        velocity: Tensor = transformer.proj_out(transformer.norm_out(states, time, None))
        return velocity

    def latents_to_decode(self, jobs: Sequence[Job]) -> Tensor:
        """Return the latents of jobs of one size as the decoder takes them."""
        vae, pipe = self.pipe.vae, self.pipe
        packed = self.latents_of(jobs)
        latents = pipe._unpack_latents(packed, jobs[0].height_px, jobs[0].width_px, pipe.vae_scale_factor)
        latents = latents.to(vae.dtype)
        mean, deviation = (
            torch.tensor(values).view(1, -1, 1, 1, 1).to(latents.device, latents.dtype)
            for values in (vae.config.latents_mean, vae.config.latents_std)
        )
        restored: Tensor = latents * deviation + mean
        return restored

    def decoded(self, latents: Tensor) -> Tensor:
        """Return decoded latents, with alpha; the decoder is one of videos, and a picture is the only frame."""
        return super().decoded(latents)[:, :, 0]

    # ------------------------------------------------------------------------------ text and positions

    def _read(self, hidden: Tensor, lengths: Sequence[int]) -> Tensor:
        """Run texts, padded at their ends, through the blocks; return their keys and values, (texts, tokens, ...)."""
        states = self.transformer.txt_in(hidden)
        time = self.transformer.time_text_embed(states.new_zeros(1), states)
        modulation = self.transformer.modulation(time)
        axes = [axis.to(self.device) for axis in self.transformer.pos_embed.freqs]
        tokens = states.shape[1]
        positions = torch.cat([axis[:tokens] for axis in axes], -1)
        turned_back = positions.new_ones(len(lengths), 1, positions.shape[-1])
        turned_back[:, 0, : axes[0].shape[-1]] = axes[0][list(lengths)].conj()
        read = []
        for block in self.transformer.transformer_blocks:
            keys = QwenImage21KVLayerCache()
            states = block(
                hidden_states=states,
                modulation=modulation,
                rotary_emb=positions,
                layer_cache=keys,
                kv_cache_mode="extract",
                cache_write_slice=slice(tokens),
                segments=[(0, tokens, True)],
            )
            read.append(torch.stack([rotate(keys.k, turned_back), keys.v], 2))
        return torch.stack(read, 2)

    def _read_with_pictures(self, job: Job, text: Tensor) -> Tensor:
        """Return the keys and values of a text and the references in it, (tokens, ...); they are kept."""
        place = _place_of(job, text)
        if (known := job.kept.get(f"read {place}")) is not None:
            return known
        blocks = self.transformer.transformer_blocks
        keys = QwenImage21KVCache(len(blocks))
        if self.attention is not None:  # the stock one knows where the pictures are
            self.attention.use(by_row=False)
        target = text.new_zeros(1, _SMALLEST[0] * _SMALLEST[1], self.transformer.config.in_channels)
        self.transformer(
            **self._joint(job, text, target, _SMALLEST),
            timestep=text.new_zeros(1),
            kv_cache=keys,
            kv_cache_mode="extract",
            return_dict=False,
        )
        self._set_precision(is_exact=False)
        position = len(text) - self._slots(job) + sum(max(grid) for grid in job.grids)
        frames = self.transformer.pos_embed.freqs[0].to(self.device)
        turned_back = frames.new_ones(1, 1, sum(axis.shape[-1] for axis in self.transformer.pos_embed.freqs))
        turned_back[..., : frames.shape[-1]] = frames[position].conj()
        layers = [keys.get_layer(number) for number in range(len(blocks))]
        read = torch.stack([torch.stack([rotate(layer.k, turned_back), layer.v], 2) for layer in layers], 2)[0]
        job.kept[f"read {place}"] = read
        return read

    def _joint(self, job: Job, text: Tensor, latents: Tensor, grid: tuple[int, int]) -> dict[str, Any]:
        """Return the arguments of the stock transformer for a text, the references in it, and latents."""
        is_picture = torch.arange(len(text) + latents.shape[1] // 4, device=self.device) >= len(text)
        if job.conditions is not None:
            is_picture[job.kept["slots"]] = True
            latents = torch.cat([job.conditions[None], latents], 1)
        return {
            "hidden_states": latents,
            "encoder_hidden_states": text[None],
            "img_shapes": [[(1, *size) for size in (*job.grids, grid)]],
            "img_mask": is_picture[None],
        }

    def _slots(self, job: Job) -> int:
        """Return the tokens of a prompt that stand for its references."""
        return sum(height * width for height, width in job.grids) // 4

    def _make_picture_positions(self, width_px: int, height_px: int) -> Tensor:
        """Return the rotary position embeddings of a picture at frame 0: (tokens, width / 2), complex."""
        height, width = (side // self.pipe.vae_scale_factor for side in (height_px, width_px))
        rows, columns = (torch.arange(-(side - side // 2), side // 2) for side in (height, width))
        frames, down, right = (axis.to(self.device) for axis in self.transformer.pos_embed.freqs)
        row, column = (part.flatten().to(self.device) for part in torch.meshgrid(rows, columns, indexing="ij"))
        return torch.cat([frames[:1].expand(height * width, -1), down[row], right[column]], -1)

    def _is_stock(self, job: Job, text: Tensor) -> bool:
        """Return whether a request takes its steps as in the stock pipeline.

        One that runs alone only since its batch failed does not, if its text was read before.
        """
        return job.is_alone and text.dim() == 2 and f"read {_place_of(job, text)}" not in job.kept

    def _stock_velocity(self, job: Job, text: Tensor) -> Tensor:
        """Return the velocity as the stock pipeline computes it, with its own cache of the text's keys and values."""
        keys = job.kept.setdefault(_place_of(job, text), QwenImage21KVCache(len(self.transformer.transformer_blocks)))
        latents = self.latents_of([job])
        velocity: Tensor = self.transformer(
            **self._joint(job, text, latents, (job.height_px // self.token_px, job.width_px // self.token_px)),
            timestep=self.timesteps_of([job], latents.dtype),
            kv_cache=keys,
            kv_cache_mode="cached" if job.step else "extract",
            return_dict=False,
        )[0]
        return velocity[:, -latents.shape[1] :]


def _place_of(job: Job, text: Tensor) -> str:
    return "negative" if text is job.negative else "positive"


class _RowByRow:
    """Attention for Qwen-Image 2.1's blocks that handles each row separately and needs no mask."""

    def __init__(self, lengths: RowLengths) -> None:
        self._lengths = lengths

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        rotary_emb: Tensor,
        layer_cache: QwenImage21KVLayerCache,
        kv_cache_mode: str,
        attention_mask: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        width = attn.inner_dim // attn.heads
        query, key, value = (
            project(hidden_states).unflatten(-1, (-1, width)) for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        query, key = (
            rotate(norm(states).to(value.dtype), rotary_emb)
            for norm, states in ((attn.norm_q, query), (attn.norm_k, key))
        )
        rows, is_causal = None, kv_cache_mode == "extract"
        if is_causal:
            layer_cache.store(key, value)
        else:
            read = layer_cache.get()
            key, value = (torch.cat(pair, 1) for pair in zip(read, (key, value), strict=True))
            if attention_mask is not None:
                shared = read[0].shape[1]
                rows = [(slice(shared - length, None),) for length in self._lengths["text"]]
        attended = attend(query, key, value, rows, is_causal=is_causal)
        output: Tensor = attn.to_out[1](attn.to_out[0](attended.flatten(2, 3).type_as(query)))
        return output
