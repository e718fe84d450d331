"""What surrounds the sections of a page: one file that needs nothing from the network."""

import base64
import hashlib
from collections.abc import Sequence

from bench.report import page as parts

Section = tuple[str, str, str]
"""Name in the page's address, title and body, the last two HTML."""


def document(
    *,
    title: str,
    kind: str,
    heading: str,
    sections: Sequence[Section],
    data: str,
    lead: str = "",
    intro: str = "",
    style: str = "",
    head: str = "",
) -> str:
    """A whole page; everything given is HTML. `lead` stands below the heading, `intro` before the
    sections, `data` is the script's JSON, `style` is beside that of all pages, `head` goes into
    <head>."""
    style, script = parts.style() + style, parts.script()
    links = "".join(f'<a href="#{key}">{name}</a>' for key, name, _ in sections)
    bodies = "".join(
        f'<section id="{key}"><h2>{name}</h2>{body}</section>\n' for key, name, body in sections
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy(style, script)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{head}<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<div class="top"><p class="kind">{kind}</p>
<button type="button" id="theme" class="live">Light or dark</button></div>
<h1>{heading}</h1>
{lead}<nav aria-label="Sections">{links}</nav>
</header>
<main>
{(intro + bodies).replace(" %", "&nbsp;%")}</main>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def policy(style: str, script: str) -> str:
    """This style sheet and this script, pictures inside the page, and nothing else."""
    style_hash, script_hash = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (style, script)
    )
    return (
        f"default-src 'none'; script-src 'sha256-{script_hash}'; "
        f"style-src 'sha256-{style_hash}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
