"""A target on disk: the same bytes, whole or not at all, refused when it is wrong."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from workflow_scripts.common import figures
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.numbers import not_run, number, read_numbers, weights_of

SOURCE = pd.DataFrame({"cohort": ["a", "b"], "pearson_r": [1 / 3, np.nan]})


def save(folder, simulated=False, numbers=None, **changes):
    figures.style()
    figure, axis = plt.subplots(figsize=figures.figsize(89, 50))
    axis.plot([0, 1], [1, 0], label="a line")
    axis.scatter([0.2, 0.4], [0.5, 0.5])
    axis.set(xlabel="time (s)", ylabel="r")
    axis.legend()
    numbers = numbers or {
        "C020": number(np.float32(0.5), 0.4, 0.6, np.int64(7), [0], "w", (0.3, "x"))
    }
    given = {"figure": figure, "source_data": SOURCE} | changes
    figures.save_target(
        folder, "fig2d", numbers=numbers, caption="A line.", simulated=simulated, **given
    )
    plt.close(figure)
    return folder


def test_bytes_are_the_same_on_every_run(tmp_path):
    one, two = save(tmp_path / "one", simulated=True), save(tmp_path / "two", simulated=True)
    names = sorted(path.name for path in one.iterdir())
    assert names == ["fig2d.png", "fig2d.svg", "numbers.json", "source_data.csv"]
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    svg = (one / "fig2d.svg").read_text()
    assert "time (s)</text>" in svg  # text stays text
    assert "dc:date" not in svg
    with Image.open(one / "fig2d.png") as image:
        assert image.size == (int(89 / 25.4 * 300), int(50 / 25.4 * 300))
        assert "Software" not in image.info


def test_the_last_digits_of_a_layout_do_not_reach_the_picture(tmp_path, monkeypatch):
    settle = figures._settle_layout

    def shifted(figure):
        engine = figure.get_layout_engine()
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for axis in figure.axes:
            box = axis.get_position(original=True)
            axis.set_position([box.x0 + 1e-12, box.y0, box.width, box.height + 1e-12])
        assert engine is not None
        settle(figure)

    one = save(tmp_path / "one")
    monkeypatch.setattr(figures, "_settle_layout", shifted)
    two = save(tmp_path / "two")
    assert (one / "fig2d.svg").read_bytes() == (two / "fig2d.svg").read_bytes()


def test_simulated_is_written_on_the_picture_alone(tmp_path):
    real, simulated = save(tmp_path / "real"), save(tmp_path / "simulated", simulated=True)
    assert ">simulated</text>" in (simulated / "fig2d.svg").read_text()
    assert "simulated" not in (real / "fig2d.svg").read_text()
    assert read_numbers(simulated / "numbers.json")["simulated"] is True


def test_numbers_and_source_data_come_back(tmp_path):
    folder = save(tmp_path / "fig2d")
    record = read_numbers(folder / "numbers.json")
    assert record["picture"] is True
    assert record["numbers"]["C020"] == {
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
        "n": 7,
        "seeds": [0],
        "weights": "w",
        "careful": {"value": 0.3, "label": "x"},
        "status": "done",
        "reason": None,
        "contrary": False,
    }
    back = pd.read_csv(folder / "source_data.csv")
    pd.testing.assert_frame_equal(back, SOURCE, rtol=1e-7)


def test_what_an_earlier_run_left_is_removed(tmp_path):
    folder = save(tmp_path / "fig2d")
    reason = "not run: data not supplied"
    save(folder, figure=None, source_data=None, status=reason, numbers={"C020": not_run("x")})
    assert [path.name for path in folder.iterdir()] == ["numbers.json"]
    assert read_numbers(folder / "numbers.json")["status"] == reason


def test_nothing_half_written_remains(tmp_path, monkeypatch):
    def fail(self, path, **settings):
        open(path, "w").close()
        raise OSError("disk full")

    monkeypatch.setattr(plt.Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save(tmp_path / "fig2d")
    assert list((tmp_path / "fig2d").iterdir()) == []


def test_wrong_numbers_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match=r"numbers.C020: status 'done' and value None disagree"):
        save(tmp_path / "fig2d", numbers={"C020": number(float("nan"))})
    with pytest.raises(InputError, match="numbers.C020: expected both ends of the interval"):
        save(tmp_path / "fig2d", numbers={"C020": number(0.5, low=0.1)})
    with pytest.raises(InputError, match="interval ends in wrong order; expected low <= high"):
        save(tmp_path / "fig2d", numbers={"C020": number(0.5, 0.6, 0.4)})
    with pytest.raises(InputError, match="picture: a target that was not run has none"):
        save(tmp_path / "fig2d", status="not run: x")
    with pytest.raises(InputError, match=r"key 'status' is 'soon', expected text that matches"):
        save(tmp_path / "fig2d", status="soon")
    assert not (tmp_path / "fig2d").exists()


def test_wrong_files_are_refused(tmp_path):
    path = save(tmp_path / "fig2d") / "numbers.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"pictures": True}))
    with pytest.raises(InputError, match="unknown key 'pictures' *; did you mean 'picture'"):
        read_numbers(path)
    record["numbers"]["C020"]["value"] = "0.5"
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"key 'numbers.C020.value' is '0.5', expected number"):
        read_numbers(path)
    path.write_text("{")
    with pytest.raises(
        InputError, match="numbers.json: expected JSON .*; remove the file and rerun"
    ):
        read_numbers(path)
    path.unlink()
    with pytest.raises(InputError, match="expected the numbers of a figure; run its rule first"):
        read_numbers(path)


def test_weights_of(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps({"instance": "all14", "weights_sha256": "ab" * 32}))
    assert weights_of(path) == "all14, sha256 " + "ab" * 32
    given = {
        "instance": "all14",
        "weights_sha256": "ab" * 32,
        "given": {"path": "x", "sha256": "y"},
    }
    path.write_text(json.dumps(given))
    assert weights_of(path).endswith("trained elsewhere, maybe on test patients of this split")


@pytest.mark.parametrize(
    ("width", "um_per_pixel", "expected"), [(128, 1, 20), (600, 1, 200), (256, 0.5, 20), (10, 1, 2)]
)
def test_scale_bar_has_a_round_length(width, um_per_pixel, expected):
    figure, axis = plt.subplots()
    axis.imshow(np.zeros((width, width)))
    assert figures.scale_bar(axis, um_per_pixel) == expected
    x, y = axis.lines[-1].get_data()
    assert x[1] - x[0] == pytest.approx(expected / um_per_pixel)
    assert y[0] > width / 2  # rows run downwards: the bar is in the lower half
    assert axis.texts[-1].get_text() == f"{expected} µm"
    plt.close(figure)


def test_widths_are_those_of_the_journal():
    assert figures.figsize(183, 50) == pytest.approx((183 / 25.4, 50 / 25.4))
    with pytest.raises(ValueError, match="not 100"):
        figures.figsize(100, 50)
