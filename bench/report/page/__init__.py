"""The parts of report.html, in the order in which they stand there, and their style and script."""

from importlib.resources import files

SCRIPTS = ("state.js", "sorting.js", "chart.js", "panel.js", "slider.js", "start.js")


def style() -> str:
    return _text("style.css")


def script() -> str:
    """One script that leaves no names behind."""
    return "(() => {\n'use strict';\n" + "\n".join(map(_text, SCRIPTS)) + "})();\n"


def _text(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")
