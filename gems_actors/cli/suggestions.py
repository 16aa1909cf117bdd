"""What a mistyped name may have meant. Loads nothing, because `gems --help` must start fast."""

from __future__ import annotations

from collections.abc import Collection

import click

_SYNONYMS = {
    "batch": "bulk",
    "benchmark": "eval",
    "generate": "draw",
    "kill": "cancel",
    "list": "runs",
    "log": "history",
    "ls": "runs",
    "serve": "up",
    "start": "up",
    "stop": "down",
}
"""Names that other tools have for our commands."""


def suggestion_for(name: str, known: Collection[str], *, cutoff: float = 0.6) -> str:
    """Return a hint such as `; did you mean draw?`, or an empty text if no known name is near."""
    from difflib import get_close_matches

    meant = _SYNONYMS.get(name)
    nearest = [meant] if meant in known else get_close_matches(name, known, n=1, cutoff=cutoff)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def unknown_command(name: str, known: Collection[str], context: click.Context) -> click.UsageError:
    """Return the error for a command that does not exist."""
    hint = suggestion_for(name, known)
    return click.UsageError(f"COMMAND: expected one of {', '.join(known)}, got {name!r}{hint}", context)


class Group(click.Group):
    """A group that suggests a command for a mistyped one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the named command.

        Raises:
            click.UsageError: there is no such command.
        """
        if args and not args[0].startswith("-") and not ctx.resilient_parsing:
            known = self.list_commands(ctx)
            if args[0] not in known:
                raise unknown_command(args[0], known, ctx)
        return super().resolve_command(ctx, args)
