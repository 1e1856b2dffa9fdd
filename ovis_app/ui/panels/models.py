"""The models: what answers now, what else could and whether it fits this machine, and how a change is coming along."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from ovis_app.backend import Examination, Offer, Status, Way
from ovis_app.wishes import WISHES, lacking, wished
from ovis_app.zoo import FAMILY_ROWS, ModelSpec

WAYS = {"none": "As released", "int8": "8 bits", "int4": "4 bits"}
NAMED = 3  # models in the line over the list
CARD = re.compile(r"\s*([0-9]{1,4}(?:[.,][0-9])?)\s*(?:GB|GiB|G)?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Models:
    close: gr.Button
    about: gr.HTML
    here: gr.HTML
    progress: gr.HTML
    cancel: gr.Button
    refusal: gr.HTML
    may_choose: gr.HTML  # a mark where whoever looks may choose, by which page.css shows what there is to choose
    fitting: gr.HTML
    memory: gr.Textbox  # of another machine
    wish: gr.Radio  # what a model is wanted for
    search: gr.Textbox
    rows: gr.State  # of the list
    listed: gr.Radio
    ways: gr.Radio  # in how many bits
    use: gr.Button
    own: gr.Textbox
    use_own: gr.Button


def build(status: Status, *, own: bool) -> Models:
    """The panel's components; whether a model fits is looked up when the panel opens. `own` offers models that aren't
    in the list."""
    with gr.Column(elem_id="models", elem_classes="side"):
        with gr.Row(elem_classes="side-head"):
            gr.HTML("<h2>Model</h2>")
            close = gr.Button("Close model", elem_id="close-models", elem_classes="quiet icon close", size="sm")
        about = gr.HTML(card(status.model), elem_id="model-card")
        here = gr.HTML(on_this_machine(status), elem_id="model-here")
        progress = gr.HTML(coming(status), elem_id="model-progress")
        cancel = gr.Button("Cancel", elem_id="cancel-change", size="sm", visible=status.change is not None)
        refusal = gr.HTML("", elem_id="model-refusal")
        may_choose = gr.HTML("", elem_id="may-choose")
        with gr.Column(elem_id="model-choice"):
            gr.HTML("<h3>Change it</h3>")
            fitting = gr.HTML("", elem_id="model-fitting")
            memory = _line(
                "Memory of another graphics card", "Another card? Its memory: 12 GB", "card-memory", visible=own
            )
            wish = gr.Radio(
                [("All", ""), *((one.label, one.name) for one in WISHES)], value="", label="What it is wanted for",
                show_label=False, container=False, elem_id="model-wish",
            )  # fmt: skip
            search = _line("Search the models", "Search: a name, “clips”, “fits”…", "model-search")
            rows = gr.State([])
            listed = gr.Radio([], value=None, label="Models", show_label=False, container=False, elem_id="model-list")
            ways = gr.Radio(
                [(name, quantize) for quantize, name in WAYS.items()], value=status.quantize, visible=False,
                label="Weights", elem_id="model-ways",
            )  # fmt: skip
            use = gr.Button("Use this model", elem_id="use-model", variant="primary", interactive=False)
            name = gr.Textbox(
                label="Your own",
                info="A folder on this machine, or a repository: Ovis checkpoints of safetensors files.",
                placeholder="AIDC-AI/Ovis2.5-2B",
                max_lines=1,
                elem_id="own-model",
                visible=own,
            )
            use_own = gr.Button("Use it", elem_id="use-own", size="sm", visible=own)
    chosen = (fitting, memory, wish, search, rows, listed, ways, use, name, use_own)
    return Models(close, about, here, progress, cancel, refusal, may_choose, *chosen)


def _line(label: str, placeholder: str, elem_id: str, *, visible: bool = True) -> gr.Textbox:
    """A field of one line, whose label is heard and not seen."""
    return gr.Textbox(
        label=label,
        placeholder=placeholder,
        show_label=False,
        container=False,
        max_lines=1,
        elem_id=elem_id,
        visible=visible,
    )


def abilities(spec: ModelSpec) -> str:
    """What a model can do, in a line."""
    can = ["several pictures" if spec.several_images else "one picture"]
    can += [word for word, able in (("clips", spec.video), ("thinking", spec.thinking)) if able]
    can += [word for word, line in (("step by step", spec.cot_suffix), ("boxes", spec.boxes_suffix)) if line]
    return ", ".join(can)


def card(spec: ModelSpec) -> str:
    """The model that answers, as HTML."""
    name = escape(spec.name)
    if spec.link:
        name = f'<a href="{escape(spec.link)}" target="_blank" rel="noopener">{name}</a>'
    facts = [size(spec.bytes)] if spec.parameters else []
    facts += [f"{spec.context:,} tokens of context", abilities(spec), *([spec.licence] if spec.licence else [])]
    return f"<h4>{name}</h4><p>{escape(spec.about)}</p><p class='facts'>{escape(' · '.join(facts))}</p>"


def on_this_machine(status: Status) -> str:
    """How the model runs here, as HTML: who gets how much memory, and how tokens are made."""
    found = status.resources
    if status.phase == "unloaded":
        return f"<p class='facts'>{escape(status.words)}.</p>"
    if found is None:
        return ""
    facts = [
        f"{size(found.weights)} of weights",
        f"{size(found.conversations)} for conversations ({found.tokens:,} tokens)",
        f"{size(found.pictures)} to look at pictures",
    ]
    if status.quantize != "none":
        facts[0] += f" in {WAYS[status.quantize]}"
    beside = [one for one in (status.engine, examined(status.examined)) if one]
    return f"<p class='facts'>Here: {escape(', '.join(facts))}{''.join(f'<br>{escape(one)}' for one in beside)}</p>"


def examined(found: Examination | None) -> str:
    """What `ovis doctor` found when it last looked, in a sentence; nothing where it never did."""
    if found is None:
        return ""
    how, left = _went(found), found.lines - found.judged
    how = f"{how}, {left} couldn't be judged" if left else how
    return f"Its files looked over on {found.day}: {how}." if found.quick else f"Looked over on {found.day}: {how}."


def _went(found: Examination) -> str:
    """Of the lines that were judged."""
    if found.unexpected:
        return f"{found.unexpected} of {found.judged} lines not as expected (`ovis doctor` tells which)"
    return f"{found.judged} lines as expected"


def row(offer: Offer) -> str:
    """A model in the list: its name, then its size and whether that fits, or its server, and what it can do."""
    spec = offer.model
    if offer.server is not None:
        return f"{spec.name}\non {offer.server.name}{'' if offer.server.up else ', which is down'}\n{abilities(spec)}"
    facts = [size(spec.bytes), f"{offer.verdict} (needs {size(offer.needed)})"]
    facts += [f"at most about {offer.pace} tokens/s"] if offer.pace else []
    return f"{spec.name}\n{' · '.join(facts)}\n{abilities(spec)}"


def ways_of(offer: Offer, chosen: str) -> dict[str, Any]:
    """What there is to choose among for a model's weights, as an update: what each takes beside what is free."""
    choices = [(f"{WAYS[way.quantize]}\n{_takes(way)}", way.quantize) for way in offer.ways]
    label = f"Weights of {offer.model.name}; {size(offer.available)} are free"
    return gr.update(choices=choices, value=chosen, label=label, visible=len(choices) > 1)


