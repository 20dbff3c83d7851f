"""One cohort's YAML file, checked: where its data comes from and how they are read."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlparse

import yaml

from workflow_scripts.common.errors import InputError
from workflow_scripts.common.validation import check, nearest, read_yaml

ROOT = Path(__file__).resolve().parents[2]
FROM_RECORD = "from_record"


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
    remarks: str = ""
    defects: list = field(default_factory=list)
    pixel_size: float = 1.0  # um per pixel of the files
    patient: str = "{patient}"
    specimen: str = "{tissue}"
    clinical: list = field(default_factory=list)
    cells: dict | None = None
    split: dict | None = None

    @property
    def is_published(self):
        """Whether it is one of the paper's cohorts, which have their files in cohorts/."""
        return self.path.parent == ROOT / "cohorts"

    @property
    def folder(self):
        """The folder with the data, or None for a cohort that is retrieved."""
        folder = self.source.get("folder")
        return None if folder is None else (self.path.parent / folder).resolve()

    @property
    def files(self):
        """The files to retrieve (list of dicts); none for a cohort on disk."""
        return self.source.get("files", [])

    @property
    def local_files(self):
        """Files on this machine that retrieving reads: file:// records and file:// archives."""
        urls = [self.source.get("record")]
        urls += [file.get(key) for file in self.files for key in ("record", "url")]
        return [local_path(self.url(url)) for url in urls if url and local_path(self.url(url))]

    def url(self, text):
        """Return `text` as an https or file:// URL; a path is relative to the YAML file."""
        if re.match(r"https?://", text):
            return text
        path = unquote(text.removeprefix("file://"))
        if "://" in path:
            raise InputError(f"{self.path}: {text}: expected an https or file:// address.")
        return (self.path.parent / path).resolve().as_uri()


def load_cohort(id_or_path):
    """Return the checked `Cohort` of an id (`cohorts/<id>.yaml`) or of a path to a YAML file.

    InputError names the file and key that is wrong, and the nearest allowed one.
    """
    path = _find(str(id_or_path))
    document = read_yaml(path)
    check(document, yaml.safe_load((ROOT / "cohort.schema.yaml").read_text()), path)
    cohort = Cohort(path=path.resolve(), **document)
    if cohort.id != path.stem:
        raise InputError(
            f"{path}: key 'id' is {cohort.id!r}, expected the stem of the file, {path.stem!r}."
        )
    _check_source(cohort)
    _check_patterns(cohort)
    for name, mapping in (cohort.cells or {}).get("maps", {}).items():
        labels = cohort.cells.get("labels", {})
        if mapping["from"] not in labels:
            raise InputError(
                f"{path}: key 'cells.maps.{name}.from' is {mapping['from']!r}, expected one of "
                f"cells.labels: {', '.join(labels)}."
            )
    return cohort


def absent_reason(cohort, folder):
    """Return why a cohort's data are not there and cannot be fetched, or None.

    Only for cohorts with access login or request: their files must lie in `folder` (the cohort's
    folder of archives; or source.folder), placed by hand. What an open cohort lacks is retrieved.
    """
    if cohort.access == "open":
        return None
    if cohort.folder is not None:
        missing, folder = ([] if cohort.folder.is_dir() else [cohort.folder.name]), cohort.folder
    else:
        names = [file["name"] for file in cohort.files]
        missing = [name for name in names if not (Path(folder) / name).is_file()]
    if not missing:
        return None
    how = "behind a login" if cohort.access == "login" else "given on request"
    source = cohort.source.get("record") or cohort.citation or cohort.title
    return (
        f"the data of {cohort.id} are {how} ({source}); put {', '.join(missing)} into "
        f"{folder if cohort.folder is None else folder.parent}"
    )


def local_path(url):
    """Return the path of a file:// URL, or None for another one."""
    return Path(unquote(urlparse(url).path)) if url.startswith("file://") else None


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


def _check_patterns(cohort):
    """Check every regular expression, and that file patterns name what the readers need."""
    for key, pattern in _patterns(cohort):
        try:
            groups = re.compile(pattern).groupindex
        except re.error as error:
            raise InputError(
                f"{cohort.path}: key '{key}': not a regular expression: {error}."
            ) from None
        needed = {"layout.images": {"tissue"}, "layout.masks": {"tissue"}}.get(key, set())
        if key == "layout.images" and cohort.reader == "channel_tiff":
            needed = {"tissue", "channel"}
        for group in sorted(needed - set(groups)):
            raise InputError(
                f"{cohort.path}: key '{key}.pattern' has no named group (?P<{group}>...); add it."
            )


def _patterns(cohort):
    for part in ("images", "masks"):
        if part in cohort.layout:
            yield f"layout.{part}", cohort.layout[part]["pattern"]
    for index, item in enumerate(cohort.layout.get("exclude", [])):
        yield f"layout.exclude[{index}]", item["tissue"]
    cells = cohort.cells or {}
    tables = [*cohort.clinical, cells, *cells.get("join", []), cohort.split or {}]
    for table in tables:
        for column, pattern in table.get("extract", {}).items():
            yield f"{table.get('file', 'split')}: extract.{column}", pattern
