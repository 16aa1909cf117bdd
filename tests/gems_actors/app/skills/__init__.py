"""Tests of trials of skills, and of learning them."""