def _takes(way: Way) -> str:
    return way.obstacle or f"{way.verdict} (needs {size(way.needed)})"


def card_memory(written: str | None) -> int | None:
    """Bytes of a card's memory as people write it; None where that is none."""
    amount = CARD.fullmatch(written or "")
    size = float(amount[1].replace(",", ".")) if amount else 0.0
    return round(size * 1e9) if size else None


def fitting(offers: Sequence[Offer], card: int | None, wish: str | None = None) -> str:
    """Which models fit this machine, or a card with so much memory, in a line, as HTML: the newest generation's first,
    and of each the largest. The list tells which of them only tightly; where a wish leaves it empty, why."""
    here = [offer for offer in offers if offer.server is None]
    if not here:
        return ""
    able = [offer for offer in here if offer.verdict != "too big" and not offer.model.bundled]
    able.sort(key=lambda offer: (list(FAMILY_ROWS).index(offer.model.family), -offer.model.parameters))
    names = ", ".join(offer.model.name for offer in able[:NAMED])
    if card is None:
        free = size(here[0].available)
        alone = f"{free} are free here: no full-size model fits."
        line = f"{free} are free here. What fits, the newest first: {names}." if names else alone
    else:
        alone = f"On a card of {card / 1e9:g} GB no full-size model fits."
        line = f"On a card of {card / 1e9:g} GB fit, the newest first: {names}." if names else alone
    return "".join(f"<p class='facts'>{escape(one)}</p>" for one in (line, lacking(offers, wish)) if one)


def found(offers: Sequence[Offer], wanted: str | None, wish: str | None = None) -> list[tuple[str, str]]:
    """(row, id) of the models that are meant by a wish, as it sorts them, whose rows hold every word of `wanted`."""
    words = (wanted or "").lower().split()
    rows = [(row(offer), offer.model.id) for offer in wished(offers, wish)]
    return [(text, name) for text, name in rows if all(word in text.lower() for word in words)]


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"


def refused(sentence: str) -> str:
    """Why a change can't be, as HTML."""
    return f'<div class="problem" role="alert">{escape(sentence)}</div>'


def coming(status: Status) -> str:
    """How far a change is, as a bar and words; or why the last one came to nothing."""
    change = status.change
    if change is None:
        return refused(status.problem) if status.problem else ""
    known = change.share is not None
    share = f"{change.share or 0:.1%}"
    value = f' aria-valuenow="{share[:-1]}"' if known else ""
    bar = f'<div class="bar{"" if known else " unknown"}" role="progressbar" aria-label="{escape(change.name)}"{value}>'
    return f'{bar}<i style="width:{share if known else "100%"}"></i></div><p role="status">{escape(change.words)}</p>'
