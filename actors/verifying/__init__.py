"""How the verifier decides: claims from evidence, texts that were read, verdicts from others, and pictures compared."""
