"""The settings that define a model; two models with equal settings have equal weight shapes."""

from dataclasses import asdict, dataclass, fields

from virtues_core.attention import allowed_backends

ENCODER_BLOCKS = "hv"  # h: channel attention (over positions), v: marker attention (over channels)
DECODER_BLOCKS = "f"  # f: full attention over the summary and image tokens of one channel


@dataclass(frozen=True)
class VirTuesConfig:
    """Architecture of a VirTues model; the defaults are the paper's (Methods, "Architecture").

    Widths are numbers of features, `patch` is in pixels. `encoder` and `decoder` have one letter
    for each block. Raises ValueError when the settings do not fit together.
    """

    width: int = 512
    feedforward: int = 1024
    heads: int = 8
    encoder: str = "hv" * 8
    decoder: str = "ffff"
    patch: int = 8
    marker_width: int = 640  # ESM-2 t30_150M
    attention: str = "auto"  # the environment variable VIRTUES_ATTENTION goes before this

    def __post_init__(self):
        for name in ("width", "feedforward", "heads", "patch", "marker_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}.")
        if self.head_width % 4:
            raise ValueError(
                f"width / heads must be a multiple of 4 for rotary positions in two directions, "
                f"not {self.width} / {self.heads} = {self.head_width}."
            )
        _check_blocks("encoder", self.encoder, ENCODER_BLOCKS)
        _check_blocks("decoder", self.decoder, DECODER_BLOCKS)
        if self.attention not in allowed_backends():
            raise ValueError(
                f"attention must be one of {', '.join(allowed_backends())}, not {self.attention!r}."
            )

    @property
    def head_width(self) -> int:
        """Features of one attention head."""
        return self.width // self.heads

    def to_dict(self) -> dict:
        """Return the settings as a dictionary of JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: dict) -> "VirTuesConfig":
        """Build the configuration from `to_dict`; raises ValueError for a setting not known."""
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(settings) - set(known))
        if unknown:
            raise ValueError(
                f"unknown model settings {', '.join(unknown)}; known are {', '.join(known)}."
            )
        return cls(**settings)


def _check_blocks(part: str, letters: str, allowed: str) -> None:
    if not letters or set(letters) - set(allowed):
        raise ValueError(
            f"{part} must be one or more of the block letters {', '.join(allowed)}, "
            f"not {letters!r}."
        )
