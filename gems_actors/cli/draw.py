"""`gems draw`: draw one prompt and watch how the picture develops.

Most of the time that a small picture takes goes into imports. So the fork server of the mesh is forked as soon as the
options are read, and what only this process needs is imported after that, while the fork server imports the roles.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from gems_actors.app.options import DrawOptions
from gems_actors.app.prompts import PromptError, check_prompt, read_prompt
from gems_actors.cli import options as shared
from gems_actors.cli.exit_codes import DONE, INTERRUPTED
from gems_actors.errors import CancelledRequestError
from gems_actors.os_process import ending_at_stop_signals
from gems_actors.supervision.zygote_process import ZygoteProcess, forked_zygote


@click.command()
@click.argument("prompt", nargs=-1, required=True, metavar="PROMPT")
@shared.path_option("-o", "--output", metavar="PNG", help_text="File or folder for the picture.")
@click.option(
    "--image",
    "image_files",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Picture to draw from; may be repeated.",
)
@shared.draw_options(shared.seed_option("Seed of the picture (default random)."))
@shared.json_option
@click.option("--open", "opens", is_flag=True, help="Show the picture, in the terminal where it can.")
@click.option("-v", "--verbose", "is_verbose", is_flag=True, help="Show the logs of the roles.")
def draw(prompt: tuple[str, ...], options: DrawOptions, image_files: tuple[Path, ...], **chosen: Any) -> int:
    """Draw PROMPT in rounds until every requirement is met; `-` reads it from standard input.

    With --image, PROMPT says what becomes of the pictures, and the result has the proportions of the first one.

    Starts a mesh, or uses the one at --router. Ctrl-C ends with the best picture so far, a second Ctrl-C at once.
    """
    text = _read_prompt(prompt)
    with nullcontext() if options.router else forked_zygote() as zygote:
        return _draw(text, options, zygote, images=image_files, **chosen)


def _draw(
    prompt: str,
    options: DrawOptions,
    zygote: ZygoteProcess | None,
    *,
    as_json: bool,
    opens: bool,
    is_verbose: bool,
    **of_request: Any,
) -> int:
    with ending_at_stop_signals():
        import trio

        from gems_actors.app import draw as drawing
        from gems_actors.cli.terminal.views import draw_view_for, open_terminal
    request = drawing.DrawRequest(
        prompt=prompt, options=options, redirects_stderr=not is_verbose, zygote=zygote, **of_request
    )
    with open_terminal() as stream:
        view = draw_view_for(stream, may_paint=not is_verbose, as_json=as_json)
        try:
            result = trio.run(drawing.run, request, view)
        except CancelledRequestError as error:
            print(f"gems: {error}", file=stream)
            return INTERRUPTED
        if opens:
            from gems_actors.cli.terminal.inline_picture import show_picture  # loads Pillow

            if problem := show_picture(result.path, stream):
                print(f"gems: {problem}", file=stream)
    return INTERRUPTED if result.is_interrupted else DONE


def _read_prompt(arguments: tuple[str, ...]) -> str:
    if len(arguments) > 1:
        raise click.UsageError(f"PROMPT: expected it in quotes, as one argument, got {len(arguments)} arguments")
    (argument,) = arguments
    source = "standard input" if argument == "-" else "PROMPT"
    try:
        return read_prompt(sys.stdin.buffer) if argument == "-" else check_prompt(argument)
    except PromptError as error:
        raise click.UsageError(f"{source}: {error}") from error
