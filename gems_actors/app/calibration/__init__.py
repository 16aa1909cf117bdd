"""Fits thresholds of the verifier's scores to answers that are known, for `gems verify calibrate`."""
