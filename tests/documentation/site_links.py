"""Check a built site: every link and picture leads to a file of it, every anchor to an element, nothing to the network.

    python tests/documentation/site_links.py build/docs

Links of the text to other sites are left alone; `make links` follows those.
"""

import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "link": "href", "source": "src", "iframe": "src"}


@dataclass
class Page(HTMLParser):
    """What a page of the site links to, loads, and can be linked to.

    Attributes:
        links: targets of its links.
        loads: scripts, styles and pictures that a browser fetches by itself.
        anchors: names that links may end with.
    """

    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag links to, loads and is called."""
        given = dict(attrs)
        self.anchors |= {value for value in (given.get("id"), given.get("name")) if value}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"] or "")
        if given.get(LOADED.get(tag, "")) and given.get("rel") not in ("canonical", "index", "search", "next", "prev"):
            self.loads.append(given[LOADED[tag]] or "")


def read(path: Path) -> Page:
    """Read a page."""
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def faults(site: Path) -> list[str]:
    """Return a line for every link of a site that leads nowhere."""
    site = site.resolve()
    pages = {path: read(path) for path in sorted(site.rglob("*.html"))}
    if not pages:
        return [f"there is no page in {str(site)!r}"]
    found = []
    for path, page in pages.items():
        for target in [*page.links, *page.loads]:
            parts = urlsplit(target)
            if parts.scheme in ("data", "mailto") or (parts.scheme and target in page.links):
                continue
            place = f"{path.relative_to(site)}: {target}"
            if parts.scheme or parts.netloc:
                found.append(f"{place} is fetched from the network")
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not file.is_file():
                found.append(f"{place} is not there")
            elif parts.fragment and file in pages and unquote(parts.fragment) not in pages[file].anchors:
                found.append(f"{place}: there is no such anchor")
    return found


if __name__ == "__main__":
    lines = faults(Path(sys.argv[1]))
    print("\n".join(lines), file=sys.stderr)
    sys.exit(bool(lines))
