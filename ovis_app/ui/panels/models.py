"""The models: what answers now, what else could and whether it fits this machine, and how a change is coming along, as
values that the page's module (static/page/models.mjs) draws once the panel is opened.

Knows what is said of a model; refuses to know how it looks, and what a tab seeks or has chosen.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ovis_app.backend import Examination, Offer, Status, Way
from ovis_app.wishes import WISHES, lacking, wished
from ovis_app.zoo import FAMILY_ROWS, ModelSpec

WAYS = {"none": "As released", "int8": "8 bits", "int4": "4 bits"}
NAMED = 3  # models in the line over the list
# The panel's head, which is there before what draws the rest; nothing of it changes, so Gradio never draws it anew.
_HEAD = """<div class="side-head"><h2>Model</h2>
<button type="button" id="close-models" class="quiet icon close">Close model</button></div>
<div class="side-body"></div>"""
# Gradio calls this once, when its element is there. An event's name stands in quotes, or Gradio doesn't know it.
_START = """
const tell = () => { if (props.value) window.ovis.put('models', JSON.parse(props.value)); };
watch('value', tell);
tell();
element.querySelector('#close-models').addEventListener('click', () => window.ovis.toggle('models', false));
for (const kind of ['opened', 'closed']) window.ovis.on(kind, (name) => { if (name === 'models') trigger('read'); });
window.ovis.on('changed', () => trigger('look'));
"""


@dataclass(frozen=True)
class Models:
    here: gr.HTML  # the panel; its value is what is told to what draws it


def build(status: Status) -> Models:
    """The panel, which is drawn when it is first opened."""
    here = gr.HTML(
        json.dumps(told(status)), html_template=_HEAD, js_on_load=_START, elem_id="models", elem_classes="side",
        apply_default_css=False,
    )  # fmt: skip
    return Models(here)


def told(status: Status, *, cancellable: bool = False, may_choose: bool = False) -> dict[str, Any]:
    """What goes on. Whoever is told may end a change of models where it is `cancellable`; who doesn't choose among them
    isn't told where on this machine one lies."""
    change = status.change
    coming = None if change is None else {"name": change.name, "words": change.words, "share": change.share}
    return {
        "id": status.model.id if may_choose else status.model.public_id,
        "way": status.quantize,
        "card": card(status.model),
        "here": on_this_machine(status),
        "coming": coming,
        "cancellable": cancellable,
        "problem": "" if change is not None else status.problem,
    }


def choice(offers: Sequence[Offer], memory: int | None, *, own: bool) -> dict[str, Any]:
    """What else could answer on this machine, or on a card with so many bytes of `memory`: each model once, and by
    their places which of them are meant by each wish, the first one first. `own` is whether others may be named."""
    return {
        "own": own,
        "fitting": fitting(offers, memory),
        "offers": [
            {"id": offer.model.id, "row": row(offer), "label": weights_of(offer), "ways": ways_of(offer)}
            for offer in offers
        ],
        "wishes": [
            {
                "name": wish.name,
                "label": wish.label,
                "order": [offers.index(one) for one in wished(offers, wish.name)],
                "lacking": lacking(offers, wish.name),
            }
            for wish in WISHES
        ],
    }


def abilities(spec: ModelSpec) -> str:
    """What a model can do, in a line."""
    can = ["several pictures" if spec.several_images else "one picture"]
    can += [word for word, able in (("clips", spec.video), ("thinking", spec.thinking)) if able]
    can += [word for word, line in (("step by step", spec.cot_suffix), ("boxes", spec.boxes_suffix)) if line]
    return ", ".join(can)


def card(spec: ModelSpec) -> dict[str, str]:
    """The model that answers."""
    facts = [size(spec.bytes)] if spec.parameters else []
    facts += [f"{spec.context:,} tokens of context", abilities(spec), *([spec.licence] if spec.licence else [])]
    return {"name": spec.name, "link": spec.link, "about": spec.about, "facts": " · ".join(facts)}


def on_this_machine(status: Status) -> list[str]:
    """How the model runs here, in lines: who gets how much memory, and how tokens are made."""
    found = status.resources
    if status.phase == "unloaded":
        return [f"{status.words}."]
    if found is None:
        return []
    facts = [
        f"{size(found.weights)} of weights",
        f"{size(found.conversations)} for conversations ({found.tokens:,} tokens)",
        f"{size(found.pictures)} to look at pictures",
    ]
    if status.quantize != "none":
        facts[0] += f" in {WAYS[status.quantize]}"
    return [f"Here: {', '.join(facts)}", *(one for one in (status.engine, examined(status.examined)) if one)]


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


def weights_of(offer: Offer) -> str:
    """What the ways of a model's weights are called, with what is free for them."""
    return f"Weights of {offer.model.name}; {size(offer.available)} are free"


def ways_of(offer: Offer) -> list[dict[str, str]]:
    """What there is to choose among for a model's weights, and what each takes; nothing where there is one way."""
    ways = [{"way": way.quantize, "row": f"{WAYS[way.quantize]}\n{_takes(way)}"} for way in offer.ways]
    return ways if len(ways) > 1 else []


def _takes(way: Way) -> str:
    return way.obstacle or f"{way.verdict} (needs {size(way.needed)})"


def fitting(offers: Sequence[Offer], memory: int | None) -> str:
    """Which models fit this machine, or a card with so much memory, in a sentence: the newest generation's first, and
    of each the largest. The list tells which of them only tightly."""
    here = [offer for offer in offers if offer.server is None]
    if not here:
        return ""
    able = [offer for offer in here if offer.verdict != "too big" and not offer.model.bundled]
    able.sort(key=lambda offer: (list(FAMILY_ROWS).index(offer.model.family), -offer.model.parameters))
    names = ", ".join(offer.model.name for offer in able[:NAMED])
    if memory is None:
        free = size(here[0].available)
        alone = f"{free} are free here: no full-size model fits."
        return f"{free} are free here. What fits, the newest first: {names}." if names else alone
    alone = f"On a card of {memory / 1e9:g} GB no full-size model fits."
    return f"On a card of {memory / 1e9:g} GB fit, the newest first: {names}." if names else alone


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.0f} MB"
