// The panel of models: what answers now, what else could, and how a change comes along. Loaded when it is first opened.
// Knows what the server tells of models and what it can be asked of them (wiring/models.py); refuses to know what fits
// where, and who may choose: both are told.

import { make } from "./elements.mjs";
import { language, said, t } from "./i18n.mjs";
import { lacking, listed, weights } from "./model_offers.mjs";
import { styled } from "./styles.mjs";
import { WireError } from "./wire.mjs";

const PAUSE = 250; // milliseconds after the last key before the server is asked about a card
let panel = null;

/** The panel was opened. */
export async function opened(session) {
  await styled("models.css");
  panel ??= new Panel(document.querySelector("#models"), session);
  panel.opened();
}

class Panel {
  #root; #session; #parts = {}; #told = null; #offered = null; #refusal = ""; #busy = false; #asked = 0; #soon = null;
  #wants = { wish: "", search: "", card: "", own: "", chosen: "", way: null };

  constructor(root, session) {
    [this.#root, this.#session] = [root, session];
    this.#build();
    window.ovis.on("models", (told) => this.#hear(told));
    window.ovis.on("facts", () => this.#draw());
    window.ovis.on("spoken", () => { this.#build(); this.#draw(); });
  }

  opened() {
    [this.#refusal, this.#wants.way] = ["", null];
    this.#draw();
    this.#refresh();
  }

  // --- what is told, and what is asked ----------------------------------------------------------------------------

  #hear(told) {
    const other = this.#told !== null && (told.id !== this.#told.id || told.way !== this.#told.way);
    this.#told = told;
    if (other) this.#wants.way = null;
    this.#draw();
    if (other && document.body.classList.contains("models-open")) this.#refresh();
  }

  /** What there is to choose: memory that was free may be taken by now. The latest that was asked for counts. */
  async #refresh() {
    if (!this.#session.facts.may_choose) return;
    const number = ++this.#asked;
    const offered = await this.#call("offers", { card: this.#wants.card });
    if (number !== this.#asked) return;
    if (offered.refused) this.#refusal = offered.refused;
    else this.#offered = offered;
    this.#draw();
  }

  /** Another model is to answer, or the same one in other bits. */
  #change(name) {
    return this.#act("change_model", { name, way: this.#parts.ways.hidden ? null : this.#weights()?.way ?? null });
  }

  async #act(what, asked) {
    if (this.#busy) return;
    this.#busy = true;
    const { refused, told } = await this.#call(what, asked);
    this.#busy = false;
    this.#refusal = refused;
    if (told) this.#hear(told);
    else this.#draw();
    window.ovis.put("changed", true); // the header follows
    window.ovis.top("models");
  }

  async #call(what, asked) {
    try {
      return await this.#session.wire.call(what, this.#session.facts.session, asked);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      return { refused: error.message };
    }
  }

  #weights() {
    const { chosen, way } = this.#wants;
    return this.#offered && this.#told && weights(this.#offered, { chosen, present: this.#told.id, pressed: way, used: this.#told.way });
  }

  // --- drawing ----------------------------------------------------------------------------------------------------

  /** All of it, with words in the language that is spoken now. */
  #build() {
    this.#root.setAttribute("role", "dialog");
    this.#root.setAttribute("aria-label", t("Models"));
    this.#parts = {
      card: make("div", { id: "model-card" }),
      here: make("div", { id: "model-here" }),
      progress: make("div", { id: "model-progress", tabIndex: -1 }),
      cancel: make("button", { id: "cancel-change", type: "button", hidden: true, onclick: () => this.#act("cancel_change", {}) }, t("Cancel")),
      refusal: make("div", { id: "model-refusal" }),
      choice: make("div", { id: "model-choice", hidden: true }),
    };
    this.#root.querySelector(".side-body").replaceChildren(...Object.values(this.#parts));
    this.#buildChoice();
  }

  #buildChoice() {
    const wants = this.#wants;
    const redraw = () => this.#draw();
    const card = () => { clearTimeout(this.#soon); this.#soon = setTimeout(() => this.#refresh(), PAUSE); };
    const parts = {
      fitting: make("div", { id: "model-fitting" }),
      memory: line("card-memory", wants, "card", t("Memory of another graphics card"), t("Another card? Its memory: 12 GB"), card),
      wish: make("fieldset", { id: "model-wish", "aria-label": t("What it is wanted for") }),
      search: line("model-search", wants, "search", t("Search the models"), t("Search: a name, “clips”, “fits”…"), redraw),
      list: make("fieldset", { id: "model-list", "aria-label": t("Models") }),
      ways: make("fieldset", { id: "model-ways", hidden: true }),
      use: make("button.primary", { id: "use-model", type: "button", onclick: () => this.#change(wants.chosen) }, t("Use this model")),
      own: make("form", { hidden: true, onsubmit: (event) => { event.preventDefault(); this.#change(wants.own); } }),
    };
    const name = line("own-model", wants, "own", t("Your own"), "AIDC-AI/Ovis2.5-2B", () => {});
    name.setAttribute("aria-describedby", "own-about");
    const about = make("p", { id: "own-about" }, t("A folder on this machine, or a repository: Ovis checkpoints of safetensors files."));
    parts.own.append(make("label", { for: "own-model" }, t("Your own")), about, name, make("button", { id: "use-own" }, t("Use it")));
    this.#parts.choice.append(make("h3", {}, t("Change it")), ...Object.values(parts));
    Object.assign(this.#parts, parts);
  }

  #draw() {
    const told = this.#told;
    if (!told) return;
    const { card, here, refusal, cancel, choice } = this.#parts;
    fill(card, told.card, ({ name, link, about, facts }) => [
      make("h4", {}, link ? make("a", { href: link, target: "_blank", rel: "noopener" }, name) : name),
      make("p", {}, said(about)), make("p.facts", {}, said(facts)),
    ]);
    fill(here, told.here, (lines) => lines.map((one) => make("p.facts", {}, said(one))));
    this.#drawProgress(told);
    const at = document.activeElement;
    cancel.hidden = !told.cancellable;
    fill(refusal, this.#refusal, problem);
    choice.hidden = !this.#session.facts.may_choose || !this.#offered;
    if (!choice.hidden) this.#drawChoice(told);
    if (!this.#root.contains(at) || at.checkVisibility()) return;
    (this.#parts.progress.firstChild ? this.#parts.progress : this.#root.querySelector("#close-models")).focus(); // what was pressed is gone
  }

  /** A bar that is there grows; why the last change came to nothing makes way for why the next one can't begin. */
  #drawProgress({ coming, problem: sentence }) {
    const { progress } = this.#parts;
    if (!coming) return fill(progress, this.#refusal ? "" : sentence, problem);
    fill(progress, ["bar", coming.name], () => [make("div.bar", { role: "progressbar", "aria-label": coming.name }, make("i")), make("p", { role: "status" })]);
    const [bar, words] = progress.children;
    const share = coming.share === null ? null : `${(100 * coming.share).toFixed(1)}`;
    bar.classList.toggle("unknown", share === null);
    if (share === null) bar.removeAttribute("aria-valuenow");
    else bar.setAttribute("aria-valuenow", share);
    bar.firstChild.style.width = `${share ?? 100}%`;
    if (words.textContent !== said(coming.words)) words.textContent = said(coming.words);
  }

  #drawChoice(told) {
    const [wants, offered, parts] = [this.#wants, this.#offered, this.#parts];
    const lines = [offered.fitting, lacking(offered, wants.wish)].filter(Boolean);
    fill(parts.fitting, lines, () => lines.map((one) => make("p.facts", {}, said(one))));
    for (const one of [parts.own, parts.memory]) one.hidden = !offered.own;
    const wishes = [{ value: "", row: t("All") }, ...offered.wishes.map(({ name, label }) => ({ value: name, row: said(label) }))];
    choose(parts.wish, wishes, wants.wish, (name) => { wants.wish = name; this.#draw(); });
    const shown = listed(offered, { wish: wants.wish, search: wants.search, present: told.id, read: said });
    if (!shown.some((one) => one.id === wants.chosen)) wants.chosen = ""; // what nobody sees isn't chosen
    choose(parts.list, shown.map(({ id, row }) => ({ value: id, row: said(row) })), wants.chosen, (id) => { wants.chosen = id; this.#draw(); });
    this.#drawWays(told);
  }

  #drawWays(told) {
    const { ways, use } = this.#parts;
    const found = this.#weights();
    ways.hidden = !found;
    if (found) {
      const rows = found.ways.map(({ way, row }) => ({ value: way, row: said(row) }));
      choose(ways, rows, found.way, (way) => { this.#wants.way = way; this.#draw(); }, said(found.label));
    }
    use.disabled = !this.#wants.chosen && (!found || found.way === told.way);
  }
}

/** A field of one line, which is kept in `wants`; its label is heard and not seen. */
function line(id, wants, of, label, placeholder, changed) {
  const field = make("input", { id, type: "text", value: wants[of], placeholder, "aria-label": label, autocomplete: "off", spellcheck: false });
  field.addEventListener("input", () => { wants[of] = field.value; changed(); });
  return field;
}

/** Fills an element where what it shows is another by now: whoever reads or hears it isn't disturbed. */
function fill(element, shown, drawn) {
  const key = JSON.stringify([language(), shown]);
  if (element.dataset.key === key) return;
  element.dataset.key = key;
  element.replaceChildren(...drawn(shown));
}

/** Radio buttons, of which `chosen` is pressed, in a group that may have a name to be seen. Whoever is at one stays there. */
function choose(group, rows, chosen, press, label = "") {
  const at = group.contains(document.activeElement) ? document.activeElement.value : null;
  fill(group, [label, rows], () => [
    ...(label ? [make("legend", {}, label)] : []),
    ...rows.map(({ value, row }) => make("label", {}, make("input", { type: "radio", name: group.id, value, onchange: () => press(value) }), make("span", {}, row))),
  ]);
  for (const one of group.querySelectorAll("input")) {
    one.checked = one.value === chosen;
    if (one.value === at && document.activeElement !== one) one.focus();
  }
}

function problem(sentence) {
  return sentence ? [make("div.problem", { role: "alert" }, said(sentence))] : [];
}
