"""What Snakemake asks of the program `conda`, answered with a virtual environment and pip."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import yaml


def create(file, prefix):
    """Make the environment of a conda file whose packages all come from pip."""
    python, pip, packages = yaml.safe_load(Path(file).read_text())["dependencies"]
    here = "python={}.{}".format(*sys.version_info)
    if (python, pip, [*packages]) != (here, "pip", ["pip"]):
        sys.exit(f"{file}: this stand-in for conda makes {here} with pip, not {python} and {pip}")
    subprocess.run([sys.executable, "-m", "venv", prefix], check=True)
    install = [f"{prefix}/bin/python", "-m", "pip", "install", "--quiet", *packages["pip"]]
    subprocess.run(install, check=True)


def main(command, *arguments):
    """Answer as conda does; the folder of programs that comes first is its own."""
    root = str(Path(os.environ["PATH"].split(os.pathsep)[0]).parent)
    if command == "--version":
        print("conda 25.1.0")
    elif command == "info":
        print(json.dumps({"conda_prefix": root, "root_prefix": root, "platform": "linux-64"}))
    elif command == "config":
        print(json.dumps({"get": {"channel_priority": "strict"}}))
    elif command == "env":
        parser = argparse.ArgumentParser()
        parser.add_argument("--file")
        parser.add_argument("--prefix")
        asked, _ = parser.parse_known_args(arguments)
        create(asked.file, asked.prefix)
    elif command == "clean":
        return  # it has no archives of packages
    else:
        sys.exit(f"conda {command}: this stand-in does not know it")


if __name__ == "__main__":
    main(*sys.argv[1:])
