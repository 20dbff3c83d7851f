"""An own cohort through snakemake, from its images to the page, and the page in a browser."""

import shutil

import pytest

from tests.own_study import write_study
from tests.workflow.test_report_browser import PHONE, browser, no_overflow, wait  # noqa: F401

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(checkout):
    folder = checkout("own")
    write_study(folder / "study", own={"crops": 2, "stain": ["FOXP3"], "references": False})
    return folder


def run(snakemake, place, cohort, *more):
    return snakemake(
        place, "--cores", 2, "own_cohort", *more, "--configfile", "study/study.yaml",
        "--config", f"cohort={cohort}",
    )  # fmt: skip


def test_no_cohort_and_a_foreign_panel_are_one_sentence_each(place, snakemake):
    mine = (place / "study/mine.yaml").read_text()
    foreign = mine.replace("id: mine", "id: foreign")
    for accession in ("P68431", "P04264", "P62736", "P07766"):
        foreign = foreign.replace(accession, "A0A000BBB1")
    (place / "study/foreign.yaml").write_text(foreign)
    done = run(snakemake, place, "study/foreign.yaml")
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert output.count("none of its 7 channels has an accession that the model was trained") == 1
    assert "Traceback" not in output
    assert not list((place / "results/own/foreign").rglob("*.zarr"))


def test_the_page_is_written_and_works_on_a_desktop_and_a_phone(place, snakemake, request):
    done = run(snakemake, place, "study/mine.yaml")
    assert done.returncode == 0, done.stderr[-3000:]
    folder = place / "results/own/mine"
    assert not (place / "results/small/report").exists()  # nothing of the study but what it needs
    assert {"index.html", "cells.h5ad", "niches.h5ad", "stains"} <= {
        p.name for p in folder.iterdir()
    }
    browser = request.getfixturevalue("browser")  # noqa: F811
    browser.get((folder / "index.html").as_uri())
    assert no_overflow(browser)
    browser.execute_script("for (const i of document.images) i.loading = 'eager'")
    wait(lambda: browser.execute_script("return [...document.images].every(i => i.complete)"))
    sizes = browser.execute_script("return [...document.images].map(i => i.naturalWidth)")
    assert len(sizes) == 9 and all(sizes)  # a picture, it again beside its stain, and the stain
    assert "left out, as own.references is false" in browser.find_element("id", "types").text
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    browser.get((folder / "index.html").as_uri())
    assert browser.execute_script("return innerWidth") == 390 and no_overflow(browser)
    wide = browser.execute_script(
        "return [...document.querySelectorAll('body *')].filter(e => e.checkVisibility() &&"
        " !e.closest('.room, pre, svg') && e.getBoundingClientRect().right > 391)"
        ".map(e => e.outerHTML.slice(0, 120))"
    )
    assert wide == []
    assert [line for line in browser.get_log("browser") if line["level"] != "INFO"] == []
    requests = [line["message"] for line in browser.get_log("performance")]
    assert not [line for line in requests if "requestWillBeSent" in line and '"url":"http' in line]


def test_another_run_has_nothing_to_do(place, snakemake):
    done = run(snakemake, place, "study/mine.yaml", "-n")
    assert "Nothing to be done" in done.stdout + done.stderr
    shutil.rmtree(place / "results")
