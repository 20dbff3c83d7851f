"""Checks of YAML documents and of answers in JSON, told in one sentence each."""

import difflib
import json
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator

from workflow_scripts.common.errors import InputError

# Every start of the workflow reads all cohorts: libyaml, where it is built in, is ten times faster.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# A misspelt key is also a missing one: the sentence about the typo helps more.
_FIRST = ("additionalProperties", "required", "type", "enum", "pattern")


def parse_yaml(text):
    """Return what a YAML text holds, plain values alone."""
    loader = LOADER(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def read_yaml(path):
    """Return the mapping in a YAML file; InputError for a syntax fault or a key given twice."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        _refuse_repeated_keys(yaml.compose(text, Loader=LOADER), path)
        document = parse_yaml(text)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise InputError(f"{path}: not valid YAML, {where}{problem}.") from None
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected a YAML mapping of keys to values.")
    return document


def parse_json(text, where, expected="JSON", fits=lambda answer: True):
    """Return what the answer `text` of an address holds; InputError unless it is JSON that fits."""
    try:
        answer = json.loads(text)
    except ValueError:
        raise unexpected(text, where, expected) from None
    if not fits(answer):
        raise unexpected(text, where, expected)
    return answer


def unexpected(text, where, expected):
    """Return the InputError for an answer that is something else."""
    start = " ".join(text.split())[:80]
    return InputError(f"{where}: expected {expected}, the answer begins '{start}'.")


def check(document, schema, file):
    """Raise InputError, naming `file` and the key, unless `document` satisfies `schema`.

    `schema` is a JSON schema (a dict). The sentence names the full key, what was expected and, for
    an unknown key or value, the nearest one that is allowed.
    """
    errors = list(Draft202012Validator(schema).iter_errors(document))
    if errors:
        raise InputError(f"{file}: {_sentence(min(errors, key=_importance))}")


def nearest(word, allowed):
    """Return "; did you mean 'x'?" for the closest of `allowed`, or ";", to go on a sentence."""
    lower = {str(item).lower(): str(item) for item in allowed}
    match = difflib.get_close_matches(str(word).lower(), lower, n=1)
    return f"; did you mean '{lower[match[0]]}'?" if match else ";"


def _importance(error):
    rank = _FIRST.index(error.validator) if error.validator in _FIRST else len(_FIRST)
    return rank, len(error.absolute_path), [str(part) for part in error.absolute_path]


def _sentence(error):
    path, value = list(error.absolute_path), error.instance
    if error.validator == "additionalProperties":
        allowed = list(error.schema.get("properties", {}))
        unknown = next(key for key in value if key not in allowed)
        return (
            f"unknown key '{_dotted([*path, unknown])}'{nearest(unknown, allowed)}"
            f" allowed: {', '.join(map(str, allowed))}."
        )
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in value)
        return f"missing key '{_dotted([*path, missing])}'; add it."
    key = f"key '{_dotted(path)}' is {_shown(value)}"
    if error.validator == "enum":
        allowed = error.validator_value
        return f"{key}{nearest(value, allowed)} allowed: {', '.join(map(str, allowed))}."
    if error.validator == "type":
        kinds = error.validator_value
        kinds = [kinds] if isinstance(kinds, str) else kinds
        return f"{key}, expected {' or '.join(kinds)}."
    if error.validator == "pattern":
        return f"{key}, expected text that matches {error.validator_value}."
    return f"{key}: {error.message}."


def _dotted(path):
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _shown(value):
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return "empty" if value is None else repr(value)


def _refuse_repeated_keys(node, path):
    """Refuse a mapping with the same key twice, of which YAML would silently keep the last."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen and key.value != "<<":
                line = key.start_mark.line + 1
                raise InputError(f"{path}: line {line}: key '{key.value}' is given twice.")
            seen.add(key.value)
            _refuse_repeated_keys(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(item, path)
