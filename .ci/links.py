"""Checks that every link inside a directory of HTML pages leads to a file, and to an element that exists.

usage: links.py DIRECTORY
"""

import html.parser
import pathlib
import sys
import urllib.parse


class Page(html.parser.HTMLParser):
    """The links and the names of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.ids = [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name == "id":
                self.ids.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


root = pathlib.Path(sys.argv[1]).resolve()
pages = {path: Page(path) for path in root.rglob("*.html")}
broken, checked = [], 0
for path, page in pages.items():
    # It is served for any path, so that its links begin at the root.
    if path.name in ("404.html", "toc.html"):
        continue
    for link in page.links:
        url = urllib.parse.urlsplit(link)
        if url.scheme or url.netloc:
            continue
        target = (path.parent / urllib.parse.unquote(url.path)).resolve() if url.path else path
        checked += 1
        fragment = urllib.parse.unquote(url.fragment)
        if root not in target.parents or not target.is_file():
            broken.append(f"{path.relative_to(root)}: {link}: no such file")
        elif fragment and (target not in pages or fragment not in pages[target].ids):
            broken.append(f"{path.relative_to(root)}: {link}: no such heading")
if broken or checked < 500:
    sys.exit("\n".join([*broken, f"{checked} links were checked"]))
print(f"{checked} links of {len(pages)} pages lead somewhere")
