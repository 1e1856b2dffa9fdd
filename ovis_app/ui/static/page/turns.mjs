// The conversation as people see it: a row for each message of the path. Only a row whose message changed is drawn again,
// and of words that grow only the block at their end.
// Knows messages and the DOM; refuses to know what happens when somebody asks for something: `acts` does that.

import { button, copy, make } from "./elements.mjs";
import { figures, thought } from "./figures.mjs";
import { said, t } from "./i18n.mjs";
import { versions } from "./tree.mjs";

export class Turns {
  #root; #acts; #files; #rows = new Map(); #words = null;

  constructor(root, { acts, files }) {
    [this.#root, this.#acts, this.#files] = [root, acts, files];
  }

  /** Draws a path. `running` is the id of the message that grows. */
  draw(path, tree, running) {
    const shown = new Set(path.map((one) => one.id));
    for (const [id, row] of this.#rows) if (!shown.has(id)) { row.element.remove(); this.#rows.delete(id); }
    let before = null;
    for (const [place, message] of path.entries()) {
      const row = this.#rows.get(message.id) ?? this.#made(message);
      const wanted = before ? before.nextSibling : this.#root.firstChild;
      if (wanted !== row.element) this.#root.insertBefore(row.element, wanted);
      this.#fill(row, message, { tree, running, path, last: place === path.length - 1 });
      before = row.element;
    }
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
      [row.drawn, row.marked] = [null, false];
    }
  }

  #fill(row, message, around) {
    const beside = versions(around.tree, message.id);
    const busy = around.running !== null;
    const key = `${beside.map((one) => one.id)} ${busy} ${around.last}`;
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
      parts.files = message.files.length ? make("div.files", {}, ...message.files.map((one, i) => this.#file(one, i, message.files.length))) : null;
      parts.foot = make("div.foot");
      element.append(...[parts.files, parts.text, parts.foot].filter(Boolean));
    }
    parts.foot.replaceChildren(...[
      this.#chooser(message, beside),
      button(t("Edit"), () => this.#acts.edit(message.id), { icon: true, name: "edit", disabled: busy }),
      button(t("Delete"), () => this.#acts.remove(message.id), { icon: true, name: "delete", disabled: busy }),
    ].filter(Boolean));
  }

  #file(file, index, count) {
    const name = plain(count > 1 ? t("Image {number}: {name}", { number: index + 1, name: file.name }) : file.name);
    const copied = async (element) => {
      if (element.dataset.copied) return;
      element.dataset.copied = "yes";
      const address = await this.#files.copied(file).catch(() => "");
      if (address) element.isConnected && show(element, address, name);
    };
    const show = (element, address) => { element.src = address; };
    const video = file.kind === "video" ? make("video", { controls: true, preload: "metadata", "aria-label": name, playsInline: true }) : null;
    const image = video ?? make("img", { alt: name, decoding: "async" });
    const holder = video ? make("span.clip", {}, video) : make("button.picture", { type: "button", "aria-label": t("Enlarge {name}", { name }), onclick: () => this.#acts.enlarge(image) }, image);
    if (video) video.addEventListener("error", () => this.#still(holder, video, file, name, copied));
    else image.addEventListener("error", () => copied(image));
    this.#files.seen(file.hash).then((address) => { if (address) show(image, address); else holder.replaceChildren(make("span.gone", {}, t("{name} is no longer in this browser.", { name }))); });
    return holder;
  }

  /** A clip that this browser doesn't play: an animation is a picture to it, all else has a copy that plays, or frames. */
  async #still(holder, video, file, name, copied) {
    const address = await this.#files.seen(file.hash);
    const image = make("img", { alt: name, onerror: async () => { holder.replaceChildren(video); await copied(video); } });
    if (video.dataset.copied) image.onerror = null;
    image.src = address;
    holder.replaceChildren(image);
  }

  // --- an answer ---------------------------------------------------------------------------------------------------

  #answer(row, message, { beside, busy, running, last, path }) {
    const { parts, element } = row;
    if (!parts.words) this.#frame(parts, element);
    this.#thought(parts, message);
    this.#paint(parts.words, message.text, row);
    const waits = message.finish === null && !message.text && !message.thinking;
    fillText(parts.status, waits ? said(message.note) || (message.id === running ? t("Waiting for a turn") : "") : "");
    fillText(parts.problem, message.lost ? t("These words couldn't be read any more.") : said(message.error));
    const over = message.finish !== null;
    if (over && !row.marked && message.boxes.length) row.marked = this.#boxes(parts, message, path);
    const again = message.error || message.finish === "cut" ? button(t("Retry"), () => this.#acts.again(message.id), { name: "retry", disabled: busy }) : null;
    const line = figures(message).join(" · ");
    parts.foot.replaceChildren(...[
      line ? make("div.figures", { title: title(message) }, line) : null,
      over && last && again,
      over && this.#chooser(message, beside),
      over && message.text ? button(t("Copy"), (event) => this.#copied(event.currentTarget, message.text), { icon: true, name: "copy" }) : null,
      over && button(t("Regenerate"), () => this.#acts.again(message.id), { icon: true, name: "again", disabled: busy }),
      over && button(t("Delete"), () => this.#acts.remove(message.id), { icon: true, name: "delete", disabled: busy }),
    ].filter(Boolean));
    element.setAttribute("aria-busy", String(!over));
  }

  #frame(parts, element) {
    parts.thought = make("details.thought", { hidden: true }, parts.over = make("summary"), parts.thinking = make("div.words"));
    parts.over.addEventListener("click", () => { parts.thought.dataset.touched = "yes"; });
    [parts.words, parts.status] = [make("div.words"), make("div.status", { hidden: true })];
    [parts.problem, parts.boxes, parts.foot] = [make("div.problem", { hidden: true }), make("div.boxes", { hidden: true }), make("div.foot")];
    element.append(parts.thought, parts.words, parts.status, parts.problem, parts.boxes, parts.foot);
  }

  #thought(parts, message) {
    parts.thought.hidden = !message.thinking;
    if (!message.thinking) return;
    fillText(parts.over, thought(message));
    if (!parts.thought.dataset.touched) parts.thought.open = message.finish === null && !message.text;
    this.#paint(parts.thinking, message.thinking);
  }

  /** Words as Markdown; as they are until what draws them is loaded. */
  #paint(container, text) {
    if (container.source === text && container.words === this.#words) return;
    container.source = text;
    if (!text) return container.replaceChildren();
    if (!this.#words) {
      container.classList.add("plain");
      container.textContent = plain(text);
      return this.#load();
    }
    if (container.words !== this.#words) {
      container.classList.remove("plain");
      container.replaceChildren();
      [container.words, container.drawn] = [this.#words, []];
    }
    const blocks = this.#words.blocks(plain(text));
    for (const [place, html] of blocks.entries()) {
      if (container.drawn[place] === html) continue;
      const block = make("div.block", {}, this.#words.elements(html));
      if (container.children[place]) container.children[place].replaceWith(block);
      else container.append(block);
    }
    while (container.children.length > blocks.length) container.lastChild.remove();
    container.drawn = blocks;
  }

  #load() {
    this.loading ??= import("./words.mjs").then((words) => {
      this.#words = words;
      for (const row of this.#rows.values()) {
        for (const part of [row.parts.words, row.parts.thinking]) if (part?.source) this.#paint(part, part.source);
      }
      this.#acts.drawn();
    }).catch(() => { this.loading = null; });
    return this.loading;
  }

  /** The picture that an answer is about, with what it names framed: the only one of the latest question with files. */
  #boxes(parts, message, path) {
    const before = path.slice(0, path.indexOf(message)).filter((one) => one.files.length);
    const only = before.at(-1)?.files.length === 1 ? before.at(-1).files[0] : null;
    if (!only || only.kind !== "image") return false;
    const names = message.boxes.map((one) => one.name).filter(Boolean).join(", ") || t("boxes");
    const image = make("img", { alt: plain(t("{name} with {names} marked", { name: only.name, names })) });
    const percent = (share) => `${(100 * share).toFixed(2)}%`;
    const frames = message.boxes.map((one) => {
      const frame = make("span.box", {}, one.name ? make("b", {}, plain(String(one.name))) : null);
      Object.assign(frame.style, { left: percent(one.left), top: percent(one.top), width: percent(one.right - one.left), height: percent(one.bottom - one.top) });
      return frame;
    });
    image.addEventListener("error", async () => { image.src = await this.#files.copied(only); }, { once: true });
    this.#files.seen(only.hash).then((address) => { image.src = address; });
    parts.boxes.replaceChildren(image, ...frames);
    parts.boxes.hidden = false;
    return true;
  }

  // --- what both have ----------------------------------------------------------------------------------------------

  #chooser(message, beside) {
    if (beside.length < 2) return null;
    const place = beside.findIndex((one) => one.id === message.id);
    const step = (words, by, name) => button(words, () => this.#acts.choose(beside[place + by].id), { icon: true, name, disabled: !beside[place + by] });
    return make("span.versions", { role: "group", "aria-label": t("Versions") }, step(t("Version before"), -1, "back"), `${place + 1}/${beside.length}`, step(t("Version after"), 1, "forth"));
  }

  async #copied(pressed, text) {
    await copy(text);
    pressed.classList.add("done");
    setTimeout(() => pressed.classList.remove("done"), 1500);
  }
}

function kindOf(message) {
  return message.role === "user" ? t("Question") : t("Answer");
}

/** Text that shows exactly what it says: control characters become visible. */
export function plain(text) {
  const marked = text.replace(/\r\n?/g, "\n").replace(/[\u0000-\u0008\u000b-\u001f]/g, (one) => String.fromCharCode(0x2400 + one.charCodeAt(0)));
  return marked.replace(/\u007f/g, "\u2421");
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
