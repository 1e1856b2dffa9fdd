"""How a checkpoint wants its pictures, against what its family has: the filter, the numbers, the sizes.

Knows preprocessor_config.json as far as the app reads it; refuses to know pictures.
"""

from __future__ import annotations

from PIL import Image

from ovis_app.doctor.finding import Finding, judged
from ovis_app.doctor.known import row_of
from ovis_app.models.config import OvisConfig
from ovis_app.models.families.table import FAMILIES
from ovis_app.models.preprocess.pixel_format import DEFAULTS, Channels

FOLLOWS = "follows the file: pictures are {how} as it says"


def resize_filter(config: OvisConfig) -> Finding:
    """The one line that can't be seen in any answer, and changes most of them a little."""
    found, own = config.pixel_format.resample, DEFAULTS[config.family].resample
    said = _named(found) if (config.preprocessor or {}).get("resample") is not None else f"not said, so {_named(found)}"
    return judged(
        "resize filter", said, f"{_named(own)}, as {config.family} has it", same=found == own,
        does=FOLLOWS.format(how="resized"),
    )  # fmt: skip


def numbers(config: OvisConfig) -> Finding:
    """Mean, deviation and scale, with which values of a pixel become numbers."""
    found, own = config.pixel_format, DEFAULTS[config.family]
    same = _near(found.mean, own.mean) and _near(found.std, own.std)
    same = same and abs(found.rescale_factor - own.rescale_factor) < 1e-6
    return judged(
        "mean and deviation", _numbers(found.mean, found.std, found.rescale_factor),
        _numbers(own.mean, own.std, own.rescale_factor), same=same, does=FOLLOWS.format(how="normalised"),
    )  # fmt: skip


def limits(config: OvisConfig) -> Finding:
    """How large a picture is seen: a tile's side where pictures are cut, else the least and the most pixels."""
    facts, row = config.preprocessor or {}, row_of(config)
    if row.tiles:
        side = FAMILIES[config.family].layout(config).tile
        trained = config.vision_config["image_size"]
        return judged(
            "picture sizes", f"tiles of {side} pixels", f"{trained}, the tower's own", same=side == trained,
            does=f"cuts tiles of {side} pixels, as the file says",
        )  # fmt: skip
    own = row.single.made_for or (row.single.min_pixels, row.single.max_pixels)
    told = [facts.get(name) for name in ("min_pixels", "max_pixels")]
    found = tuple(size if one is None else one for one, size in zip(told, own, strict=True))
    said = f"not said, so {own[0]:,} to {own[1]:,}" if told[1] is None else f"{found[0]:,} to {found[1]:,} pixels"
    return judged(
        "picture sizes", said, f"{own[0]:,} to {own[1]:,} pixels", same=found == own,
        does="a known name is read at its row's sizes, a folder at those of the file; settings change both",
    )  # fmt: skip


CHECKS = {"resize filter": resize_filter, "mean and deviation": numbers, "picture sizes": limits}  # each by its line


def _named(value: int) -> str:
    return Image.Resampling(value).name.lower()


def _near(a: Channels, b: Channels) -> bool:
    return all(abs(x - y) < 1e-6 for x, y in zip(a, b, strict=True))


def _numbers(mean: Channels, std: Channels, scale: float) -> str:
    def words(values: Channels) -> str:
        shown = values[:1] if len({*values}) == 1 else values
        return " ".join(f"{value:.4g}" for value in shown)

    return f"mean {words(mean)}, deviation {words(std)}, scale 1/{1 / scale:.4g}"
