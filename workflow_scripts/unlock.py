"""Unlock the folder after a run was killed, but not while anything still writes into it.

make unlock
"""

import os
import subprocess
import sys
from pathlib import Path

from workflow_scripts.common.at_work import refuse_at_work
from workflow_scripts.common.errors import InputError

LOCKS = Path(".snakemake/locks")


def main():
    """Unlock the current folder, or say what still runs; further options go to Snakemake."""
    folder = Path.cwd()
    if not any(LOCKS.glob("*.lock")):
        print(f"{folder} is not locked.")
        return
    try:
        refuse_at_work(folder)
    except InputError as error:
        sys.exit(str(error))
    # Two machines that share the folder do not see each other's processes.
    print(f"No run on {os.uname().nodename} and no cluster job of yours works in {folder}.")
    command = [sys.executable, "-m", "snakemake", "--unlock", "--cores", "1"]
    sys.exit(subprocess.run([*command, *sys.argv[1:]]).returncode)


if __name__ == "__main__":
    main()
