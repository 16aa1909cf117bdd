"""The part of `gems_actors/README.md` that follows from the schema of the settings.

`python -m tests.gems_actors.config.page` writes it into the file; a test fails until that is done.
"""

from pathlib import Path

from gems_actors.config.reference import settings_as_markdown

README = Path(__file__).parents[3] / "gems_actors" / "README.md"
_BEGIN, _END = "<!-- settings -->\n", "<!-- end of settings -->"


def updated(text: str) -> str:
    """Return the page with its generated part as it must be."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{settings_as_markdown()}\n\n{_END}{after}"


if __name__ == "__main__":
    README.write_text(updated(README.read_text()))
