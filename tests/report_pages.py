"""Pages of report.html taken apart, and run folders to make them of."""

import dataclasses
import json
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import ladder_jax as lj
from ladder_jax.report.page import write_report
from ladder_jax.storage.description import describe_settings
from ladder_jax.train.result import summarize

LADDER = lj.presets.get("mnist-ladder-100")

# Mean 1.5, and deviations -.5, -.3, .8: std √(.98/2) = .7.
ERRORS = {1: (1.0, 1.3, 2.0), 2: (1.2, 1.6, 2.0), 3: (2.3, 1.9, 2.3)}


class Page(HTMLParser):
    """The parts of a page, which has to be well-formed as HTML and as XML."""

    def __init__(self, path):
        super().__init__()
        self.source, self.open = Path(path).read_text(), []
        self.feed(self.source)
        assert not self.open
        self.root = ElementTree.fromstring(self.source)
        self.text = text_of(self.root.find("body"))
        self.pre = [text_of(found) for found in self.root.iter("pre")]
        self.big = [text_of(found) for found in self.root.findall(".//p[@class='number']/strong")]

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert tag in ("meta", "img")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag):
        return [found.attrib for found in self.root.iter(tag)]

    def table(self, start):
        tables = self.root.iter("table")
        (found,) = (table for table in tables if text_of(table[0]).startswith(start))
        return [[text_of(cell) for cell in row] for row in found.iter("tr")]


def text_of(element):
    return "".join(element.itertext())


def report(folder):
    """The page of a run folder, after the checks that hold for each."""
    path = write_report(folder)
    assert path == Path(folder) / "report.html"
    assert path.read_bytes() == write_report(folder).read_bytes()
    assert not (Path(folder) / ".report.html.partial").exists()
    page = Page(path)
    names = {found.tag for found in page.root.iter()}
    assert {"title", "h1", "h2", "main", "style"} <= names
    assert not names & {"script", "link", "iframe", "object", "embed", "base", "form", "a"}
    assert all(head["scope"] in ("row", "col") for head in page.all("th"))
    assert all(image["alt"] and image["src"].startswith("data:") for image in page.all("img"))
    assert (page.root.attrib, page.all("meta")[1]["name"]) == ({"lang": "en"}, "viewport")
    assert not any(word in page.source for word in ("http:", "https:", "url(", "@import"))
    assert not any(word.startswith("on") for found in page.root.iter() for word in found.attrib)
    return page


def write_run(folder, preset=LADDER, seeds=1, ended=True, diverged=(), done=None, **changes):
    """A run folder as training leaves it, without model and checkpoints.

    diverged: seed → reason. done: epochs. costs, data, config: total cost of each epoch, parts of
    config.json. The other changes are of the TrainConfig.
    """
    data = {"name": preset.dataset, "rows": 60_000, "sha256": "0123456789abcdef"}
    data, costs = data | changes.pop("data", {}), changes.pop("costs", None)
    config = dataclasses.replace(preset.config, **changes.pop("config", {}))
    train = dataclasses.replace(preset.train_config, **changes)
    known = describe_settings(config, train, seeds) | {"data": data}
    part = "validation_error_percent" if train.validation else "test_error_percent"
    entries, lines, seeds = [], [], range(train.seed, train.seed + seeds)
    for seed in seeds:
        errors = dict(zip(lj.STATISTICS, ERRORS.get(seed, ERRORS[1]), strict=True))
        own = {"reason": diverged[seed]} if seed in diverged else {part: errors}
        entries.append({"seed": seed, "test_error_percent": None} | own)
        for epoch in range(1, (train.epochs if done is None else done) + 1):
            cost = costs[epoch - 1] if costs else 100 / epoch
            line = {"seed": seed, "epoch": epoch, "cost/total": cost, "seconds": 1.0}
            lines.append(line | ({part: 20 / epoch} if train.validation else {}))
    folder.mkdir(parents=True, exist_ok=True)
    files = {"config": known, "label_indices": {seed: list(range(100)) for seed in seeds}}
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if ended:
        versions = {"python": "3.11.7", "jax": "0.10.2", "git_commit": "abc123", "git_dirty": True}
        rest = {"versions": versions, "device": "1 x cpu (2 cores)", "wall_seconds": 3600.0}
        files["result"] = summarize(entries, train.statistics) | rest | {"config": known}
    for name, values in files.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
    return folder
