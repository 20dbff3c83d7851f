"""The report from a small results tree: complete about what there is, and about nothing else."""

import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image, ImageChops, ImageStat

from tests.unit.report.fake_study import LACKING, NOW, ORIGIN, fake_report, fake_study
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.names import name
from workflow_scripts.common.targets import load_targets, numbered
from workflow_scripts.report import cards, partial_report, report, scores, tables, wording


class Page(HTMLParser):
    """The elements of a page: (tag, attributes), its ids, and the text of its rows."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.rows, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append("")

    def handle_data(self, data):
        if self.rows:
            self.rows[-1] += f"{data} "

    def all(self, tag, **wanted):
        wanted = {key.rstrip("_"): value for key, value in wanted.items()}
        return [a for t, a in self.elements if t == tag and wanted.items() <= a.items()]

    @property
    def ids(self):
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]


def read(folder):
    text = (folder / "index.html").read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture(scope="module")
def partial(tmp_path_factory):
    return fake_report(tmp_path_factory.mktemp("partial"))


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return fake_report(tmp_path_factory.mktemp("full"), full=True)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    return fake_report(tmp_path_factory.mktemp("simulated"), full=True, simulated=True)


@pytest.mark.parametrize("kind", ["partial", "full", "simulated"])
def test_page_is_self_contained(kind, request):
    folder = request.getfixturevalue(kind)
    text, page = read(folder)
    targets = [a.get("src") or a.get("href") for _, a in page.elements]
    for link in filter(None, targets):
        assert not link.startswith(("http", "//", "/", "..")), link
        if not link.startswith(("#", "data:")):
            assert (folder / link).is_file(), link
        elif link.startswith("#"):
            assert link[1:] in page.ids, link
    assert not re.search(r"@import|url\(|@font-face|fetch\(|XMLHttpRequest", text)
    assert len(page.ids) == len(set(page.ids))
    assert page.all("html", lang="en")
    assert all(image["alt"] for image in page.all("img") if image.get("src"))


def test_partial_run(partial):
    text, page = read(partial)
    cards = [a for a in page.all("article")]
    assert len(cards) == 71
    drawn = [a["id"] for a in cards if "missing" not in a["class"]]
    assert drawn == [target for target in numbered(load_targets()) if target not in LACKING]
    assert "fig2d" in drawn
    assert len(page.all("img", loading="lazy")) == len(drawn)
    assert text.count("No such cohort.") == 61 - len(drawn) == len(LACKING)
    assert text.count("A drawing; nothing is computed.") == 10
    assert f"{len(drawn)} of 61 panels and tables have a picture; 10 more are drawings" in text
    lost = sum(len(t["claims"]) for t in load_targets() if t["id"] in LACKING)
    reasons = rf"no such cohort \({lost}\), data not supplied \(\d+\)\."
    assert re.search(f"were not run: {reasons}", text)
    assert "SIMULATED" not in text


def test_reasons_are_counted_without_what_to_do_about_them():
    verdicts = ["not run: er: one class; wait for more", "not run: er: one class", "close"]
    assert tables.reason_counts([*verdicts, "not run: no data"]) == [
        ("er: one class", 2),
        ("no data", 1),
    ]


def test_full_run(full):
    text, page = read(full)
    claims = pd.read_csv(full / "claims.csv", dtype=str, keep_default_na=False)
    counts = Counter(re.sub(":.*", "", verdict) for verdict in claims["verdict"])
    assert {"reproduced", "close", "differs", "not run"} == set(counts)
    for verdict, count in counts.items():
        tile = f'data-set-verdict="{verdict}"><b>{count}</b>'
        assert tile in text
    assert len(page.all("img", loading="lazy")) == 61
    rows = [a for a in page.all("tr") if a.get("id", "").startswith("C")]
    assert len(rows) == 154
    assert Counter(row["data-verdicts"].strip("|") for row in rows) == counts


def test_the_losses_stand_beside_the_models(full):
    text, page = read(full)
    section = text[text.index('id="h-models"') : text.index('id="h-costs"')]
    assert 'src="figures/loss_curves.png"' in section and "Training losses" in section
    for suffix in ("png", "svg", "csv", "json"):
        assert (full / f"figures/loss_curves.{suffix}").is_file()


def test_statement_row_shows_both_sides(full):
    _, page = read(full)
    row = next(row for row in page.rows if "C050" in row)
    words = " ".join(row.split())
    assert re.search(r"Fig\. 4f Cancer subtype macro-F1 .* Cords 2024 VirTues 0\.856 ", words)
    assert "n = 41" in words
    assert "all14, sha256 0a1b2c3d0a1b" in words


def test_simulated_run_reproduces_nothing(simulated):
    text, page = read(simulated)
    assert page.all("p", class_="banner")
    assert "SIMULATED" in text
    verdicts = Counter(a["data-verdicts"].strip("|") for a in page.all("tr") if "data-figure" in a)
    assert set(verdicts) == {"simulated data", "not run"}
    for verdict in ("reproduced", "close", "differs"):
        assert not re.search(rf'class="badge v-{verdict}"', text)
        assert f'data-set-verdict="{verdict}"><b>0</b>' in text
    assert "none of these numbers is a result" in text
    assert "are reproduced" not in text


def test_simulated_study_refuses_a_compared_table(tmp_path):
    files, params = fake_study(tmp_path)
    params.simulated = True
    with pytest.raises(
        InputError, match="in a simulated study; expected 'simulated data'; rebuild"
    ):
        report.build(files, params, tmp_path / "report", NOW, ORIGIN)


def test_tables(full):
    text, page = read(full)
    assert "2 images, for example: side 200 px below 256 px" in text
    assert "1 image: no usable &lt;sub-image&gt;" in text  # escaped
    assert "3 of 4 with a protein" in text
    assert "constant over all training images: empty" in text
    assert "without: Ir191" in text
    assert "3 cells have no label." in text
    assert "1,500" in text
    assert "with uncommitted changes" in text and ORIGIN["commit"] in text
    assert "ab" * 32 in text
    assert "size and sha256 of the record" in text
    assert "preprocess.statistics_images" in text
    costs = [" ".join(row.split()) for row in page.rows]
    assert "pretrain 1 2 min 2 min 1.8 GB 0.0778" in costs  # 140 s on two GPUs
    assert "ingest 2 26.5 s 14.0 s danenberg2022 450 MB –" in costs
    assert any(row.startswith("claims_table 1 0.2 s 0.2 s – –") for row in costs)  # the last row


def test_what_ran_stands_by_stage_and_in_the_graph(full):
    text, _ = read(full)
    words = " ".join(re.sub(r"<[^>]+>", " ", text).split())
    assert "Cohorts 2 jobs, 26.5 s" in words and "Cell types nothing" in words
    graph = text[text.index('class="room graph"') : text.index("drawn in the graph")]
    ran = set(re.findall(r'class="node ran">.*?<text[^>]*>(\w+)<', graph, re.S))
    assert ran == {"ingest", "pretrain", "claims_table"}


def test_which_model_at_which_task(full):
    _, page = read(full)
    rows = [" ".join(row.split()) for row in page.rows]
    damond = next(row for row in rows if row.startswith("Damond 2019 : cell type Cells"))
    assert damond == "Damond 2019 : cell type Cells 0.710 0.660 to 0.750 0.620 0.500 to 0.700 · 12"
    danenberg = next(row for row in rows if row.startswith("Danenberg 2022 : cell type Cells"))
    assert danenberg.startswith("Danenberg 2022 : cell type Cells 0.500 · – no <test> cells 3")


def test_keys_of_scores_are_read_by_the_longest_name_that_fits():
    cohorts, models = ["a2022", "a2022_b"], ["all", "wo_all", "kronos"]
    split = scores.split_key
    assert split("macro_f1_a2022_b_cell_type_wo_all", cohorts, models) == (
        "a2022_b",
        "cell_type",
        "wo_all",
    )
    assert split("macro_f1_a2022_grade_all", cohorts, models) == ("a2022", "grade", "all")
    for other in ("C001", "lead_a2022_grade_all", "macro_f1_c_grade_all", "macro_f1_a2022_all"):
        assert split(other, cohorts, models) is None


def test_every_training_has_a_model_card(full):
    card = (full / "models/all14.md").read_text(encoding="utf-8")
    assert "0a1b2c3d" * 8 in card and "Damond 2019: CC BY 4.0" in card
    assert "| Cells | Damond 2019 | cell type | 0.710 | 0.660 to 0.750 |" in card
    assert "trained by this workflow" in card and "| Steps | 200 (" in card
    assert "| Settings changed on the way | none |" in card
    assert "simulated" not in card and "given" not in card


def test_a_setting_changed_in_the_middle_of_a_training_is_told(tmp_path):
    files, params = fake_study(tmp_path)
    metrics = json.loads(files.models[0].read_text())
    changes = [
        {"step": 90, "key": "learning_rate", "before": 1e-3, "after": 1e-4},
        {"step": 120, "key": "precision", "before": "bf16", "after": "float32"},
    ]
    files.models[0].write_text(json.dumps(metrics | {"changed_on_the_way": changes}))
    report.build(files, params, tmp_path / "report", NOW, ORIGIN)
    card = (tmp_path / "report/models/all14.md").read_text(encoding="utf-8")
    told = (
        "learning rate: 0.001 until step 90, then 0.0001",
        "precision: bf16 until step 120, then float32",
    )
    assert f"| Settings changed on the way | {'; '.join(told)} |" in card
    text, _ = read(tmp_path / "report")
    assert all(change in text for change in told)


@pytest.mark.parametrize("simulated", [False, True])
def test_the_card_of_given_weights_claims_no_training(tmp_path, simulated):
    files, params = fake_study(tmp_path, simulated=simulated)
    metrics = json.loads(files.models[0].read_text())
    known = {key: metrics[key] for key in ("instance", "cohorts", "parameters", "weights_sha256")}
    given = {"path": "/home/someone/published.safetensors", "sha256": "cd" * 32}
    files.models[0].write_text(json.dumps(known | {"given": given, "losses": []}))
    report.build(files, params, tmp_path / "report", NOW, ORIGIN)
    card = (tmp_path / "report/models/all14.md").read_text(encoding="utf-8")
    assert "| Kind | VirTues, of given weights |" in card and "**Not trained here.**" in card
    assert f"| Given as | `published.safetensors`, SHA-256 `{'cd' * 32}` |" in card
    assert "trained by this workflow" not in card and "Trained on simulated" not in card
    assert not re.search(r"^\| (Steps|Loss|Seed|Device|Commit \|)", card, re.M)
    text, _ = read(tmp_path / "report")
    assert "not trained here: given as <code>published.safetensors</code>" in text
    assert "/home/someone" not in text + card


def test_markup_in_the_data_of_a_cohort_stays_text(tmp_path, monkeypatch):
    monkeypatch.setenv("ZENODO_TOKEN", "hf_secret0123")
    files, params = fake_study(tmp_path)
    hostile = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    card = yaml.safe_load(files.cards[0].read_text())
    card |= dict.fromkeys(("title", "citation", "licence"), hostile)
    files.cards[0].write_text(yaml.safe_dump(card))
    channels = pd.read_parquet(files.channels[0]).assign(channel_name=hostile)
    channels.to_parquet(files.channels[0])
    pd.DataFrame({"tissue_id": ["T7"], "reason": [hostile]}).to_csv(files.exclusions[0])
    files.ingest[0].write_text(json.dumps({"warnings": [hostile, "a log said hf_secret0123"]}))
    retrieved = files.retrieved[0].read_text().replace("Images.zip", "<svg onload=1>")
    files.retrieved[0].write_text(retrieved)
    params.absent = {"rigamonti": hostile, hostile: hostile}
    params.left_out = {hostile: hostile}
    params.config["study"] = f"{hostile}\"'>"
    report.build(files, params, tmp_path / "report", NOW, ORIGIN)
    text, page = read(tmp_path / "report")
    assert len(page.all("script")) == 1  # the page's own
    assert not [a for _, a in page.elements if {"onerror", "onload"} & set(a)]
    assert "&lt;script&gt;alert(1)" in text
    assert "hf_secret0123" not in text
    for file in (tmp_path / "report/models").iterdir():
        assert "<script" not in file.read_text(encoding="utf-8")


def report_of_what_is_there(files, params, folder):
    """Build the partial report of a study; returns its page."""
    scratch = folder / "scratch"
    scratch.mkdir()
    params.partial, params.cohorts = True, ["damond2019", "danenberg2022"]
    files, params, left_out = partial_report.what_is_there(vars(files), params, scratch)
    report.build(files, params, folder / "report", NOW, ORIGIN, left_out)
    return read(folder / "report")


def test_a_partial_run_has_a_whole_report(tmp_path):
    files, params = fake_study(tmp_path)
    for path in (tmp_path / "figures/fig2d/numbers.json", files.models[0], files.cells[1]):
        path.unlink()
    (tmp_path / "figures/loss_curves/numbers.json").unlink()
    text, page = report_of_what_is_there(files, params, tmp_path)
    assert "Left out:" not in text
    assert page.all("p", class_="banner") and "Not computed yet." in text
    assert len(page.all("article")) == 71
    assert "fig2d" not in [a["id"] for a in page.all("article") if "missing" not in a["class"]]
    table = pd.read_csv(tmp_path / "report/claims.csv", dtype=str, keep_default_na=False)
    assert len(table) == 154
    assert table.set_index("id")["verdict"]["C020"] == "not run: not computed yet"
    assert "This run has no model." in text


@pytest.mark.parametrize(
    ("file", "size", "place"),
    [
        ("figures/fig2d/numbers.json", 200, "figure"),
        ("figures/fig2d/manifest.json", 10, "figure"),
        ("figures/fig2d/fig2d.png", 900, "figure"),
        ("figures/loss_curves/numbers.json", 0, ""),
        ("models/all14/metrics.json", 30, ""),
        ("cohorts/damond2019/tissues.parquet", 100, "cohort"),
        ("cohorts/damond2019/exclusions.csv", 0, "cohort"),
        ("archives/damond2019/retrieved.json", 5, ""),
    ],
)
def test_a_damaged_file_is_named_and_left_out_of_a_partial_report(tmp_path, file, size, place):
    files, params = fake_study(tmp_path)
    path = tmp_path / file
    whole = path.read_bytes() if path.exists() else b'{"target": "fig2d"}'
    path.write_bytes(whole[:size])
    text, page = report_of_what_is_there(files, params, tmp_path)
    sentence = rf"{re.escape(str(path))} is damaged or cut short \([^<]+\); delete (\S+) and start"
    told = re.search(rf"<li>Left out: {sentence} again\.</li>", text)
    assert Path(told[1]) in (path, path.parent)
    assert len(page.all("article")) == 71 and "SIMULATED" not in text
    if place == "figure":
        assert page.all("article", id="fig2d", class_="card missing")
    # Beside the first screen the reason stands where the figure or the cohort would.
    assert len(re.findall(sentence, text)) > (place != "")


@pytest.mark.parametrize("content", ["", "s\th:m:s\n", "s\tmax_rss\nan hour\t1\n"])
def test_a_damaged_benchmark_file_costs_its_job_and_not_the_report(tmp_path, content):
    files, params = fake_study(tmp_path)
    path = tmp_path / "benchmarks/pretrain/all14.tsv"
    path.write_text(content)
    report.build(files, params, tmp_path / "report", NOW, ORIGIN)
    text, page = read(tmp_path / "report")
    assert f"Left out: {path} is damaged; its job has no costs here." in text
    rows = [" ".join(row.split()) for row in page.rows]
    assert any(row.startswith("ingest 2 26.5 s") for row in rows)
    assert not any(row.startswith("pretrain 1") for row in rows)


def test_weight_of_the_folder(simulated):
    assert sum(path.stat().st_size for path in simulated.rglob("*")) < 30e6


def test_a_heavy_picture_is_made_lighter_at_its_full_size(tmp_path, monkeypatch):
    files, params = fake_study(tmp_path)
    monkeypatch.setattr(cards, "HEAVY", 60_000)
    report.build(files, params, tmp_path / "report", NOW, ORIGIN)
    original, light = (
        tmp_path / path / "fig2a.png" for path in ("figures/fig2a", "report/figures")
    )
    with Image.open(original) as before, Image.open(light) as after:
        assert before.size == after.size and len(after.getcolors()) <= 256
        difference = ImageChops.difference(before.convert("RGB"), after.convert("RGB"))
        assert ImageStat.Stat(difference).mean[0] < 8
    assert light.stat().st_size < 0.6 * original.stat().st_size
    text, _ = read(tmp_path / "report")
    assert "Shown with 256 colours" in text


def test_failed_build_leaves_the_old_report(tmp_path):
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "index.html").write_text("old")

    def fail(part):
        part.mkdir()
        raise InputError("no")

    with pytest.raises(InputError):
        report.publish(fail, folder)
    assert (folder / "index.html").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_missing_picture_is_named(tmp_path):
    files, params = fake_study(tmp_path)
    (tmp_path / "figures/fig2b/fig2b.svg").unlink()
    with pytest.raises(
        InputError, match="fig2b.svg: fig2b has a picture, but this file is missing"
    ):
        report.build(files, params, tmp_path / "report", NOW, ORIGIN)


def test_unknown_verdict_is_named(tmp_path):
    files, params = fake_study(tmp_path)
    files.claims.write_text(files.claims.read_text().replace("not run: no such cohort", "perhaps"))
    with pytest.raises(InputError, match=r"C\d+: unknown verdict 'perhaps'; rebuild it"):
        report.build(files, params, tmp_path / "report", NOW, ORIGIN)


def test_study_without_cohorts_models_or_downloads(tmp_path):
    files, params = fake_study(tmp_path, cohorts=())
    files.models, params.benchmark_folder = [], tmp_path / "none"
    report.build(files, params, tmp_path / "report", NOW, ORIGIN | {"commit": "unknown"})
    text = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    for sentence in (
        "No cohort was ingested.",
        "This run has no model.",
        "Nothing was retrieved",
        "No benchmark file",
        "not a Git checkout",
    ):
        assert sentence in text


def test_downloaded_weights_stand_among_the_input_files_where_they_have_a_record(tmp_path):
    files, params = fake_study(tmp_path)
    whole, cut = params.downloads
    url = "https://host.example/esm2.pt"
    file = {"name": "esm2.pt", "size": 6e8, "sha256": "ef" * 32, "url": url, "checked_against": {}}
    for path, text in ((whole, json.dumps({"files": [file]})), (cut, '{"name":')):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    text, page = report_of_what_is_there(files, params, tmp_path)
    row = f"esm2 esm2.pt 600 MB {'ef' * 32} nothing known beforehand {url}"
    [found] = [" ".join(row.split()) for row in page.rows if "esm2.pt" in row]
    assert found.startswith(row)
    assert f"Left out: {cut} is damaged" in text
    flat = tables.input_rows([_written(tmp_path / "published/retrieved.json", file)])
    assert [row["of"] for row in flat] == ["published"] and flat[0]["sha256"] == "ef" * 32


def _written(path, record):
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(record))
    return path


def test_checked_against_in_words():
    assert tables.checked_against({}) == "nothing known beforehand"
    origins = {"size": "record", "md5": "cohort file", "sha256": "record"}
    assert tables.checked_against(origins) == (
        "size and sha256 of the record; md5 of the cohort file"
    )


def test_sparkline_is_inside_its_box():
    points = [tuple(map(float, p.split(","))) for p in tables.sparkline([3, 2, 1] * 50).split()]
    assert len(points) == 60
    assert all(2 <= x <= 118 and 2 <= y <= 26 for x, y in points)
    assert tables.sparkline([1.0]) == ""
    falling = [float(p.split(",")[1]) for p in tables.sparkline([3, 2, 1]).split()]
    assert falling == sorted(falling)  # a falling loss runs down the page


@pytest.mark.parametrize(
    ("value", "like", "text"),
    [
        (None, None, "–"),
        (float("nan"), None, "–"),
        (3102, "3102", "3,102"),
        (0.7234, "0.723", "0.723"),
        (-0.0021, "-0.002", "\u22120.002"),
        (0.00031, "0.723", "3.1 × 10⁻⁴"),
        (1.23456, None, "1.23"),
        (14500000.5, None, "14,500,000"),
        (94.6, "95", "95"),
    ],
)
def test_written_numbers(value, like, text):
    assert wording.figure(value, like) == text


def test_written_names():
    names = {
        "cords2024": "Cords 2024",
        "sim_damond2019": "Damond 2019 (simulated)",
        "sim_immucan2024": "IMMUcan 2024 (simulated)",
        "all": "all cohorts",
        "rigamonti": "Rigamonti",
        "virtues_wo_*": "VirTues without the cohort",
        "my_own-1": "my_own-1",
    }
    assert {key: name(key) for key in names} == names
    assert wording.plural(1, "image") == "1 image"
    assert wording.plural(1200, "body") == "1,200 bodies"
    assert [wording.duration(s) for s in (2, 600, 7200)] == ["2.0 s", "10 min", "2.0 h"]


def test_a_cohort_without_data_is_named_with_the_reason(tmp_path):
    page = (fake_report(tmp_path) / "index.html").read_text(encoding="utf-8")
    assert "the data of rigamonti are given on request" in page
    assert page.count("not among the cohorts of this study") >= 12
    assert "<code>wo_rigamonti</code> was not trained: rigamonti is not among" in page
