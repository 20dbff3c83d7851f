"""Cohort files for tests, the least that the schema asks for, and a web server."""

import pytest
import yaml

from tests.unit.cohorts.bad_server import Server
from workflow_scripts.common.access import HOSTS
from workflow_scripts.common.cohort import load_cohort

LEAST = {
    "title": "a cohort for tests",
    "access": "open",
    "source": {"folder": "data"},
    "reader": "stack_tiff",
    "layout": {"images": {"pattern": r"(?P<tissue>(?P<patient>p\d)_\d)\.tiff$"}},
    "panel": [{"channel": "A", "uniprot": "P10147"}, {"channel": "B"}],
}


@pytest.fixture
def cohort_file(tmp_path):
    """Return a function that writes a cohort's YAML file with changed keys (None removes one)."""

    def write(**changes):
        document = {"id": "mine", **LEAST, **changes}
        document = {key: value for key, value in document.items() if value is not None}
        path = tmp_path / f"{document['id']}.yaml"
        path.write_text(yaml.safe_dump(document))
        (tmp_path / "data").mkdir(exist_ok=True)
        return path

    return write


@pytest.fixture
def cohort(cohort_file):
    """Return a function that writes and loads a cohort."""
    return lambda **changes: load_cohort(cohort_file(**changes))


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch):
    """Leave out whatever credentials the machine of the tests has."""
    for name in {name for names in HOSTS.values() for name in names}:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server():
    server = Server()
    yield server
    server.released.set()
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def waits():
    return []
