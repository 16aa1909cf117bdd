"""Pictures from diffusers pipelines, drawn by engine processes with torch; the actor's process imports no torch.

The actor's process:   models (the image model; writes PNG files), engine_host (keeps one engine process running)
Between the two:       engine_messages, reference_memory (pictures that are drawn from)
The engine's process:  engine_process, loading, engine (text, denoising and decoding, step by step), devices,
                       batch_scheduler (which requests share the next step: pure), and the arithmetic of the pipelines:
                       stepwise (the contract), z_image, qwen_image, qwen_image_21, flux2_klein, generic_pipeline;
                       of their steps: flow_matching, row_attention, denoising_cache, float8
"""
