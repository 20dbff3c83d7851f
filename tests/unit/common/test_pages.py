"""Pages: what is written into a template, and sizes in words."""

import jinja2
import pytest

from workflow_scripts.common.pages import environment, size


def shout(text):
    return text.upper()


def test_a_template_escapes_what_it_is_given_and_knows_the_filters(tmp_path):
    (tmp_path / "page.html").write_text("<p>{{ word | shout }}</p>")
    page = environment(tmp_path, shout).get_template("page.html")
    assert page.render(word="<b>") == "<p>&lt;B&gt;</p>"
    with pytest.raises(jinja2.UndefinedError, match="'word' is undefined"):
        page.render()


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999_600, "1 MB"),
        (2.5e6, "2.5 MB"),
        (36.8e9, "36.8 GB"),
        (7.85e11, "785 GB"),
        (7e15, "7,000 TB"),
    ],
)
def test_bytes_in_words(count, text):
    assert size(count) == text
