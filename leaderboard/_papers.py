"""Reports of papers on the page: what `leaderboard paper NAME` wrote as Markdown, as HTML with its tables and pictures."""

from __future__ import annotations

import re
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from leaderboard._markup import Markup, element, joined
from leaderboard._values import plain

_PICTURE = re.compile(r"[\w-]+\.(png|svg)")


def reports(folder: Path) -> dict[str, str]:
    """The reports of a folder, Markdown by name; empty where there is none."""
    found = {}
    for path in sorted(folder.glob("*.md")):
        try:
            found[path.stem] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
    return found


def section(names: dict[str, str]) -> Markup | None:
    """A disclosure for each report, filled by the script when it is opened; None without reports."""
    if not names:
        return None
    parts = [
        element("details", element("summary", title(text, name)), element("div", class_="report"), data_report=name)
        for name, text in names.items()
    ]
    words = "Each holds the paper's printed figures beside ours; leaderboard paper NAME makes one and leaderboard build shows it."
    note = element("p", words, class_="note")
    return element("section", element("h2", "Papers"), joined(parts), note, class_="papers", data_view="papers")


def title(text: str, name: str) -> str:
    """The first heading of a report, or its name."""
    first = next((line for line in text.splitlines() if line.startswith("#")), "")
    return plain(first.lstrip("#")) or name


def rendered(text: str, *, level: int = 2) -> Markup:
    """Markdown as HTML: tables and pictures, no HTML of its own; headings begin below `level`.

    A picture that is no file in `papers` beside the page is left out. Tables scroll by themselves where they are wide.
    """
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse(text)
    deepest = min((int(t.tag[1]) for t in tokens if t.type == "heading_open"), default=1)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) - deepest + level + 1)}"
        for child in token.children or ():
            _place(child)
    html = reader.renderer.render(tokens, reader.options, {})
    html = html.replace(
        "<table>", '<div class="scroll" tabindex="0" role="region" aria-label="table"><table class="small">'
    )
    return Markup(html.replace("</table>", "</table></div>"))


def _place(token: Token) -> None:
    if token.type == "image":
        source = str(token.attrs.get("src", ""))
        if _PICTURE.fullmatch(source):
            token.attrs["src"] = f"papers/{source}"
            token.attrs["loading"] = "lazy"
        else:
            token.type, token.tag, token.content = "text", "", f"[picture: {token.content}]"
    elif token.type in ("link_open", "link_close"):
        token.type, token.tag, token.hidden = "text", "", True  # the page links nowhere
        token.content = ""
