"""`gems runs`, `pause`, `resume` and `cancel`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import click
import msgspec
import trio

from gems_actors.app.picture_files import encode_json
from gems_actors.app.run_control import RunRow, control_run, list_runs
from gems_actors.cli.exit_codes import DONE
from gems_actors.cli.options import config_options, json_option, router_option
from gems_actors.cli.terminal.memory_views import print_rows, short_time
from gems_actors.cli.terminal.tables import counted, run_table
from gems_actors.config import MeshConfig
from gems_actors.ops.log_setup import configure_logging
from gems_actors.terminal_text import printable
from protocol.messages import Control, Controlled


@click.command()
@config_options
@router_option
@json_option
def runs(config: MeshConfig, router: str | None, as_json: bool) -> int:
    """List this user's runs on this host, and the latest that memory knows.

    Without --router, read the memory of the configured data_dir and of every mesh that was started on this host.
    """
    configure_logging(config.log, role="client")
    found = trio.run(list_runs, config, router, lambda line: click.echo(f"gems: {line}", err=True))
    print_rows(found, _run_lines, as_json=as_json)
    return DONE


def _control_command(action: Control, help_text: str) -> click.Command:
    @click.command(action, help=help_text)
    @click.argument("name", metavar="NAME")
    @config_options
    @router_option
    @json_option
    def control(name: str, config: MeshConfig, router: str | None, as_json: bool) -> int:
        configure_logging(config.log, role="client")
        target, done = trio.run(partial(control_run, name, action, config, router))
        if as_json:
            where = {"run": target.run, "trajectory": target.trajectory, "address": target.address}
            click.echo(encode_json({**where, "action": action, **msgspec.to_builtins(done)}))
        else:
            click.echo(f"{target}: {_result_in_words(action, done)}")
        return DONE

    return control


_NAMES = "NAME is a run, the DIR of a bulk, a trajectory, or the beginning of a run's or trajectory's name."
pause = _control_command(
    "pause",
    f"Pause a run or trajectory.\n\n{_NAMES}\n\nRequests in flight finish and are kept. No further requests start "
    "until `gems resume NAME`, even if the mesh's router is replaced.",
)
resume = _control_command(
    "resume",
    f"Resume a paused or cancelled run or trajectory.\n\n{_NAMES}\n\nA run resumes with all of its trajectories.",
)
cancel = _control_command(
    "cancel",
    f"Cancel a run or trajectory.\n\n{_NAMES}\n\nRequests in flight are cancelled. A bulk ends with the tasks that "
    "are done, and the same command continues it; the task of a cancelled trajectory fails with class cancelled.",
)


def _run_lines(rows: Sequence[RunRow]) -> Iterator[str]:
    cells: list[tuple[str, ...]] = [("run", "state", "done", "failed", "began", "what", "where")]
    for row in rows:
        done = f"{row.done} of {row.total}" if row.total is not None else str(row.done)
        began = short_time(row.began_at)
        cells.append((row.run, row.state, done, str(row.failed), began, printable(row.what), row.where))
    yield from run_table(cells)


def _result_in_words(action: Control, done: Controlled) -> str:
    was = "" if done.before == "running" else f" (it was {done.before})"
    queued = counted(done.waiting, "request")
    match action, done.before:
        case "pause", "cancelled":
            return "is cancelled, and stays cancelled"
        case "pause", "paused":
            return f"is already paused, {queued} queued"
        case "pause", _:
            return f"paused; {queued} queued, {done.in_hand} in flight"
        case "resume", "running":
            return "was not paused"
        case "resume", _:
            return f"resumed{was}; {queued} had been queued"
        case _, "cancelled":
            return "is already cancelled"
        case _:
            return f"cancelled{was}; {counted(done.waiting + done.in_hand, 'request')} cancelled"
