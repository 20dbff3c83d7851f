"""One cohort's YAML file, checked: where its data comes from and how they are read."""

import os
import re
import string
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import unquote, urlparse

from workflow_scripts.common.access import check_address, has_credentials, variables
from workflow_scripts.common.errors import InputError
from workflow_scripts.common.validation import check, nearest, parse_yaml, read_yaml

ROOT = Path(__file__).resolve().parents[2]
FROM_RECORD = "from_record"
UNFINISHED = (".part", ".part.json", ".bad", "retrieved.json")  # beside the files of a cohort

# Of a cohort's file, what no image or table of the ingest is made of.
DESCRIBED = (
    "path", "title", "citation", "licence", "terms", "organs", "remarks", "size", "published",
    "held_out", "alternative", "defects", "unverified", "tasks", "units", "own",
)  # fmt: skip


@dataclass(frozen=True)
class Cohort:
    """What `cohort.schema.yaml` describes, with optional keys filled in."""

    path: Path  # of the YAML file; paths inside are relative to it
    id: str
    title: str
    access: str
    source: dict
    reader: str
    layout: dict
    panel: list | dict
    citation: str = ""
    licence: str = ""
    simulated: bool = False
    modality: str = "imc"
    terms: str = ""
    organs: list = field(default_factory=list)
    remarks: str = ""
    size: str = ""
    published: dict = field(default_factory=dict)  # images, patients, cells, as far as known
    held_out: bool = False  # never in a pretraining
    alternative: dict = field(default_factory=dict)
    defects: list = field(default_factory=list)
    unverified: list = field(default_factory=list)
    pixel_size: float = 1.0  # um per pixel of the files
    patient: str = "{patient}"
    without_patient: str = "refuse"  # tissues that no table gives a patient
    specimen: str = "{tissue}"
    clinical: list = field(default_factory=list)
    units: dict = field(default_factory=dict)  # clinical column -> unit
    tasks: dict = field(default_factory=dict)
    cells: dict | None = None
    split: dict | None = None
    own: dict = field(default_factory=dict)  # over the settings `own` of config.yaml

    @property
    def computed(self):
        """What retrieving and ingesting read of the file: neither its prose nor its tasks."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in DESCRIBED
        }

    @property
    def is_published(self):
        """Whether it is one of the paper's cohorts, which have their files in cohorts/."""
        return self.path.parent == ROOT / "cohorts"

    @property
    def folder(self):
        """The folder with the data, or None for a cohort that is retrieved."""
        folder = self.source.get("folder")
        return None if folder is None else (self.path.parent / folder).resolve()

    def verified_images(self, archives):
        """The list of images with verified labels, from which others are re-annotated, or None.

        It lies with the data; `archives` is the folder of all cohorts' archives.
        """
        settings = (self.cells or {}).get("reannotate")
        if settings is None:
            return None
        path = (self.folder or Path(archives) / self.id) / settings["verified"]
        return path if path.is_file() else None

    def relabelled(self, archives):
        """Return the labels that are given anew; none where the verified images are not listed."""
        return [] if self.verified_images(archives) is None else self.cells["reannotate"]["labels"]

    @property
    def files(self):
        """The files to retrieve (list of dicts); none for a cohort on disk."""
        return self.source.get("files", [])

    @property
    def channels(self):
        """The rows of the panel that this file names (list of dicts); none for a bare table."""
        return self.panel if isinstance(self.panel, list) else self.panel.get("rows", [])

    @property
    def clinical_columns(self):
        """The clinical columns that this file names, or None where a table brings all it has."""
        if self.reader == "spora" or any("columns" not in table for table in self.clinical):
            return None
        return [name for table in self.clinical for name in table["columns"]]

    @property
    def local_files(self):
        """Files on this machine that retrieving reads: file:// records and file:// archives."""
        urls = [self.source.get("record")]
        urls += [file.get(key) for file in self.files for key in ("record", "url")]
        return [local_path(self.url(url)) for url in urls if url and local_path(self.url(url))]

    def url(self, text):
        """Return `text` as an https or file:// URL; a path is relative to the YAML file."""
        if re.match(r"https?://", text):
            return check_address(text, self.path)
        path = unquote(text.removeprefix("file://"))
        if "://" in path:
            raise InputError(f"{self.path}: {text}: expected an https or file:// address.")
        # A linked results/ keeps its name, by which Snakemake finds the rule that makes the file.
        return Path(os.path.abspath(self.path.parent / path)).as_uri()


