"""The page of an own cohort prints what others wrote: as text, and without credentials."""

import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml

from workflow_scripts.common.cell_pictures import colours_of
from workflow_scripts.common.mock import planned_jobs
from workflow_scripts.own import own_page

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>"
TOKEN = "s3cret-t0ken"


class Elements(HTMLParser):
    """The tags of a page and the names of all attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}


@pytest.fixture
def job(own, tmp_path, monkeypatch):
    """Return the job of the page, with inputs in `tmp_path` that a test may change."""
    place = own.parents[2]
    monkeypatch.chdir(place)
    overrides = {"cohort": str(place / "study/mine.yaml")}
    jobs = planned_jobs([str(place / "study/study.yaml")], overrides, target="own_cohort")
    [page] = [job for job in jobs if job.rule.name == "own_page"]
    files = dict(page.input.items())
    for name in ("card", "ingest", "exclusions", "compared", "markers", "panel", "types", "cases"):
        copy = tmp_path / f"{name}-{files[name].rpartition('/')[2]}"
        copy.write_bytes((place / files[name]).read_bytes())
        files[name] = copy
    files["card"] = files["card"].rename(tmp_path / "mine.yaml")
    return SimpleNamespace(
        input=SimpleNamespace(**files),
        output=SimpleNamespace(page=tmp_path / "index.html"),
        params=SimpleNamespace(**dict(page.params.items())),
    )


def test_markup_in_what_others_wrote_stays_text(job, monkeypatch):
    monkeypatch.setenv("ZENODO_TOKEN", TOKEN)
    files, params = job.input, job.params
    card = yaml.safe_load(files.card.read_text()) | {"title": HOSTILE, "citation": HOSTILE}
    files.card.write_text(yaml.safe_dump(card))
    files.ingest.write_text(json.dumps({"warnings": [HOSTILE, f"a log said {TOKEN}"]}))
    pd.DataFrame({"tissue_id": [HOSTILE], "reason": [HOSTILE]}).to_csv(files.exclusions)
    for path, columns in (
        (files.markers, ("marker", "nearest", "reason")),
        (files.panel, ("channel", "marker", "remark")),
        (files.types, ("cell_type",)),
        (files.cases, ("tissue_id",)),
    ):
        table = pd.read_parquet(path)
        assert set(columns) <= set(table)
        table.assign(**dict.fromkeys(columns, HOSTILE)).to_parquet(path)
    facts = json.loads(files.compared.read_text())
    facts["types"]["cohort"] = facts["cases"]["cohort"] = HOSTILE
    files.compared.write_text(json.dumps(facts))
    params.model, params.trained_on = HOSTILE, [HOSTILE]
    own_page.main(job)
    text = job.output.page.read_text(encoding="utf-8")
    page = Elements(text)
    assert "script" not in page.tags
    assert not [name for name in page.attributes if name.startswith("on")]
    assert text.count("&lt;script&gt;alert(1)") > 20
    assert "a log said ***" in text and TOKEN not in text


def test_every_type_of_cell_has_a_colour_that_a_browser_knows():
    colours = colours_of(pd.Series(list("abcdefghijkl")))
    assert len(set(colours.values())) == 12
    assert all(re.fullmatch("#[0-9A-Fa-f]{6}", colour) for colour in colours.values())


def test_a_reason_why_there_are_no_references_stays_text(job):
    job.params.references, job.params.without = {}, dict.fromkeys(("types", "cases"), HOSTILE)
    own_page.main(job)
    text = job.output.page.read_text(encoding="utf-8")
    assert "script" not in Elements(text).tags and text.count("&lt;script&gt;") == 4
