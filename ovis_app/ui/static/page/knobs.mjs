// What is in the settings' drawer: a knob for each number, a box to tick for what is or isn't, the system prompt, and the way
// back to what the model recommends. Loaded when the drawer is first opened.
// Knows the session's settings and what can be set (setting_rows.mjs); refuses to know what comes of them.

import { make } from "./elements.mjs";
import { language, said, t } from "./i18n.mjs";
import { Presets } from "./presets.mjs";
import { fit, recommended, rowsOf } from "./setting_rows.mjs";

const PICTURES = "Pictures"; // the section that ticking a box belongs to

export class Knobs {
  #root; #session; #parts = []; #key = "";

  constructor(root, session) {
    [this.#root, this.#session] = [root, session];
  }

  draw() {
    const { facts, settings } = this.#session;
    const key = `${facts.name} ${language()}`;
    if (this.#key !== key) {
      this.#key = key;
      this.#build();
    }
    for (const part of this.#parts) part.draw(settings);
  }

  #build() {
    const { model } = this.#session.facts;
    const rows = new Map(rowsOf(model).map((row) => [row.name, { ...row, about: model.help?.[row.name] ?? "" }]));
    const parts = [];
    const sections = new Map();
    const put = (section, part) => { parts.push(part); sections.set(section, [...(sections.get(section) ?? []), part.element]); };
    for (const { name: one, section } of model.knobs) put(section, new Knob(rows.get(one), this.#acts));
    if (rows.has("split")) put(PICTURES, new Tick({ ...rows.get("split"), id: "split-pictures" }, this.#acts));
    put("Conversation", new Tick({ name: "drop_old_turns", id: "drop-old-turns", label: model.labels?.drop_old_turns, about: model.help?.drop_old_turns }, this.#acts));
    put("Conversation", new System(this.#acts));
    put("Conversation", new Presets(this.#session, this.#acts));
    const reset = make("button", { id: "reset", type: "button", onclick: () => this.#reset() }, t("Reset to recommended"));
    this.#parts = parts;
    this.#root.replaceChildren(...[...sections].map(([title, elements]) => sectionOf(said(title), elements)), reset);
  }

  /** What a part does with its setting: it is turned at once, and written down when whoever turns it is done. */
  get #acts() {
    const session = this.#session;
    return { turn: (part) => session.turn(part), done: () => session.saveDraft() };
  }

  /** All that stands in here; the switches below the box stay. */
  #reset() {
    const { facts, settings } = this.#session;
    const kept = facts.model.switches.filter((one) => one !== "split").map((one) => [one, settings[one]]);
    this.#acts.turn({ ...recommended(facts.model), ...Object.fromEntries(kept) });
    this.#acts.done();
  }
}

function sectionOf(title, elements) {
  return make("div.section", { role: "group", "aria-label": title }, make("h3", {}, title), ...elements);
}

/** A number, by a slider and as digits. Digits that are being typed are left alone until somebody is done. */
class Knob {
  #row; #range; #digits; #drawn = null;

  constructor(row, { turn, done }) {
    this.#row = row;
    const { name: setting, label, about, low: min, high: max, step } = row;
    const [id, told, words] = [`knob-${setting}-range`, `knob-${setting}-about`, said(label)];
    const turned = (value) => { this.#show(value); turn({ [setting]: value }); };
    this.#range = make("input", { type: "range", id, min, max, step, "aria-describedby": told });
    this.#range.addEventListener("input", () => turned(this.#range.valueAsNumber));
    this.#range.addEventListener("change", done);
    this.#digits = make("input", { type: "number", min, max, step, inputMode: "decimal", "aria-label": t("{setting}, as a number", { setting: words }), "aria-describedby": told });
    this.#digits.setAttribute("aria-invalid", "false"); // between two steps is a place too
    this.#digits.addEventListener("input", () => {
      const typed = this.#digits.valueAsNumber;
      if (fit(row, typed) !== typed) return; // half a number, or one that is out of range: it may be going on
      this.#slide(typed);
      turn({ [setting]: typed });
    });
    this.#digits.addEventListener("change", () => {
      const typed = this.#digits.valueAsNumber;
      turned(Number.isNaN(typed) ? this.#drawn : fit(row, typed));
      done();
    });
    this.element = make("div.knob", { id: `knob-${setting}` }, make("div.knob-head", {}, make("label", { for: id }, words), this.#digits),
      make("p.about", { id: told }, said(about)), this.#range);
  }

  draw(settings) {
    const value = settings[this.#row.name];
    if (value !== this.#drawn) this.#show(value);
  }

  #show(value) {
    this.#digits.value = value;
    this.#slide(value);
  }

  #slide(value) {
    const { low, high } = this.#row;
    this.#range.value = this.#drawn = value;
    this.#range.style.setProperty("--at", `${(100 * (value - low)) / (high - low)}%`);
  }
}

/** Something that is or isn't. */
class Tick {
  #name; #input;

  constructor({ name: setting, id, label, about }, { turn, done }) {
    this.#name = setting;
    this.#input = make("input", { type: "checkbox", "aria-describedby": `${id}-about` });
    this.#input.addEventListener("change", () => { turn({ [setting]: this.#input.checked }); done(); });
    this.element = make("div.tick", { id }, make("label", {}, this.#input, make("span.label-text", {}, said(label))), make("p.about", { id: `${id}-about` }, said(about)));
  }

  draw(settings) {
    this.#input.checked = settings[this.#name] === true;
  }
}

/** What the model is told before anything else. */
class System {
  #text; #drawn = null;

  constructor({ turn, done }) {
    const [id, told] = ["system-text", "system-about"];
    this.#text = make("textarea", { id, rows: 3, dir: "auto", placeholder: t("You are a careful assistant…"), "aria-describedby": told });
    this.#text.addEventListener("input", () => { this.#drawn = this.#text.value; this.#fitted(); turn({ system: this.#drawn }); });
    this.#text.addEventListener("change", done);
    this.element = make("div", { id: "system" }, make("label", { for: id }, t("System prompt")), make("p.about", { id: told }, t("Told to the model before the conversation begins.")), this.#text);
  }

  draw({ system }) {
    if (system === this.#drawn) return;
    this.#text.value = this.#drawn = system;
    this.#fitted();
  }

  /** As high as what stands in it, up to ten lines. */
  #fitted() {
    this.#text.style.height = "auto";
    this.#text.style.height = `${Math.min(this.#text.scrollHeight + 2, 10 * 21 + 20)}px`;
  }
}
