"""The models as a Markdown table. Knows the rows; refuses to know how a name finds one."""

from __future__ import annotations

from ovis_app.zoo.rows import MODELS


def table() -> str:
    """The models as a Markdown table, for the README."""
    lines = [
        "| model | parameters | weights | context | pictures | clips | thinks | boxes | licence |",
        "|---" * 9 + "|",
    ]
    yes = {True: "yes", False: "no"}
    for spec in MODELS:
        name = f"[{spec.name}]({spec.link})" if spec.link else f"{spec.name} (bundled)"
        size = f"{spec.bytes / 1e9:.1f} GB" if spec.bytes > 1e8 else f"{spec.bytes / 1e6:.0f} MB"
        size += f" ({spec.quantization})" if spec.quantization else ""
        pictures = "several" if spec.several_images else "one"
        can = [pictures, yes[spec.video], yes[spec.thinking], yes[bool(spec.boxes_suffix)]]
        cells = [name, f"{spec.parameters:g} B", size, f"{spec.context:,}", *can, spec.licence]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
