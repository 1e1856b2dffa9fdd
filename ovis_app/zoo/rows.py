"""The models that the app knows by name: one row each, and nothing that isn't a fact about a checkpoint.

Refuses to know how a model is built, loaded or found. Ask `spec.thinking`, never a name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ovis_app.generation import GenerationSettings
from ovis_app.zoo.spec import Example, LanguageModel, ModelSpec, Resolution, Task

_EXAMPLES = (
    Example("Describe the image.", ("shapes.png",), label="Describe a picture"),
    Example("Which image has more shapes?", ("left.png", "right.png"), label="Compare two pictures"),
    Example("Which way does it move?", ("clip.mp4",), label="Watch a clip"),
    Example("How many shapes are there?", ("counting.png",), thinking=True, label="Think, then count"),
    Example(
        "Where is the <ref>red circle</ref>? Please provide the bounding box coordinates.",
        ("shapes.png",),
        boxes=True,
        label="Find a box",
    ),
    Example("What does the text say?", ("word.png",), label="Read a word"),
)

_BOXES = "Please provide the bounding box coordinates."
_POINTS = "Please provide the point coordinates."
_QWEN3_COT = "End your response with 'Final answer: '."
_OVIS2_COT = (
    "Provide a step-by-step solution to the problem, and conclude with 'the answer is' followed by the final solution."
)

# In the words of the cards: Ovis2.5's for what it finds, OvisOCR2's for what it reads.
_FIND = Task("Find…", f"Where is the <ref>…</ref>? {_BOXES}")
_POINT = Task("Point at…", f"Where is the <ref>…</ref>? {_POINTS}")
_READ = (
    "Extract all readable content from the image in natural human reading order and output the result as a single "
    "Markdown document."
)
_READING = (
    f"{_READ} For charts or images, represent them using an HTML image tag: "
    '<img src="images/bbox_{left}_{top}_{right}_{bottom}.jpg" />, where left, top, right, bottom are bounding box '
    "coordinates scaled to [0, 1000). Format formulas as LaTeX. Format tables as HTML: <table>...</table>. Transcribe "
    "all other text as standard Markdown. Preserve the original text without translation or paraphrasing."
)
_READ_SEVERAL = (
    "Extract all readable content from the images in natural human reading order and output the result as a single "
    "Markdown document."
)
_TASKS = (
    Task("Describe", "Describe the image.", "Describe the images.", "Describe the video."),
    Task("Read the text", _READ, _READ_SEVERAL),
    Task("Table", "Extract all tables from the image. Format tables as HTML: <table>...</table>."),
    Task("Chart", "What does the chart show? Give all of its values as a Markdown table."),
    Task("Compare", images="What is different between the images?"),
)
_MINI_TASKS = (
    Task("Describe", "Describe the image.", "Describe the images.", "Describe the video."),
    Task("Read the word", "What does the text say?"),
    Task("Count", "How many shapes are there?"),
    Task("Which has more?", images="Which image has more shapes?"),
    Task("Which way?", video="Which way does it move?"),
    _FIND,
)

_MINI_PICTURE = Resolution(256 * 256, 256 * 256, made_for=(256 * 256, 256 * 256))
_NATIVE = (448 * 448, 1792 * 1792)  # what Ovis2.5 was trained with, by its report

MINI = ModelSpec(
    id="ovis-mini",
    name="Ovis-mini",
    family="ovis2_5",
    parameters=0.0048,
    context=4096,
    about="A 4.8-million-parameter Ovis that lives inside this app and knows simple drawings: "
    "coloured shapes, short words and moving dots.",
    thinking=True,
    boxes_suffix=_BOXES,
    cot_suffix=_QWEN3_COT,
    bundled=True,
    llm=LanguageModel(5, 3, 32, 0.0020),
    tower=160,
    defaults=GenerationSettings(max_new_tokens=512, thinking_budget=256, frames=8),
    single=_MINI_PICTURE,
    several=_MINI_PICTURE,
    clip=Resolution(128 * 128, 128 * 128, made_for=(128 * 128, 128 * 128)),
    examples=_EXAMPLES,
    tasks=_MINI_TASKS,
    reading=_MINI_TASKS[1].image,
)


OVIS2_5 = ModelSpec(
    id="",
    name="",
    family="ovis2_5",
    parameters=0.0,
    context=40960,
    examples=_EXAMPLES,
    tasks=(*_TASKS, _FIND, _POINT),
    reading=_READING,
    about="Reads pictures at their own resolution, charts, documents and clips, and can think before it answers.",
    several_clips=True,
    thinking=True,
    thinks_unasked=True,
    boxes_suffix=_BOXES,
    points_suffix=_POINTS,
    cot_suffix=_QWEN3_COT,
    defaults=GenerationSettings(max_new_tokens=3072, thinking_budget=2048, frames=8),
    single=Resolution(max_pixels=1344 * 1792, made_for=_NATIVE),
    several=Resolution(max_pixels=896 * 896, max_partition=4, made_for=_NATIVE),
    clip=Resolution(max_pixels=896 * 896, max_partition=1, made_for=_NATIVE),
)
OVIS2 = ModelSpec(
    id="",
    name="",
    family="ovis2",
    parameters=0.0,
    context=32768,
    examples=_EXAMPLES,
    tasks=_TASKS,
    reading=_READING,
    about="Reads pictures in up to nine tiles, several pictures and clips, charts and documents.",
    tiles=True,
    cot_suffix=_OVIS2_COT,
    defaults=GenerationSettings(max_new_tokens=1024, frames=12),
)
OVIS1_6 = ModelSpec(
    id="",
    name="",
    family="ovis1_6",
    parameters=0.0,
    context=8192,
    examples=_EXAMPLES,
    tasks=_TASKS,
    reading=_READING,
    about="Reads one picture in up to nine tiles, charts and documents.",
    tiles=True,
    several_images=False,
    video=False,
    defaults=GenerationSettings(max_new_tokens=1024),
)
OVIS2_6 = replace(
    OVIS2_5,
    family="ovis2_6",
    context=65536,
    about="Reads pictures of up to 2880 x 2880 pixels, long documents, charts and clips, and thinks before it answers; "
    "for each token a tenth of its weights are at work.",
    single=Resolution(max_pixels=2880 * 2880, made_for=(448 * 448, 2880 * 2880)),
    several=replace(OVIS2_5.several, made_for=(448 * 448, 2880 * 2880)),
    clip=replace(OVIS2_5.clip, made_for=(448 * 448, 2880 * 2880)),
)
PAGE_READER = "qwen3_5"  # the model_type in OvisOCR2's config.json
OCR2 = ModelSpec(
    id="AIDC-AI/OvisOCR2",
    name="OvisOCR2",
    family="ovis_ocr2",
    parameters=0.9,
    context=32768,
    examples=(replace(_EXAMPLES[-1], text=f"\n{_READING}", label="Read a page"),),
    tasks=(Task("Read the page", f"\n{_READING}"),),
    reading=f"\n{_READING}",  # its newline belongs to it
    about="Reads a page as Markdown, with tables, formulas and figures, and does nothing else.",
    alone=True,
    several_images=False,
    video=False,
    llm=LanguageModel(8, 2, 256, 0.5),  # an estimate, for memory alone: its config.json has the figures
    defaults=GenerationSettings(max_new_tokens=16384),
    single=Resolution(448 * 448, 2880 * 2880, made_for=(448 * 448, 2880 * 2880)),
)
FAMILY_ROWS = {row.family: row for row in (OVIS2_6, OVIS2_5, OVIS2, OVIS1_6, OCR2)}


def _row(family: ModelSpec, name: str, parameters: float, llm: LanguageModel, **changes: Any) -> ModelSpec:
    return replace(family, id=f"AIDC-AI/{name}", name=name, parameters=parameters, llm=llm, **changes)


def _gptq(row: ModelSpec, size: float, bits: int = 4) -> ModelSpec:
    """The row of the same model as released with GPTQ, `size` in GB."""
    name = f"{row.name}-GPTQ-Int{bits}"
    about = f"{row.about} Released in {bits} bits: less to download, and less memory if need be."
    return replace(
        row, id=f"AIDC-AI/{name}", name=name, about=about, quantization=f"GPTQ, {bits} bits", size=round(size * 1e9)
    )


# The language models, from their config.json files: Qwen3 and its mixture of experts, Qwen2.5, Llama 3.2 and Gemma 2.
_OVIS2_6_30B = _row(OVIS2_6, "Ovis2.6-30B-A3B", 31.4, LanguageModel(48, 4, 128, 29.9, active=2.72, head=0.31))
_OVIS2_5_2B = _row(OVIS2_5, "Ovis2.5-2B", 2.57, LanguageModel(28, 8, 128, 1.41, head=0.31))
_OVIS2_5_9B = _row(
    OVIS2_5,
    "Ovis2.5-9B",
    9.17,
    LanguageModel(36, 8, 128, 6.95, head=0.62),
    single=Resolution(max_pixels=1792 * 1792, made_for=_NATIVE),
)
_OVIS2_1B = _row(OVIS2, "Ovis2-1B", 1.27, LanguageModel(24, 2, 64, 0.36, head=0.14), tower=1024)
_OVIS2_2B = _row(OVIS2, "Ovis2-2B", 2.46, LanguageModel(28, 2, 128, 1.31, head=0.23), tower=1024)
_OVIS2_4B = _row(OVIS2, "Ovis2-4B", 4.62, LanguageModel(36, 2, 128, 2.77, head=0.31), tower=1536)
_OVIS2_8B = _row(OVIS2, "Ovis2-8B", 8.94, LanguageModel(28, 4, 128, 6.53, head=0.55), tower=1536)
_OVIS2_16B = _row(OVIS2, "Ovis2-16B", 16.2, LanguageModel(48, 8, 128, 13.2, head=0.78), tower=1536)
_OVIS2_34B = _row(OVIS2, "Ovis2-34B", 34.9, LanguageModel(64, 8, 128, 31.2, head=0.78), tower=2048)
_LLAMA = _row(
    OVIS1_6,
    "Ovis1.6-Llama3.2-3B",
    4.14,
    LanguageModel(28, 8, 128, 2.82, head=0.39),
    licence="Apache-2.0, and Meta's Llama 3.2 terms",
)
_GEMMA = "Apache-2.0, and Google's Gemma terms"
_GEMMA_9B = _row(OVIS1_6, "Ovis1.6-Gemma2-9B", 10.2, LanguageModel(42, 8, 256, 8.32, head=0.92), licence=_GEMMA)
_GEMMA_27B = _row(OVIS1_6, "Ovis1.6-Gemma2-27B", 28.9, LanguageModel(46, 16, 128, 26.0, head=1.18), licence=_GEMMA)

# Sizes of GPTQ files: 2B and both of 1.6 as their repositories list them; the others from the shapes (4.16 bits for
# a parameter of the layers, 8.19 for Int8, 16 for everything else), which gives the listed 2B to 0.2 %.
MODELS = (
    MINI,
    _OVIS2_5_2B,
    _OVIS2_5_9B,
    _OVIS2_6_30B,
    _OVIS2_1B,
    _OVIS2_2B,
    _OVIS2_4B,
    _OVIS2_8B,
    _OVIS2_16B,
    _OVIS2_34B,
    _LLAMA,
    _GEMMA_9B,
    _GEMMA_27B,
    OCR2,
    _gptq(_OVIS2_2B, 2.51),
    _gptq(_OVIS2_4B, 4.50),
    _gptq(_OVIS2_8B, 8.21),
    _gptq(_OVIS2_16B, 12.8),
    _gptq(_OVIS2_34B, 23.5),
    _gptq(_OVIS2_34B, 39.3, bits=8),
    _gptq(_LLAMA, 4.91),
    _gptq(_GEMMA_9B, 9.94),
)

# What people ask for and nobody can use here, by its id: said before anything is fetched.
REFUSED = {
    "AIDC-AI/Ovis2.6-80B-A3B": "Ovis2.6-80B-A3B (151 GB) has linear attention, which this app doesn't compute: choose "
    "Ovis2.6-30B-A3B.",
}
