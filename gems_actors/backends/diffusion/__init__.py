"""Pictures from diffusers pipelines: an engine child with torch, and on the actor's side only words and pixels.

models      what the generator sees; PNG files are made here      ┐ the actor's process:
hosting     keeps an engine child alive and hands it requests     ┘ no torch
messages    what the two say to each other
engine_process, loading                                           ┐
engine      text, denoising, decoding, step by step               │ the engine's process
turns       who takes the next step together: pure                │
z_image, qwen_image, whole    a pipeline's own arithmetic         ┘
"""
