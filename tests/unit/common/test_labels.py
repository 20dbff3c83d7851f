"""Captions say whose labels they show."""

from workflow_scripts.common.labels import published, source, sources

ARCHIVE = ["cell_id", "cell_type"]
ANEW = [*ARCHIVE, "cell_type_published"]


def test_a_label_given_anew_keeps_the_archives_own_beside_it():
    assert published(ARCHIVE, "cell_type") == "cell_type"
    assert published(ANEW, "cell_type") == "cell_type_published"
    assert (source(ARCHIVE, "cell_type"), source(ANEW, "cell_type")) == (
        "as published",
        "re-annotated",
    )


def test_a_caption_names_the_source_of_every_cohort():
    tables = {("hoch2022", "cell_type"): ARCHIVE, ("cords2024", "cell_type"): ANEW}
    assert sources(tables) == "Labels: hoch2022 as published, cords2024 re-annotated."
    assert sources({}) == ""
