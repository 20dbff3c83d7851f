"""A hash that follows what code does, through its imports."""

import pytest

from workflow_scripts.common import code_hash as module
from workflow_scripts.common.provenance import listing


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROOT", tmp_path)
    package = tmp_path / "workflow_scripts/common"
    package.mkdir(parents=True)
    (package / "helper.py").write_text('"""One."""\n\n\ndef f(x):\n    """Two."""\n    return x\n')
    (package / "job.py").write_text("LOUD = False\n")
    script = tmp_path / "workflow_scripts/script.py"
    script.write_text(
        "from workflow_scripts.common import helper\n"
        "from workflow_scripts.common.job import LOUD\n\nprint(helper.f(1), LOUD)\n"
    )
    module._imports.cache_clear()
    module._without_docstrings.cache_clear()
    return tmp_path / "workflow_scripts"


def hashed():
    module._imports.cache_clear()
    module._without_docstrings.cache_clear()
    return module.code_hash("workflow_scripts/script.py")


def test_docstrings_comments_and_logging_do_not_count(tree):
    before = hashed()
    helper = tree / "common/helper.py"
    helper.write_text('"""Other."""\n\n\ndef f(x):\n    # why\n    return x\n')
    (tree / "common/job.py").write_text("LOUD = True\n")
    assert hashed() == before


@pytest.mark.parametrize("file", ["script.py", "common/helper.py"])
def test_code_counts_also_where_it_is_imported(tree, file):
    before = hashed()
    path = tree / file
    path.write_text(path.read_text().replace("return x", "return x + 1").replace("(1)", "(2)"))
    assert hashed() != before


def test_the_model_is_part_of_its_training(monkeypatch):
    module._imports.cache_clear()
    reached = module._reached(module.ROOT / "workflow_scripts/pretrain/pretrain.py")
    names = {path.relative_to(module.ROOT).as_posix() for path in reached}
    assert {"virtues_core/rotary.py", "workflow_scripts/common/crops.py"} <= names
    assert not any("report" in name for name in names)


def test_a_listing_notices_new_and_changed_files(tmp_path):
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub/a.tiff"
    file.write_bytes(b"1")
    first = listing(tmp_path)
    assert listing(tmp_path) == first and listing(None) is None
    file.write_bytes(b"12")
    second = listing(tmp_path)
    (tmp_path / "b.tiff").write_bytes(b"1")
    assert len({first, second, listing(tmp_path)}) == 3
