"""Runs a mesh in the foreground: `python deploy/supervisor.py mesh.toml`.

SIGTERM, SIGINT or SIGHUP drains it, a second one kills it. Exit codes: 0 after a requested stop, 1 if the supervisor
gave up, 2 for wrong usage, 78 for bad configuration, 130 if it was stopped before it had begun.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gems_actors.os_process import raise_at_stop_signals, run_to_the_end


def main(arguments: list[str]) -> int:
    """Run the mesh of a configuration file and return the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python deploy/supervisor.py mesh.toml\n")
        return 2
    # imported here, where signals are handled already
    import trio

    from gems_actors.config import load_config
    from gems_actors.errors import AddressInUseError, ConfigError, GemsError
    from gems_actors.ops.log_setup import configure_logging
    from gems_actors.supervision.service import run_mesh

    raise_at_stop_signals()
    try:
        config = load_config(Path(arguments[0]))
        configure_logging(config.log, role="supervisor")
        trio.run(run_mesh, config)
    except GemsError as error:
        sys.stderr.write(f"gems: {error}\n")
        return 78 if isinstance(error, ConfigError | AddressInUseError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(run_to_the_end(lambda: main(sys.argv[1:])))
