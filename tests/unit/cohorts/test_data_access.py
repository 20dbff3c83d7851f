"""docs/data-access.md says what the cohort files say."""

import re

from workflow_scripts.common.access import HOSTS
from workflow_scripts.common.cohort import ROOT, load_cohort

GUIDE = ROOT / "docs/data-access.md"
WHERE = {
    "zenodo.org": "Zenodo",
    "data.mendeley.com": "Mendeley Data",
    "sagebase.org": "Synapse",
}


def source(cohort):
    """Return the archive and its records, e.g. `Zenodo 6004986, 5994136`."""
    records = [cohort.source.get("record"), *(file.get("record") for file in cohort.files)]
    records = list(dict.fromkeys(record for record in records if record))
    if not records:
        return "the authors"
    place = next(name for host, name in WHERE.items() if host in records[0])
    numbers = [
        re.search(r"(?:records|datasets|entity)/(\w+)", record).group(1) for record in records
    ]
    return f"{place} {', '.join(numbers)}"


def row(name):
    cohort = load_cohort(name)
    cells = [
        f"`{cohort.id}`",
        cohort.access + (", held out" if cohort.held_out else ""),
        source(cohort),
        cohort.size or "the record says",
        cohort.licence,
        cohort.alternative.get("spora", ""),
    ]
    return f"| {' | '.join(cells)} |"


def table():
    head = ["cohort", "access", "where", "download", "licence", "spora id"]
    names = sorted(path.stem for path in (ROOT / "cohorts").glob("*.yaml"))
    rule = ["---"] * len(head)
    return [f"| {' | '.join(head)} |", f"| {' | '.join(rule)} |", *map(row, names)]


def sections():
    """Return {cohort id: text of its section}."""
    parts = re.split(r"^### (\w+)\n", GUIDE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def flat(text):
    return " ".join(text.split())


def test_the_table_is_that_of_the_cohort_files():
    lines = [line for line in GUIDE.read_text().splitlines() if line.startswith("|")]
    assert lines[: len(table())] == table()


def test_every_variable_with_a_credential_is_described():
    rows = re.findall(r"^\| (`[A-Z].*?) \| (\S+) \|", GUIDE.read_text(), flags=re.MULTILINE)
    assert {host: tuple(re.findall(r"`(\w+)`", names)) for names, host in rows} == HOSTS


def test_every_cohort_has_a_section_with_its_files_and_open_questions():
    found = sections()
    assert sorted(found) == sorted(path.stem for path in (ROOT / "cohorts").glob("*.yaml"))
    for name, text in found.items():
        cohort = load_cohort(name)
        for file in cohort.files:
            if not file["name"].endswith(".mcd.zip"):  # eighteen of one cohort, named by a glob
                assert f"`{file['name']}`" in text, (name, file["name"])
        for question in cohort.unverified:
            assert f"- {flat(question)}" in flat(text), (name, question)
