"""Property tests that come out the same on every machine, however slow it is."""

from hypothesis import HealthCheck, settings

settings.register_profile("mesh", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mesh")
