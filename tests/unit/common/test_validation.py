import pytest

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.validation import check, nearest, read_yaml

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["blur"],
    "properties": {
        "blur": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"kernel": {"type": "integer", "minimum": 1}, "sigma": {}},
        },
        "over": {"enum": ["tissue", "all"]},
        "files": {"type": "array", "items": {"type": "object", "required": ["name"]}},
        "md5": {"type": ["string", "null"], "pattern": "^[0-9a-f]{4}$"},
    },
}


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (
            {"blur": {"kernl": 3}},
            "c.yaml: unknown key 'blur.kernl'; did you mean 'kernel'? allowed: kernel, sigma.",
        ),
        ({"blur": {"zzz": 3}}, "c.yaml: unknown key 'blur.zzz'; allowed: kernel, sigma."),
        # The typo is told, not the missing key that it causes.
        ({"blurr": {}}, "unknown key 'blurr'; did you mean 'blur'?"),
        ({}, "c.yaml: missing key 'blur'; add it."),
        ({"blur": {}, "files": [{"name": 1}, {}]}, "missing key 'files[1].name'"),
        ({"blur": {"kernel": "3"}}, "key 'blur.kernel' is '3', expected integer."),
        ({"blur": []}, "key 'blur' is a list, expected object."),
        ({"blur": {}, "over": "tisue"}, "key 'over' is 'tisue'; did you mean 'tissue'? allowed:"),
        ({"blur": {}, "md5": "xyz"}, "key 'md5' is 'xyz', expected text that matches"),
        ({"blur": {}, "md5": 3}, "key 'md5' is 3, expected string or null."),
        ({"blur": {"kernel": 0}}, "key 'blur.kernel' is 0: 0 is less than the minimum"),
    ],
)
def test_each_fault_is_one_sentence(document, sentence):
    with pytest.raises(InputError) as error:
        check(document, SCHEMA, "c.yaml")
    assert sentence in str(error.value)


def test_what_the_schema_allows_passes():
    check({"blur": {"kernel": 3}, "over": "all", "md5": None}, SCHEMA, "c.yaml")


def test_nearest_ignores_case_and_gives_up_on_strangers():
    assert nearest("Tissue", ["tissue", "all"]) == "; did you mean 'tissue'?"
    assert nearest("qqqq", ["tissue", "all"]) == ";"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: 1\nb: {c: 2, c: 3}\n", "line 2: key 'c' is given twice."),
        ("a: [1\nb: 2\n", "not valid YAML, line 2:"),
        ("- 1\n", "expected a YAML mapping"),
        ("", "expected a YAML mapping"),
    ],
)
def test_a_faulty_yaml_file_is_told_with_its_line(tmp_path, text, sentence):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="c.yaml") as error:
        read_yaml(path)
    assert sentence in str(error.value)


def test_an_absent_file_is_told(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_yaml(tmp_path / "absent.yaml")


def test_merge_keys_are_no_repetition(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("a: &a {x: 1}\nb: {<<: *a, y: 2}\n")
    assert read_yaml(path)["b"] == {"x": 1, "y": 2}
