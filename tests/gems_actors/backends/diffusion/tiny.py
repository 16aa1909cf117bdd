"""Tiny pipelines of the real classes with random weights, built from their configs without any download.

They draw noise, by the same code that draws pictures with the real weights.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

SPECIAL_TOKENS: Final = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
_CHAT_TEMPLATE: Final = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
_CHAT_TEMPLATE_OF_PARTS: Final = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' }}{%- for part in message.content %}"
    "{{- part.text }}{%- endfor %}{{- '<|im_end|>\n' }}{%- endfor %}"
)


def tiny_tokenizer() -> Any:
    """Return a Qwen2 tokenizer of single bytes: 256 tokens and the special ones, one token per byte of any text."""
    from transformers import Qwen2Tokenizer

    tokenizer = Qwen2Tokenizer(
        vocab=_byte_vocabulary(),
        merges=[],
        unk_token=None,
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL_TOKENS})
    tokenizer.chat_template = _CHAT_TEMPLATE
    return tokenizer


def tiny_z_image() -> Any:
    """Return a `ZImagePipeline` of 1.8 MB."""
    import diffusers
    from transformers import Qwen3Config, Qwen3Model

    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    transformer = diffusers.ZImageTransformer2DModel(
        all_patch_size=(2,),
        all_f_patch_size=(1,),
        in_channels=16,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[8, 4, 4],
        axes_lens=[1024, 64, 64],
    )
    with torch.no_grad():  # zeros by default; ones make it visible in the picture when padding is attended to
        transformer.x_pad_token.fill_(1.0)
        transformer.cap_pad_token.fill_(1.0)
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[8, 8, 16, 16],
        latent_channels=16,
        norm_num_groups=4,
        sample_size=64,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    torch.manual_seed(0)
    text_encoder = Qwen3Model(
        Qwen3Config(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=8,
            vocab_size=len(tokenizer),
            bos_token_id=None,
            eos_token_id=None,
            max_position_embeddings=2048,
        )
    ).eval()
    return _quiet(
        diffusers.ZImagePipeline(
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            transformer=transformer,
        )
    )


def tiny_qwen_image() -> Any:
    """Return a `QwenImagePipeline` of 3.5 MB, whose prompts move the picture enough to be seen."""
    import diffusers
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tokenizer = tiny_tokenizer()
    numbers = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    torch.manual_seed(0)
    transformer = diffusers.QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=3,
        joint_attention_dim=16,
        axes_dims_rope=(8, 4, 4),
    )
    with torch.no_grad():
        for weight in transformer.parameters():
            if weight.ndim == 2:
                weight.mul_(2.0)
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0, 0.1, 0.2, -0.1],
        latents_std=[1.0, 0.9, 1.1, 1.2],
    )
    torch.manual_seed(0)
    text_encoder = Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config={
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "vocab_size": len(tokenizer),
                "bos_token_id": None,
                "eos_token_id": None,
                "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
                "rope_theta": 1000000.0,
            },
            vision_config={
                "depth": 2,
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_heads": 2,
                "out_hidden_size": 16,
            },
            image_token_id=numbers["<|image_pad|>"],
            video_token_id=numbers["<|video_pad|>"],
            vision_start_token_id=numbers["<|vision_start|>"],
            vision_end_token_id=numbers["<|vision_end|>"],
        )
    ).eval()
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(
        shift=1.0,
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=0.9,
        base_image_seq_len=256,
        max_image_seq_len=8192,
        shift_terminal=0.02,
    )
    return _quiet(
        diffusers.QwenImagePipeline(
            scheduler=scheduler, vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, transformer=transformer
        )
    )


def tiny_qwen_image_edit(kind: str = "QwenImageEditPlusPipeline") -> Any:
    """Return a `QwenImageEditPlusPipeline`, or a `QwenImageEditPipeline`, with the parts of the tiny Qwen-Image."""
    import diffusers
    from transformers import Qwen2VLProcessor

    parts = tiny_qwen_image().components
    processor = _without_videos(Qwen2VLProcessor)(image_processor=_image_processor(14), tokenizer=parts["tokenizer"])
    return _quiet(getattr(diffusers, kind)(**parts, processor=processor))


def _image_processor(patch_px: int) -> Any:
    """Return an image processor that needs no torchvision."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    return Qwen2VLImageProcessorPil(patch_size=patch_px)


def _without_videos(kind: Any) -> Any:
    """Return a class of processors without its part for videos, which needs torchvision."""

    class Processor(kind):  # type: ignore[misc]
        """The processor of texts and pictures."""

        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            return type(argument)

    return Processor