def load_cohort(id_or_path):
    """Return the checked `Cohort` of an id (`cohorts/<id>.yaml`) or of a path to a YAML file.

    InputError names the file and key that is wrong, and the nearest allowed one.
    """
    path = _find(str(id_or_path))
    document = read_yaml(path)
    check(document, parse_yaml((ROOT / "cohort.schema.yaml").read_text()), path)
    cohort = Cohort(path=path.resolve(), **document)
    if cohort.id != path.stem:
        raise InputError(
            f"{path}: key 'id' is {cohort.id!r}, expected the stem of the file, {path.stem!r}."
        )
    _check_source(cohort)
    _check_patterns(cohort)
    _check_tasks(cohort)
    labels = (cohort.cells or {}).get("labels", {})
    for label in (cohort.cells or {}).get("reannotate", {}).get("labels", []):
        if label not in labels:
            raise InputError(
                f"{path}: key 'cells.reannotate.labels' names {label!r}, expected some of "
                f"cells.labels: {', '.join(labels)}."
            )
    if {"neighbours", "align"} <= set(cohort.cells or {}):
        raise InputError(
            f"{path}: key 'cells.neighbours' names cells by numbers that 'cells.align' gives anew; "
            "leave one of them out."
        )
    for name, mapping in (cohort.cells or {}).get("maps", {}).items():
        if mapping["from"] not in labels:
            raise InputError(
                f"{path}: key 'cells.maps.{name}.from' is {mapping['from']!r}, expected one of "
                f"cells.labels: {', '.join(labels)}."
            )
    return cohort


def absent_reason(cohort, folder):
    """Return why a cohort's data are not there and cannot be fetched, or None.

    Only for cohorts with access login or request: their files must lie in `folder` (the cohort's
    folder of archives; or source.folder), placed by hand, or the environment must hold the
    credentials of the archive. What an open cohort lacks is retrieved.
    """
    if cohort.access == "open":
        return None
    addresses = []
    if cohort.folder is not None:
        missing, folder = ([] if cohort.folder.is_dir() else [cohort.folder.name]), cohort.folder
    else:
        lacking = [file for file in cohort.files if not placed(folder, file["name"])]
        missing = [file["name"] for file in lacking]
        addresses = [
            file.get("url") or file.get("record", cohort.source.get("record")) for file in lacking
        ]
    if not missing or (addresses and all(map(has_credentials, addresses))):
        return None
    how = "behind a login" if cohort.access == "login" else "given on request"
    source = cohort.source.get("record") or cohort.citation or cohort.title
    names = sorted({name for address in addresses for name in variables(address)}, reverse=True)
    token = f"set {' and '.join(names)}, or " if names else ""
    return (
        f"the data of {cohort.id} are {how} ({source}); {token}put {', '.join(missing)} into "
        f"{folder if cohort.folder is None else folder.parent}"
    )


def not_ingested(present, absent):
    """Return [(Cohort, reason)] of the paper's cohorts that are not among the ids `present`.

    `absent`: id -> why its data are not here. A simulated cohort stands for the one it imitates.
    """
    stood_for = {name.removeprefix("sim_") for name in present}
    paths = sorted((ROOT / "cohorts").glob("*.yaml"))
    reason = "not among the cohorts of this study"
    return [
        (load_cohort(path), absent.get(path.stem, reason))
        for path in paths
        if path.stem not in stood_for
    ]


def placed(folder, name):
    """Return the files in `folder` that are called `name`, or that fit it where it has a `*`."""
    if "*" not in name:
        return [name] if (Path(folder) / name).is_file() else []
    paths = (path for path in Path(folder).rglob("*") if path.is_file())
    names = sorted(path.relative_to(folder).as_posix() for path in paths)
    return [one for one in names if fnmatchcase(one, name) and not one.endswith(UNFINISHED)]


