"""The one exception that a user is meant to read."""


class InputError(ValueError):
    """Bad input, told in one sentence.

    The sentence names the file, the row or key, what was expected and what to do.
    """
