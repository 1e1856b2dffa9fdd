// The dialog in which a question is asked beside itself: the settings of one answer, and those of another that can be
// changed, by another model where there are several; what differs is marked. Loaded when first needed.
// Knows settings and the DOM; the session does the asking.

import { dialog } from "./dialogs.mjs";
import { make, plain } from "./elements.mjs";
import { said, t } from "./i18n.mjs";
import { differences, rowsOf, shown, valueOf } from "./setting_rows.mjs";
import { looks } from "./side_by_side.mjs";

/** Asks for what shall be other. `id` is an answer, beside which another is asked for; null is the question in the box, which
 * is then asked twice. */
export async function compare(session, id) {
  await looks();
  const answer = id === null ? null : session.messages.get(id);
  if (session.running || (id !== null && !answer)) return;
  new Compare(session, answer);
}

class Compare {
  #session; #answer; #first; #second; #name; #rows = []; #body = make("tbody"); #box;

  constructor(session, answer) {
    [this.#session, this.#answer] = [session, answer];
    this.#first = { ...session.settings, ...answer?.asked };
    this.#second = { ...(this.#changed ? session.settings : this.#first) };
    this.#name = session.facts.name;
    const table = make("table.settings-table", {}, this.#head(), this.#body);
    const hint = answer ? t("Change something in the second column. Both answers stay, as versions of one another.")
      : t("Change something in the second column. One answer comes after the other, and both stay, as versions of one another.");
    const buttons = [[answer ? t("Ask again, beside it") : t("Ask both"), () => this.#ask(), "primary"], [t("Cancel"), () => {}]];
    this.#box = dialog(t("Side by side"), [table, make("p", {}, hint)], buttons);
    for (const one of this.#box.querySelectorAll(".buttons button:not(.primary)")) one.formNoValidate = true;
    this.#draw();
    table.querySelector("select, input, textarea")?.focus();
  }

  get #before() { return this.#answer?.model || this.#session.facts.name; } // whose the first answer is

  /** Whether another model answers now than did. */
  get #changed() { return this.#before !== this.#session.facts.name; }

  #head() {
    const { facts, others } = this.#session;
    const names = [facts.name, ...others.map((one) => one.name)];
    const chosen = others.length
      ? make("select", { "aria-label": t("Model of the second answer"), onchange: (event) => this.#choose(event.target.value) }, ...names.map((one) => make("option", { value: one }, plain(one))))
      : plain(this.#changed ? facts.name : t("Second"));
    const first = plain(this.#changed || others.length ? this.#before : t("First"));
    return make("thead", {}, make("tr", {}, make("td"), make("th", { scope: "col" }, first), make("th", { scope: "col" }, chosen)));
  }

  /** Another model answers second: as it recommends, with the switches that it has. */
  #choose(name) {
    this.#name = name;
    const { facts, others } = this.#session;
    const { knobs } = others.find((one) => one.name === name)?.model ?? facts.model;
    for (const { name: knob, recommended } of knobs) this.#second[knob] = name === facts.name ? this.#first[knob] ?? recommended : recommended;
    this.#draw();
  }

  #draw() {
    const { facts, others } = this.#session;
    this.#rows = rowsOf(others.find((one) => one.name === this.#name)?.model ?? facts.model);
    this.#body.replaceChildren(...this.#rows.map((row) => this.#line(row)));
    this.#mark();
  }

  #mark() {
    const found = differences(this.#rows, this.#first, this.#second);
    for (const [place, row] of this.#rows.entries()) this.#body.children[place].classList.toggle("differs", found.includes(row));
    const other = this.#name !== this.#before;
    this.#box.querySelector("button.primary").disabled = !(found.length || other || this.#second.temperature > 0);
  }

  #line(row) {
    const label = said(row.label);
    const input = field(row, this.#second, (value) => { this.#second[row.name] = value; this.#mark(); });
    input.setAttribute("aria-label", t("{setting}, second answer", { setting: label }));
    const held = row.kind === "switch" ? make("label", {}, input, make("span", {}, t("on"))) : input;
    return make("tr", {}, make("th", { scope: "row" }, label), make("td", {}, plain(shown(row, this.#first))), make("td", {}, held));
  }

  #ask() {
    const beside = { settings: this.#second, model: this.#name };
    if (this.#answer) this.#session.askBeside(this.#answer.id, beside);
    else this.#session.ask({}, { beside });
  }
}

function field(row, settings, changed) {
  const value = valueOf(row, settings);
  if (row.kind === "switch") return make("input", { type: "checkbox", checked: value, onchange: (event) => changed(event.target.checked) });
  if (row.kind === "text") return make("textarea", { rows: 1, value, dir: "auto", maxLength: 20_000, oninput: (event) => changed(event.target.value) });
  const { low: min, high: max, step } = row;
  const input = make("input", { type: "number", min, max, step, required: true, inputMode: "decimal", value: value ?? "" });
  input.addEventListener("input", () => { if (!Number.isNaN(input.valueAsNumber)) changed(input.valueAsNumber); });
  return input;
}
