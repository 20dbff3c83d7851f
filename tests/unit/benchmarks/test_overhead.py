"""Processor time of scheduling and imports, as Python and the system report it."""

from benchmarks.overhead import shares


def test_imports_are_counted_once_and_snakemake_is_scheduling():
    errors = (
        "import time: self [us] | cumulative | imported package\n"
        "import time:    500000 |     500000 |   numpy.core\n"
        "import time:    250000 |     750000 | numpy\n"
        "12:00:00 INFO 2 tissues\n"
    )
    output = "Building\nprocessor time 3.5\nprocessor time 16.5\n"
    assert shares(output, errors) == (3.5, 0.75, 20.0)
