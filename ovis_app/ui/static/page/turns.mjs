// The conversation as people see it: a row for each message of the path. Only a row whose message changed is drawn again,
// and of words that grow only the block at their end.
// Knows messages and the DOM; refuses to know what happens when somebody asks for something: `acts` does that.

import { button, make, plain } from "./elements.mjs";
import { thought } from "./figures.mjs";
import { said, t } from "./i18n.mjs";
import { numbered, severalClips } from "./numbered.mjs";
import { wordsOf } from "./sampling.mjs";
import { Marks } from "./marks.mjs";
import { Painter } from "./painter.mjs";
import * as thinking from "./thinking.mjs";
import { versions } from "./tree.mjs";
import * as actions from "./turn_actions.mjs";

export class Turns {
  #root; #acts; #files; #rows = new Map(); #path = []; #marks; #painter;

  constructor(root, { acts, files }) {
    [this.#root, this.#acts, this.#files] = [root, acts, files];
    this.#marks = new Marks({ files, enlarge: acts.enlarge, loaded: () => this.#again() });
    this.#painter = new Painter({ decorate: (block, message) => this.#decorate(block, message), done: () => acts.changed() });
  }

  /** Draws a path, without what stands before the place `from`. `running` is the id of the message that grows; a `pair` of
   * versions of the last message stand in its place, side by side. */
  draw(path, tree, running, { from = 0, pair = null } = {}) {
    this.#path = path;
    const all = pair ? [...path.slice(0, -1), ...pair] : path;
    const shown = new Set(all.slice(from).map((one) => one.id));
    const stood = actions.standing(this.#root);
    for (const [id, row] of this.#rows) if (!shown.has(id)) { row.element.remove(); this.#rows.delete(id); }
    let behind = null;
    for (let place = all.length - 1; place >= from; place -= 1) { // the last first: it is what people see
      const message = all[place];
      const row = this.#rows.get(message.id) ?? this.#made(message);
      if (row.element.parentNode !== this.#root || row.element.nextSibling !== behind) this.#root.insertBefore(row.element, behind);
      const own = place < path.length - 1 ? path : [...path.slice(0, -1), message]; // which leads to it
      this.#fill(row, message, { tree, running, path: own, last: place >= path.length - 1 });
      row.element.classList.toggle("twin", pair?.includes(message) ?? false);
      behind = row.element;
    }
    if (stood && !stood.row.isConnected) actions.stand(this.#root.children[stood.place] ?? this.#root.lastElementChild, stood.name);
    this.#root.classList.toggle("compares", pair !== null);
    this.#acts.sides(pair?.map((message) => ({ message, element: this.row(message.id) })) ?? null);
  }

  /** The row of a message that is shown. */
  row(id) {
    return this.#rows.get(id)?.element ?? null;
  }

  #made(message) {
    const kind = message.role === "user" ? "article.turn.user-row" : "article.turn.bot-row";
    const element = make(kind, { "aria-label": kindOf(message) });
    element.dataset.id = message.id;
    const row = { element, drawn: null, key: "", parts: {} };
    this.#rows.set(message.id, row);
    return row;
  }

  /** Every row is drawn anew next time, as after a change of the language; thoughts stay as open as they are. */
  renew() {
    for (const row of this.#rows.values()) {
      row.element.setAttribute("aria-label", kindOf(row.drawn));
      if (row.drawn.role === "user") { row.element.replaceChildren(); row.parts = {}; }
      row.drawn = null;
    }
  }

  #fill(row, message, around) {
    const beside = versions(around.tree, message.id);
    const busy = around.running !== null;
    const key = `${beside.map((one) => one.id)} ${busy} ${around.last} ${actions.state(message, this.#acts)}`;
    if (row.drawn === message && row.key === key) return;
    if (message.role === "user") this.#question(row, message, { beside, busy });
    else this.#answer(row, message, { beside, busy, ...around });
    [row.drawn, row.key] = [message, key];
  }

  // --- a question --------------------------------------------------------------------------------------------------

  #question(row, message, { beside, busy }) {
    const { parts, element } = row;
    if (!parts.foot) {
      parts.text = message.text.trim() ? make("div.question", { dir: "auto" }, plain(message.text)) : null;
      parts.files = message.files.length ? make("div.files", {}, ...message.files.map((one, i) => this.#file(one, i, message))) : null;
      parts.pasted = message.pasted.map((one) => make("details.pasted", {}, make("summary", {}, t("Text, {count} characters", { count: one.length.toLocaleString("en") })), make("div", { dir: "auto" }, plain(one))));
      parts.foot = make("div.foot");
      element.append(...[parts.files, ...parts.pasted, parts.text, parts.foot].filter(Boolean));
    }
    actions.fill(parts.foot, actions.ofQuestion(message, { beside, busy, acts: this.#acts }));
    element.classList.toggle("example-row", message.example);
  }

  #file(file, index, { id, files }) {
    const several = files.length > 1; // which a prompt numbers
    const clips = severalClips(files);
    const name = numbered(plain(file.name), index, files.length, { clips });
    const copied = async (element) => {
      if (element.dataset.copied) return;
      element.dataset.copied = "yes";
      const address = await this.#files.copied(file).catch(() => "");
      if (address) element.isConnected && show(element, address, name);
    };
    const show = (element, address) => { element.src = address; };
    const video = file.kind === "video" ? make("video", { controls: true, preload: "metadata", "aria-label": name, playsInline: true }) : null;
    const image = video ?? make("img", { alt: name, decoding: "async" });
    const chosen = file.detail ? make("span.chosen", {}, wordsOf(file.detail)) : null;
    const holder = video ? make("span.clip", {}, video, several ? make("span.number", { "aria-hidden": "true" }, clips ? t("Clip {number}", { number: index + 1 }) : t("Image {number}", { number: index + 1 })) : null, chosen) : make("button.picture", { type: "button", "aria-label": t("Enlarge {name}", { name }), onclick: () => this.#acts.enlarge({ message: id, index }) }, image,
      several ? make("span.number", { "aria-hidden": "true" }, t("Image {number}", { number: index + 1 })) : null);
    if (video) video.addEventListener("error", () => this.#still(holder, video, file, name, copied));
    else image.addEventListener("error", () => copied(image));
    this.#files.seen(file.hash).then((address) => { if (address) show(image, address); else holder.replaceChildren(make("span.gone", {}, t("{name} is no longer in this browser.", { name }))); });
    return holder;
  }

  /** A clip that this browser doesn't play: an animation is a picture to it, all else has a copy that plays, or frames. */
  async #still(holder, video, file, name, copied) {
    const address = await this.#files.seen(file.hash);
    const chosen = holder.querySelector(".chosen") ?? "";
    const image = make("img", { alt: name, onerror: async () => { holder.replaceChildren(video, chosen); await copied(video); } });
    if (video.dataset.copied) image.onerror = null;
    image.src = address;
    holder.replaceChildren(image, chosen);
  }

  // --- an answer ---------------------------------------------------------------------------------------------------

  #answer(row, message, { beside, busy, running, last, path }) {
    const { parts, element } = row;
    if (!parts.words) this.#frame(parts, element);
    this.#thought(parts, message);
    thinking.draw(parts.ends, message, { running, acts: this.#acts });
    this.#painter.paint(parts.words, this.#marks.words(message), { growing: message.finish === null, message, written: message.text });
    const waits = message.finish === null && (message.note || (!message.text && !message.thinking));
    fillText(parts.status, waits ? said(message.note) || (message.id === running ? t("Waiting for a turn") : "") : "");
    fillText(parts.problem, message.lost ? t("These words couldn't be read any more.") : said(message.error));
    const over = message.finish !== null;
    if (over && !parts.whole) this.#jumps(parts.words, message);
    parts.whole = over;
    this.#marks.draw(parts.boxes, message, path);
    const extra = message.text || message.thinking ? [this.#raw(parts)] : [];
    actions.fill(parts.foot, actions.ofAnswer(message, { beside, busy, last, acts: this.#acts, title: title(message), extra }));
    element.classList.toggle("example-row", message.example);
    element.setAttribute("aria-busy", String(!over));
  }

  #decorate(block, message) {
    this.#marks.decorate(block, message);
    this.#jumps(block, message);
  }

  /** Moments of a clip and pages that a whole answer names lead there. */
  async #jumps(element, message) {
    const about = (file) => file.kind === "video" || file.source || / page \d/.test(file.name);
    if (message.finish === null || !/\d/.test(element.textContent) || !this.#path.some((one) => one.files.some(about))) return;
    const jumps = await import("./jumps.mjs");
    const subject = jumps.subjectOf(this.#path, message);
    if (!subject) return;
    const player = () => this.row(subject.id)?.querySelector("video");
    jumps.link(element, { ...subject, clip: subject.clip && Boolean(player()) }, {
      latest: player()?.duration || Infinity,
      seek: (seconds) => jumps.seek(player(), seconds),
      turn: (index) => this.#acts.enlarge({ message: subject.id, index }),
    });
  }

  #frame(parts, element) {
    parts.thought = make("details.thought", { hidden: true }, parts.over = make("summary"), parts.thinking = make("div.words"));
    parts.over.addEventListener("click", () => { parts.thought.dataset.touched = "yes"; });
    [parts.ends, parts.words, parts.status] = [make("div.ends", { hidden: true }), make("div.words"), make("div.status", { hidden: true })];
    [parts.problem, parts.boxes, parts.foot] = [make("div.problem", { hidden: true }), make("div.marks", { hidden: true }), make("div.foot")];
    element.append(parts.thought, parts.ends, parts.words, parts.status, parts.problem, parts.boxes, parts.foot);
  }

  #thought(parts, message) {
    parts.thought.hidden = !message.thinking;
    if (!message.thinking) return;
    fillText(parts.over, thought(message));
    if (!parts.thought.dataset.touched) parts.thought.open = message.finish === null && !message.text;
    const growing = message.finish === null && !message.text;
    this.#painter.paint(parts.thinking, this.#marks.thought(message), { growing, message, written: message.thinking });
  }

  /** Whether the words stand exactly as the model said them. */
  #raw(parts) {
    const pressed = button(t("Show as written"), () => {
      const raw = !this.#painter.isRaw(parts.words);
      for (const part of [parts.words, parts.thinking]) this.#painter.showRaw(part, raw);
      pressed.setAttribute("aria-pressed", String(raw));
    }, { icon: true, name: "raw" });
    pressed.setAttribute("aria-pressed", String(this.#painter.isRaw(parts.words)));
    return pressed;
  }

  /** Draws all words anew: what draws them better is there. */
  #again() {
    for (const row of this.#rows.values()) row.key = "";
    this.#acts.changed();
  }
}

function kindOf(message) {
  return message.role === "user" ? t("Question") : t("Answer");
}

function fillText(element, text) {
  element.hidden = !text;
  const words = text ? plain(text) : "";
  if (element.textContent !== words) element.textContent = words;
}

function title(message) {
  const times = message.stats?.frame_times;
  return times?.length ? t("Seconds into the clip: {times}", { times: times.map((one) => one.toFixed(1)).join(", ") }) : "";
}
