"""mkdocs: what the pages link to outside docs/ comes into the site, and the links follow.

In the repository a page links to ../README.md, ../results/table1.md and the like. The site has its
pages from docs/ only, so such files are added to it, and links are rewritten to where they lie.
"""

import posixpath
import re
from pathlib import Path

import griffe
from mkdocs.structure.files import File

import ladder_jax

ROOT = Path(__file__).resolve().parent.parent
PLACES = {"README.md": "readme.md", "LICENSE": "LICENSE.txt"}
LINK = re.compile(r"(?<=\]\()([^)\s#]+)")


def place_of(path):
    """Where a file of the repository lies in the site."""
    name = path.relative_to(ROOT).as_posix()
    return PLACES.get(name, name.removeprefix("docs/").lower())


def target_of(source, link):
    """The file of the repository that a link in another one names, or None."""
    path = (source.parent / link).resolve()
    return path if "://" not in link and path.is_file() and path.is_relative_to(ROOT) else None


def on_files(files, config):
    """Adds each linked file, also those that added pages link to."""
    found = [ROOT / "README.md"]
    found += [Path(file.abs_src_path) for file in files.documentation_pages()]
    for source in found:
        links = LINK.findall(source.read_text()) if source.suffix == ".md" else ()
        found += {path for link in links if (path := target_of(source, link))} - set(found)
        if files.get_file_from_path(place_of(source)) is None:
            files.append(File.generated(config, place_of(source), abs_src_path=str(source)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Rewrites the links of a page."""
    source = Path(page.file.abs_src_path)
    here = posixpath.dirname(page.file.src_uri) or "."

    def rewritten(match):
        path = target_of(source, match[1])
        return match[1] if path is None else posixpath.relpath(place_of(path), here)

    return LINK.sub(rewritten, markdown)


class Docstrings(griffe.Extension):
    """The docstrings of the configurations are made of their fields when they are imported."""

    def on_package(self, *, pkg, **_):
        for config in (ladder_jax.LadderConfig, ladder_jax.TrainConfig):
            shown = pkg[f"config.{config.__name__}"]
            shown.docstring = griffe.Docstring(config.__doc__, parent=shown)