def local_path(url):
    """Return the path of a file:// URL, or None for another one."""
    parts = urlparse(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _find(id_or_path):
    if id_or_path.endswith((".yaml", ".yml")) or "/" in id_or_path:
        return Path(id_or_path)
    path = ROOT / "cohorts" / f"{id_or_path}.yaml"
    if not path.exists():
        known = sorted(file.stem for file in path.parent.glob("*.yaml"))
        raise InputError(
            f"cohort '{id_or_path}' is unknown{nearest(id_or_path, known)} expected one of "
            f"{', '.join(known)}, or the path of a YAML file."
        )
    return path


def _check_source(cohort):
    source = cohort.source
    if ("folder" in source) == ("files" in source):
        raise InputError(
            f"{cohort.path}: key 'source' needs either `files` to retrieve or a `folder` on disk."
        )
    for file in cohort.files:
        name, checks = file["name"], [file.get(key) for key in ("size", "md5", "sha256")]
        has_record = "record" in source or "record" in file
        if FROM_RECORD in checks and not has_record:
            raise InputError(
                f"{cohort.path}: {name}: `from_record` needs the address of the record; "
                "add source.record."
            )
        if cohort.access == "open" and (checks[0] is None or checks[1:] == [None, None]):
            raise InputError(
                f"{cohort.path}: {name}: expected `size` and one of `md5` and `sha256`; "
                "where they are unknown, write from_record and give source.record."
            )
        if cohort.access == "open" and "url" not in file and not has_record:
            raise InputError(
                f"{cohort.path}: {name}: nothing says where to get it; add its `url` or "
                "source.record."
            )


def _check_tasks(cohort):
    known = cohort.clinical_columns
    columns = {f"units.{name}": name for name in cohort.units}
    for name, task in cohort.tasks.items():
        columns |= {f"tasks.{name}.{key}": task[key] for key in ("column", "time") if key in task}
        columns |= {f"tasks.{name}.where": column for column in task.get("where", ())}
        if "time" in task and "unit" not in task:
            raise InputError(
                f"{cohort.path}: key 'tasks.{name}' has a time and no unit; add `unit`."
            )
    for key, column in columns.items():
        if known is not None and column not in known:
            raise InputError(
                f"{cohort.path}: key '{key}' is {column!r}, which no clinical table brings"
                f"{nearest(column, known)} expected one of {', '.join(known)}."
            )


def _check_patterns(cohort):
    """Check every regular expression, and that file patterns name what the readers need."""
    for key, pattern in _patterns(cohort):
        try:
            groups = re.compile(pattern).groupindex
        except re.error as error:
            raise InputError(
                f"{cohort.path}: key '{key}': not a regular expression: {error}."
            ) from None
        needed = _needed_groups(cohort, key)
        for group in sorted(needed - set(groups)):
            raise InputError(
                f"{cohort.path}: key '{key}.pattern' has no named group (?P<{group}>...); add it."
            )


def _needed_groups(cohort, key):
    files = cohort.layout.get(key.removeprefix("layout."))
    if key not in ("layout.images", "layout.masks"):
        return set()
    template = files.get("tissue", "{tissue}")
    needed = {name for _, name, _, _ in string.Formatter().parse(template) if name}
    channels = key == "layout.images" and cohort.reader == "channel_tiff"
    return needed | {"channel"} if channels else needed


def _patterns(cohort):
    for part in ("images", "masks"):
        if part in cohort.layout:
            yield f"layout.{part}", cohort.layout[part]["pattern"]
    for index, item in enumerate(cohort.layout.get("exclude", [])):
        yield f"layout.exclude[{index}]", item["tissue"]
    for index, row in enumerate(cohort.channels):
        if "tissues" in row:
            yield f"panel[{index}].tissues", row["tissues"]
    cells = cohort.cells or {}
    tables = [*cohort.clinical, cells, *cells.get("join", []), cohort.split or {}]
    for table in tables:
        for column, pattern in table.get("extract", {}).items():
            yield f"{table.get('file', 'split')}: extract.{column}", pattern
