// The dialog in which a question is asked beside itself: the settings of one answer, and those of another that can be
// changed; what differs is marked. Loaded when first needed.
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
  const { facts, settings } = session;
  const answer = id === null ? null : session.messages.get(id);
  if ((id !== null && !answer) || session.running) return;
  const first = { ...settings, ...answer?.asked };
  const changed = answer?.model && answer.model !== facts.name; // another model answers now: as it is set
  const second = { ...(changed ? settings : first) };
  const rows = rowsOf(facts.model);
  const table = make("table.settings-table", {}, head([changed ? answer.model : t("First"), changed ? facts.name : t("Second")]));
  const body = make("tbody");
  table.append(body);
  const go = () => (answer ? session.askBeside(id, second) : session.ask({}, { beside: second }));
  const box = dialog(t("Side by side"), [table, make("p", {}, hint(answer !== null))], [[answer ? t("Ask again, beside it") : t("Ask both"), go, "primary"], [t("Cancel"), () => {}]]);
  for (const one of box.querySelectorAll(".buttons button:not(.primary)")) one.formNoValidate = true;
  const mark = () => {
    const other = differences(rows, first, second);
    for (const [place, row] of rows.entries()) body.children[place].classList.toggle("differs", other.includes(row));
    box.querySelector("button.primary").disabled = !(other.length || changed || second.temperature > 0);
  };
  body.append(...rows.map((row) => line(row, first, second, mark)));
  mark();
  body.querySelector("input, textarea")?.focus();
}

function head(names) {
  return make("thead", {}, make("tr", {}, make("td"), ...names.map((name) => make("th", { scope: "col" }, plain(name)))));
}

function hint(again) {
  return again ? t("Change something in the second column. Both answers stay, as versions of one another.")
    : t("Change something in the second column. One answer comes after the other, and both stay, as versions of one another.");
}

function line(row, first, second, mark) {
  const label = said(row.label);
  const input = field(row, second, (value) => { second[row.name] = value; mark(); });
  input.setAttribute("aria-label", t("{setting}, second answer", { setting: label }));
  const held = row.kind === "switch" ? make("label", {}, input, make("span", {}, t("on"))) : input;
  return make("tr", {}, make("th", { scope: "row" }, label), make("td", {}, plain(shown(row, first))), make("td", {}, held));
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
