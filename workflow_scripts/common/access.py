"""Which addresses may be asked, and with which credentials: those of the environment alone."""

import base64
import os
import re
from urllib.parse import quote, urlsplit

from workflow_scripts.common.errors import InputError

# Host -> variables with its token, or with a user's name and password. A credential is sent to its
# host and nowhere else: requests drops it where a server redirects to another one.
HOSTS = {
    "zenodo.org": ("ZENODO_TOKEN",),
    "repo-prod.prod.sagebase.org": ("SYNAPSE_AUTH_TOKEN",),
    "huggingface.co": ("HF_TOKEN",),
    # The documented command puts both into the address and gives no keys: basic authentication.
    "datasets.epfl.ch": ("SPORA_USER", "SPORA_PASSWORD"),
}
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
# What signs an address for whoever holds it: of storage providers, and tokens in general.
_SECRET = re.compile(
    r"([?&][\w.-]*(?:token|signature|credential|accesskeyid|key-pair-id|policy|sig)=)[^&\s\"')]+",
    re.IGNORECASE,
)


def check_address(url, where=None):
    """Return `url` if its scheme is allowed and it holds no secret; else InputError.

    A name or password in the address is refused: it would be written down with the address.
    """
    parts = urlsplit(url)
    said = f"{where}: " if where else ""
    if parts.username or parts.password or _SECRET.search(url):
        raise InputError(
            f"{said}the address of {parts.hostname} holds a name, password or token; remove it and "
            f"set {' and '.join(variables(url)) or 'an address without one'}."
        )
    return check_scheme(url, where)


def check_scheme(url, where=None):
    """Return `url` if it is https, file, or http on this machine; else InputError."""
    parts = urlsplit(url)
    if parts.scheme in ("https", "file"):
        return url
    if parts.scheme == "http" and parts.hostname in LOOPBACK:
        return url
    said = f"{where}: " if where else ""
    raise InputError(f"{said}{redact(url)}: expected an https or file:// address; correct it.")


def check_named(url, by):
    """Return `url`, which an answer of the address `by` names; InputError where it leads closer.

    An answer is not ours: one from elsewhere may name no file and no server of this machine, and
    one of a server on this machine no file.
    """
    check_scheme(url, redact(by))
    if _closeness(url) > _closeness(by):
        raise InputError(
            f"{redact(by)}: its answer names {redact(url)}, which is on this machine; expected an "
            "https address of another; give the `url` of the file itself, or get it by hand."
        )
    return url


def _closeness(url):
    """Return 2 for a file, 1 for a server on this machine, 0 for anything else."""
    parts = urlsplit(url)
    return 2 if parts.scheme == "file" else int(parts.hostname in LOOPBACK)


def variables(url):
    """Return the environment variables that hold the credentials of an address, or ()."""
    return HOSTS.get(urlsplit(url or "").netloc.lower(), ())


def has_credentials(url):
    """Tell whether the environment holds credentials for an address."""
    names = variables(url)
    return bool(names) and all(os.environ.get(name, "").strip() for name in names)


def authorization(url):
    """Return the Authorization header for an address, or {}; InputError for a garbled variable."""
    if not has_credentials(url):
        return {}
    values = [os.environ[name].strip() for name in variables(url)]
    for name, value in zip(variables(url), values, strict=True):
        if not (value.isascii() and value.isprintable() and " " not in value):
            raise InputError(
                f"{name} has a space or a character that is not ASCII; set it to what the archive "
                "gave out, without quotes."
            )
    if len(values) == 1:
        return {"Authorization": f"Bearer {values[0]}"}
    return {"Authorization": f"Basic {_basic(values)}"}


def redact(text):
    """Return `text` without any credential of the environment and without signed addresses."""
    text = _SECRET.sub(r"\1***", text)
    for names in HOSTS.values():
        values = [os.environ.get(name, "").strip() for name in names]
        if all(values):
            secrets = [values[-1], quote(values[-1], safe="")]
            secrets += [_basic(values)] if len(values) == 2 else []
            for secret in secrets:
                text = text.replace(secret, "***")
    return text


def _basic(values):
    return base64.b64encode(":".join(values).encode()).decode()
