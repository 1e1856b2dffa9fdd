"""Seconds of the vision tower: `python -m benchmarks.vision`.

Ours takes the pictures of a question, the tiles of a picture and the frames of a clip together, in micro-batches that
bound memory. The other way takes one image at a time, as the original does with pictures. Same random weights, same
pixels, one run; the results are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.report import Headline, arguments, finish, table
from benchmarks.shapes import SHAPES, device_of, random_model
from ovis_app.models.config import OvisConfig
from ovis_app.models.ovis import Ovis
from ovis_app.models.preprocess.values import Pixels
from ovis_app.models.vision.segment_attention import can_vary

TOKENS = (64, 256, 784, 1568, 3136, 6000)  # visual tokens of one picture
ONCE = 300  # visual tokens: more are measured once on a CPU
CPU_MOST = 1568
NO_GPU = "the tower on a GPU (this machine has none): launches that a batch saves, and variable-length attention"


@dataclass(frozen=True)
class Load:
    """Pictures of one question, or tiles of one picture."""

    name: str
    pictures: tuple[Pixels, ...]


def picture(tokens: int, wide: float = 1.0) -> Pixels:
    """An Ovis2.5 picture of about so many visual tokens, `wide` times as wide as high."""
    rows = max(round((tokens / wide) ** 0.5), 1)
    columns = max(round(tokens / rows), 1)
    values = torch.rand(rows * columns * 4, 768, generator=torch.Generator().manual_seed(tokens)) * 2 - 1
    return Pixels(values, ((1, rows * 2, columns * 2),), (), rows * columns)


def tiles(count: int, side: int) -> tuple[Pixels, ...]:
    values = torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(count)) * 2 - 1
    merged = (side // 28) ** 2
    return tuple(Pixels(tile[None], (), (), merged) for tile in values)


def tile_model(shape: str, device: str) -> Ovis:
    """An Ovis2 whose tower has the shape's size, with as small a language model as there is."""
    width, depth, heads, forward = SHAPES[shape].tower
    tower = {
        "model_type": "aimv2",
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "intermediate_size": forward,
    }
    llm = {
        "model_type": "qwen2",
        "hidden_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "vocab_size": 128,
    }
    visual = {"backbone_config": tower, "vocab_size": 4096, "hidden_stride": 2}
    torch.manual_seed(0)
    model = Ovis(OvisConfig.from_released({"llm_config": llm, "visual_tokenizer_config": visual}))
    model.requires_grad_(False).train(False)
    nn.Module.to(model, device, torch.bfloat16 if device.startswith("cuda") else torch.float32)
    return model


@torch.inference_mode()
def one_at_a_time(model: Ovis, pictures: Sequence[Pixels]) -> list[Tensor]:
    found = []
    for pixels in pictures:
        values = pixels.values.to(device=model.device, dtype=model.dtype)
        found.append(model.encode(values, pixels.grids))
    return found


@torch.inference_mode()
def together(model: Ovis, pictures: Sequence[Pixels]) -> list[Tensor]:
    return list(model.encode_many(pictures))


def seconds(work: Callable[[Ovis, Sequence[Pixels]], list[Tensor]], model: Ovis, load: Load) -> float:
    start = time.perf_counter()
    work(model, load.pictures)
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compared(model: Ovis, load: Load, repeats: int) -> tuple[float, float]:
    """Median seconds together and one at a time. Raises AssertionError where the results differ."""
    for ours, other in zip(together(model, load.pictures), one_at_a_time(model, load.pictures), strict=True):
        torch.testing.assert_close(ours, other, atol=0.05 if model.dtype == torch.bfloat16 else 1e-4, rtol=0.05)
    runs = [(seconds(together, model, load), seconds(one_at_a_time, model, load)) for _ in range(repeats)]
    return statistics.median(run[0] for run in runs), statistics.median(run[1] for run in runs)


def growth(model: Ovis, sizes: Sequence[int], repeats: int) -> dict[int, float]:
    """Seconds of one picture by its visual tokens: medians, or a single run where a CPU takes long."""
    together(model, [picture(sizes[0])])
    found = {}
    for size in sizes:
        load = Load("", (picture(size),))
        times = repeats if size <= ONCE or model.device.type == "cuda" else 1
        found[size] = statistics.median(seconds(together, model, load) for _ in range(times))
    return found


def loads(large: int, small: int = 64) -> list[Load]:
    """What people attach: several small pictures, several of all shapes, a few large ones."""
    return [
        Load("pictures_8_small", (picture(small),) * 8),
        Load("pictures_8_mixed", tuple(picture(small, wide) for wide in (1, 1.5, 2, 2.5, 3, 0.7, 0.5, 0.3))),
        Load("pictures_4_large", (picture(large),) * 4),
    ]


def parsed() -> argparse.Namespace:
    parser = arguments(__doc__, shape="44m")
    parser.add_argument("--most-tokens", type=int, help="of the largest picture tried (6,000; on a CPU 1,568)")
    parser.add_argument("--tiles", type=int, default=10, help="tiles of a picture of Ovis2")
    parser.add_argument("--side", type=int, default=448, help="pixels of a tile's side")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    options.device = device_of(options.device)
    options.most_tokens = options.most_tokens or (TOKENS[-1] if options.device.startswith("cuda") else CPU_MOST)
    return options


def main() -> None:
    options = parsed()
    gpu = options.device.startswith("cuda")
    model = random_model(options.shape, device=options.device)
    found = {load.name: compared(model, load, options.repeats) for load in loads(784 if gpu else 256)}
    sizes = [size for size in TOKENS if size <= options.most_tokens]
    grown = growth(model, sizes, options.repeats)
    vision = model.config.vision_config
    head_dim = vision["hidden_size"] // vision["num_attention_heads"]
    varies = can_vary(torch.empty(0, head_dim, device=model.device, dtype=model.dtype))
    del model
    load = Load(f"tiles_{options.tiles}", tiles(options.tiles, options.side))
    found[load.name] = compared(tile_model(options.shape, options.device), load, options.repeats)
    print(f"Seconds of the tower by visual tokens of one picture: shape {options.shape}, {options.device}\n")
    rows = [(size, took, 1000 * took / size) for size, took in grown.items()]
    print(table(("visual tokens", "seconds", "ms each"), rows))
    headline = [Headline(name, ours, other, "s") for name, (ours, other) in found.items()]
    details: dict[str, Any] = {"shape": options.shape, "by_visual_tokens": grown, "variable_length": varies}
    finish(options, "vision", headline, details=details, unmeasured=[] if gpu else [NO_GPU])


if __name__ == "__main__":
    main()
