// Which moments of a clip go along: how many, of which part, and each as the model would be shown it, to be left out by a
// press. What is chosen stands in the box at once.
// Knows the session's box and its files; how moments are reckoned is sampling.mjs's.

import { make, plain } from "./elements.mjs";
import { said, t } from "./i18n.mjs";
import { MOST_FRAMES, chosen, framesOf, isDropped, lengthOf, short, toggled } from "./sampling.mjs";

const REST_MS = 350; // after the last change, before moments are asked for

/** Fills a window's body. */
export function fill(body, around) {
  return new ClipPanel(body, around);
}

class ClipPanel {
  #body; #around; #p = {}; #shown = []; #duration = null; #asked = 0; #timer = 0;

  constructor(body, around) {
    [this.#body, this.#around] = [body, around];
    around.signal.addEventListener("abort", () => clearTimeout(this.#timer));
    this.#make();
    this.#values();
    this.#look();
  }

  get #entry() { return this.#around.entry; }
  get #detail() { return this.#entry.detail ?? {}; }
  get #standard() { return this.#around.session.settings.frames ?? 8; }

  #make() {
    const p = this.#p;
    const changed = () => this.#changed();
    const number = (words, fields) => make("input", { type: "number", inputMode: "decimal", "aria-label": words, onchange: changed, ...fields });
    p.count = number(t("How many"), { min: "0.01", step: "any" });
    p.unit = make("select", { "aria-label": t("Counted as"), onchange: () => this.#unit() }, make("option", { value: "frames" }, t("frames")), make("option", { value: "fps" }, t("frames a second")));
    p.from = number(t("From second"), { min: "0", step: "0.1" });
    p.to = number(t("To second"), { min: "0", step: "0.1" });
    p.strip = make("div.strip", { role: "group", "aria-label": t("The moments that are looked at: press one to leave it out") });
    p.line = make("p.panel-line", { role: "status" });
    p.reset = make("button.quiet", { type: "button", onclick: () => this.#reset() }, t("As recommended"));
    this.#body.replaceChildren(
      make("div.panel-row", {}, make("label", {}, t("Look at"), " ", p.count), p.unit),
      make("div.panel-row", {}, make("label", {}, t("From"), " ", p.from), make("label", {}, t("To"), " ", p.to, " ", t("s"))),
      p.strip, make("div.panel-row.panel-foot", {}, p.line, p.reset));
  }

  /** What stands in the fields. */
  #values() {
    const { frames, fps, excerpt } = this.#detail;
    const p = this.#p;
    p.unit.value = fps ? "fps" : "frames";
    p.count.value = short(fps ?? frames ?? this.#standard);
    p.from.value = short(excerpt?.start ?? 0);
    p.to.value = excerpt?.end ? short(excerpt.end) : this.#duration === null ? "" : short(this.#duration);
    for (const one of [p.from, p.to]) if (this.#duration !== null) one.max = short(this.#duration);
  }

  /** The same number of frames, counted in another way. */
  #unit() {
    const length = lengthOf(this.#detail.excerpt, this.#duration ?? 1) || 1;
    const frames = this.#detail.frames ?? this.#standard;
    this.#p.count.value = this.#p.unit.value === "fps" ? short(Math.max(frames / length, 0.01)) : String(frames);
    this.#changed();
  }

  #changed() {
    const p = this.#p;
    const duration = this.#duration ?? Infinity;
    const value = (input, otherwise) => { const read = input.valueAsNumber; return Number.isFinite(read) && read >= 0 ? read : otherwise; };
    let start = Math.min(value(p.from, 0), Math.max(0, duration - 0.1));
    let end = value(p.to, null);
    if (end !== null && end <= start) [start, end] = [Math.max(0, Math.min(start, end)), Math.max(start, end)];
    if (end === null || end <= start || end >= duration - 0.005) end = null;
    const count = value(p.count, this.#standard) || 1;
    const fps = p.unit.value === "fps" ? count : undefined;
    const length = lengthOf({ start, end }, this.#duration ?? 1);
    const frames = fps ? framesOf(fps, length) : Math.min(MOST_FRAMES, Math.max(1, Math.round(count)));
    this.#keep({ frames: fps || frames !== this.#standard ? frames : undefined, fps, excerpt: { start, end, dropped: [] } });
    this.#values();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), REST_MS);
  }

  #reset() {
    this.#entry.detail = null;
    this.#kept();
    this.#values();
    this.#look();
  }

  /** A moment is left out, or goes along again; the last one stays. */
  #toggle(time) {
    const { excerpt = {} } = this.#detail;
    const dropped = toggled(time, excerpt.dropped ?? []);
    if (this.#shown.every((one) => isDropped(one.time, dropped))) return;
    this.#keep({ ...this.#detail, excerpt: { start: 0, end: null, ...excerpt, dropped } });
    this.#draw();
  }

  #keep(detail) {
    this.#entry.detail = chosen(detail);
    this.#kept();
  }

  #kept() {
    this.#around.session.changed();
    this.#around.session.saveDraft();
  }

  /** Asks for the moments. What was asked before and comes later is no longer of use. */
  async #look() {
    const mine = ++this.#asked;
    const { session, entry, signal } = this.#around;
    const { start = 0, end = null } = this.#detail.excerpt ?? {};
    this.#p.strip.setAttribute("aria-busy", "true");
    if (!this.#shown.length) this.#p.line.textContent = t("Looking at the clip");
    const asked = { frames: this.#detail.frames ?? this.#standard, excerpt: { start, end } };
    const found = await session.files.look("moments", entry, asked).catch((error) => ({ refused: error.message }));
    if (mine !== this.#asked || signal.aborted) return;
    this.#p.strip.removeAttribute("aria-busy");
    const first = this.#duration === null;
    if (found.refused) this.#shown = [];
    else [this.#shown, this.#duration] = [found.frames, found.duration];
    if (first) this.#values();
    this.#draw();
    if (found.refused) this.#p.line.textContent = plain(said(found.refused));
    this.#around.drawn();
  }

  #draw() {
    const { strip, line, reset } = this.#p;
    const dropped = this.#detail.excerpt?.dropped ?? [];
    const at = [...strip.children].indexOf(document.activeElement);
    strip.replaceChildren(...this.#shown.map(({ time, picture }) => {
      const out = isDropped(time, dropped);
      const words = t("{time} s", { time: time.toFixed(1) });
      const title = out ? t("{time} s, left out: press to take it along", { time: time.toFixed(1) }) : t("{time} s, goes along: press to leave it out", { time: time.toFixed(1) });
      const one = make("button.moment", { type: "button", title, "aria-label": title, onclick: () => this.#toggle(time) }, make("img", { alt: "", src: picture }), make("span", {}, words));
      one.setAttribute("aria-pressed", String(!out));
      return one;
    }));
    if (at >= 0) strip.children[Math.min(at, strip.children.length - 1)]?.focus();
    const going = this.#shown.filter((one) => !isDropped(one.time, dropped)).length;
    const limit = this.#p.unit.value === "fps" && (this.#detail.frames ?? 0) === MOST_FRAMES ? ` ${t("At most {most} go along.", { most: MOST_FRAMES })}` : "";
    if (this.#shown.length) line.textContent = t("{count} of {all} moments go along; the clip is {seconds} s long.", { count: going, all: this.#shown.length, seconds: short(this.#duration) }) + limit;
    reset.hidden = !this.#entry.detail;
  }
}
