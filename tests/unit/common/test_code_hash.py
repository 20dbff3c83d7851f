"""A hash that follows what code does."""

from workflow_scripts.common.code_hash import code_hash


def test_docstrings_and_comments_do_not_count_but_code_does(tmp_path):
    module = tmp_path / "module.py"
    module.write_text('"""One."""\n\n\ndef f(x):\n    """Two."""\n    return x + 1\n')
    before = code_hash(tmp_path)
    module.write_text('"""Other."""\n\n\ndef f(x):\n    # why\n    return x + 1\n')
    assert code_hash(module) == before
    module.write_text("def f(x):\n    return x + 2\n")
    assert code_hash(module) != before
