"""How Sphinx makes the documentation site of the Markdown pages; `make docs` calls it.

The pages are written for any reader of Markdown: this file adds what only a site needs, navigation and docstrings.
"""

import re
import sys
import tomllib
from pathlib import Path

import django
from django.conf import settings
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
settings.configure(
    SECRET_KEY="only-to-import-what-is-documented",
    USE_TZ=True,
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "crons"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()

project = "crons"
author = "The Crons maintainers"
project_copyright = author
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

extensions = ["myst_parser", "sphinx.ext.autodoc"]
# The source is the whole repository, so that a link from one page to another is right here and on a code forge.
root_doc = "docs/index"
include_patterns = ["docs/**", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md"]
exclude_patterns = ["docs/_site"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4

html_theme = "furo"
html_title = "crons"
html_static_path = ["static"]
templates_path = ["templates"]
pygments_dark_style = "github-dark"  # the default underlines names, which then look like links
html_css_files = ["crons.css"]
html_js_files = ["versions_menu.js"]
html_show_sphinx = False
html_copy_source = False
html_show_copyright = False
html_show_search_summary = False  # it would fetch each page found, which browsers refuse for pages on a disk
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "versions.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88

_LINK = re.compile(r"^- \[(?P<title>.+?)\]\((?P<page>[^)#]+\.md)\)", re.MULTILINE)
_PART = re.compile(r"^## (?P<caption>.+)\n(?P<links>[^#]+)", re.MULTILINE)
_FIELD = re.compile(r"^(Args|Returns|Raises|Cost|Source|Yields):")


def add_navigation(app: Sphinx, page: str, source: list[str]) -> None:
    """Make the sidebar of the lists in docs/index.md: what is not in the contents is a warning of Sphinx's."""
    if page != root_doc:
        return
    for part in _PART.finditer(source[0]):
        links = [f"{link['title']} <{link['page'].removesuffix('.md')}>" for link in _LINK.finditer(part["links"])]
        lines = ["\n```{toctree}", ":hidden:", f":caption: {part['caption']}", "", *links, "```\n"]
        source[0] += "\n".join(lines)


def read_docstring(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Make fields of the house's `Args: …` lines, and code of `single backticks`."""
    shown: list[str] = []
    in_field = False
    for line in lines:
        if _FIELD.match(line):
            shown += [f":{line}"] if in_field else ["", f":{line}"]
            in_field = True
        else:
            in_field = in_field and bool(line.strip())
            shown.append(f"    {line}" if in_field else line)
    lines[:] = [re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line) for line in shown]


def shorten_signature(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Leave out what the signature of a dataclass has of modules and of this run's addresses."""
    if signature:
        signature = re.sub(
            r"~(?:\w+\.)+|(?<==) <(?:factory|function .*?)>", lambda found: " ..." if "<" in found[0] else "", signature
        )
    return signature, returned


def setup(app: Sphinx) -> None:
    """Have all of them called."""
    app.connect("source-read", add_navigation)
    app.connect("autodoc-process-docstring", read_docstring)
    app.connect("autodoc-process-signature", shorten_signature)