def tiny_qwen_image_21(sample_sigmas: list[float] | None = None) -> Any:
    """Return a `QwenImage21Pipeline` of 1 MB with pictures that have alpha; Turbo has its own sigmas."""
    import diffusers
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

    tokenizer = tiny_tokenizer()
    tokenizer.padding_side = "left"
    numbers = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    torch.manual_seed(0)
    transformer = diffusers.QwenImage21Transformer2DModel(
        in_channels=8,
        out_channels=8,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        context_in_dim=16,
        axes_dims_rope=(8, 4, 4),
    )
    with torch.no_grad():
        for weight in transformer.parameters():
            if weight.ndim == 2:
                weight.mul_(2.0)
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKLQwenImage21(
        base_dim=8,
        decoder_base_dim=8,
        z_dim=8,
        dim_mult=[1, 1, 1, 2, 2],
        num_res_blocks=1,
        latents_mean=[0.1 * channel for channel in range(8)],
        latents_std=[1.0 + 0.1 * channel for channel in range(8)],
    ).eval()
    torch.manual_seed(0)
    text_encoder = Qwen3VLForConditionalGeneration(
        Qwen3VLConfig(
            text_config={
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "num_key_value_heads": 2,
                "head_dim": 8,
                "vocab_size": len(tokenizer),
                "bos_token_id": None,
                "eos_token_id": None,
                "max_position_embeddings": 2048,
                "rope_parameters": {
                    "rope_type": "default",
                    "rope_theta": 5e6,
                    "mrope_section": [2, 1, 1],
                    "mrope_interleaved": True,
                },
            },
            vision_config={
                "depth": 1,
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_heads": 2,
                "out_hidden_size": 16,
                "num_position_embeddings": 16,
                "deepstack_visual_indexes": [0],
            },
            image_token_id=numbers["<|image_pad|>"],
            video_token_id=numbers["<|video_pad|>"],
            vision_start_token_id=numbers["<|vision_start|>"],
            vision_end_token_id=numbers["<|vision_end|>"],
        )
    ).eval()
    return _quiet(
        diffusers.QwenImage21Pipeline(
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift_terminal=0.02),
            vae=vae,
            text_encoder=text_encoder,
            processor=_without_videos(Qwen3VLProcessor)(
                image_processor=_image_processor(16), tokenizer=tokenizer, chat_template=_CHAT_TEMPLATE_OF_PARTS
            ),
            transformer=transformer,
            sample_sigmas=sample_sigmas,
        )
    )


def tiny_flux2_klein(*, is_distilled: bool = False) -> Any:
    """Return a `Flux2KleinPipeline` of 1 MB."""
    import diffusers
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    transformer = diffusers.Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=24,
        timestep_guidance_channels=16,
        axes_dims_rope=(2, 2, 2, 2),
        guidance_embeds=False,
    )
    with torch.no_grad():
        for weight in transformer.parameters():
            if weight.ndim == 2:
                weight.mul_(2.0)
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKLFlux2(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
    ).eval()
    vae.bn.running_mean.copy_(torch.linspace(-0.5, 0.5, 16))
    vae.bn.running_var.copy_(torch.linspace(0.5, 1.5, 16))
    torch.manual_seed(0)
    text_encoder = Qwen3ForCausalLM(
        Qwen3Config(
            hidden_size=8,
            intermediate_size=16,
            num_hidden_layers=27,  # the pipeline reads the outputs of three layers, the last after 27
            num_attention_heads=1,
            num_key_value_heads=1,
            head_dim=8,
            vocab_size=len(tokenizer),
            bos_token_id=None,
            eos_token_id=None,
            max_position_embeddings=1024,
        )
    ).eval()
    return _quiet(
        diffusers.Flux2KleinPipeline(
            scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=True),
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            transformer=transformer,
            is_distilled=is_distilled,
        )
    )


def tiny_stable_diffusion() -> Any:
    """Return a `StableDiffusionPipeline`: one without access to its steps."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    vocabulary = _byte_vocabulary()
    vocabulary |= {f"{character}</w>": len(vocabulary) + place for place, character in enumerate(list(vocabulary))}
    for token in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[token] = len(vocabulary)
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(8, 16),
        layers_per_block=1,
        sample_size=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        norm_num_groups=4,
        attention_head_dim=4,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        norm_num_groups=4,
    )
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(vocabulary),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            bos_token_id=vocabulary["<|startoftext|>"],
            eos_token_id=vocabulary["<|endoftext|>"],
        )
    ).eval()
    return _quiet(
        diffusers.StableDiffusionPipeline(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=diffusers.DDIMScheduler(steps_offset=1, clip_sample=False),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    )


BUILDERS: Final[dict[str, Callable[[], Any]]] = {
    "z-image": tiny_z_image,
    "qwen-image": tiny_qwen_image,
    "qwen-image-edit": partial(tiny_qwen_image_edit, "QwenImageEditPipeline"),
    "qwen-image-edit-plus": tiny_qwen_image_edit,
    "qwen-image-21": tiny_qwen_image_21,
    "flux2-klein": tiny_flux2_klein,
    "stable-diffusion": tiny_stable_diffusion,
}


def save_tiny(kind: str, folder: Path) -> Path:
    """Write a tiny pipeline as `save_pretrained` does, once, and return its folder."""
    path = folder / kind
    if not path.exists():
        part = folder / f"{kind}.{os.getpid()}"
        BUILDERS[kind]().save_pretrained(part)
        part.rename(path)
    return path


def _quiet(pipe: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _byte_vocabulary() -> dict[str, int]:
    """Return the characters that byte-level tokenizers write bytes as, by their number."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = (number for number in range(256) if number not in printable)
    characters = {number: chr(number) for number in printable}
    characters |= {number: chr(256 + place) for place, number in enumerate(others)}
    return {characters[number]: number for number in range(256)}
