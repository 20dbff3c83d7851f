"""How pages are made: their templates, and sizes in words."""

import jinja2


def environment(folder, *filters):
    """Return the templates of a folder, which know `filters` by the names of the functions.

    Whatever is written into a page is escaped; a name that a template lacks is an error.
    """
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    templates.filters |= {function.__name__: function for function in filters}
    return templates


def size(n_bytes):
    """Return bytes with a unit, in three digits."""
    value, units = float(n_bytes), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:,.0f} {units[0]}" if value >= 99.5 else f"{value:.3g} {units[0]}"
