"""What the verifier decides without a model: claims from evidence, texts that were read, and verdicts from others."""
