// Arrows and boxes drawn on a picture in the viewer, with a pointer or with keys, and the copy that has them in it. Loaded
// when somebody begins to draw.
// Knows the viewer's elements and canvases; where the lines run is shapes.mjs.

import { button, make } from "./elements.mjs";
import { t } from "./i18n.mjs";
import { encoded, part, stem } from "./saving.mjs";
import { drawnOut, moved, pathOf, thickness } from "./shapes.mjs";

const INK = "#e11d48";
const PAPER = "#ffffff"; // around the ink, so that it is seen on what is red too
const WHOLE = { left: 0, top: 0, right: 1, bottom: 1 };
const STEP = 0.02; // of the picture, for a key

const svg = (kind) => document.createElementNS("http://www.w3.org/2000/svg", kind);

export class Drawing {
  #p; #hooks; #size; #canvas = svg("svg"); #bar; #shapes = []; #kind = "arrow"; #growing = null;

  /** `parts` are the viewer's: stage, image, below. `hooks`: done(blob, name), leave(), and the `name` of the file. */
  constructor(parts, hooks) {
    [this.#p, this.#hooks] = [parts, hooks];
    this.#size = { width: parts.image.naturalWidth, height: parts.image.naturalHeight };
    const { width, height } = this.#size;
    const looks = { class: "sketch", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", tabindex: "0", role: "img" };
    for (const [name, value] of Object.entries(looks)) this.#canvas.setAttribute(name, value);
    parts.stage.append(this.#canvas);
    this.#bar = this.#tools();
    parts.below.append(this.#bar);
    this.#draw();
    this.#canvas.focus();
  }

  remove() {
    this.#canvas.remove();
    this.#bar.remove();
  }

  #tools() {
    const kind = (words, name) => button(words, () => { this.#kind = name; this.#draw(); this.#canvas.focus(); }, { name: `draw-${name}` });
    return make("div.asks.draws", { role: "toolbar", "aria-label": t("Drawing") },
      make("p.hint", {}, t("Drag over the picture."), " ", make("span.keys", {}, t("With keys: Enter adds one, arrows move it, with Shift its end."))),
      kind(t("Arrow"), "arrow"), kind(t("Box"), "box"),
      button(t("Undo"), () => this.#undo(), { name: "draw-undo" }),
      button(t("Use the drawing"), () => this.#use(), { name: "draw-use" }),
      button(t("Cancel"), () => this.#hooks.leave(), { name: "leave-part" }));
  }

  #draw() {
    const all = this.#growing ? [...this.#shapes, this.#growing] : this.#shapes;
    const thick = thickness(this.#size);
    this.#canvas.replaceChildren(...all.flatMap((shape) => [[PAPER, 2 * thick], [INK, thick]].map(([colour, width]) => {
      const line = svg("path");
      const looks = { d: pathOf(shape, this.#size), fill: "none", stroke: colour, "stroke-width": width, "stroke-linejoin": "round", "stroke-linecap": "round" };
      for (const [name, value] of Object.entries(looks)) line.setAttribute(name, value);
      return line;
    })));
    this.#canvas.setAttribute("aria-label", t("Drawing: {count} on the picture", { count: this.#shapes.length }));
    for (const name of ["arrow", "box"]) this.#bar?.querySelector(`.draw-${name}`).setAttribute("aria-pressed", String(name === this.#kind));
    for (const name of ["undo", "use"]) this.#bar.querySelector(`.draw-${name}`).disabled = !this.#shapes.length;
  }

  #undo() {
    this.#shapes.pop();
    this.#draw();
    this.#canvas.focus();
  }

  async #use() {
    const { name } = this.#hooks;
    const type = /\.jpe?g$/i.test(name) ? "image/jpeg" : "image/png";
    try {
      const canvas = await part(this.#p.image, WHOLE);
      paint(canvas, this.#shapes);
      this.#hooks.done(await encoded(canvas, type), t("{name} (marked)", { name: stem(name) }) + (type === "image/jpeg" ? ".jpg" : ".png"));
    } catch {
      this.#bar.querySelector(".hint").textContent = t("This picture can't be drawn on here.");
    }
  }

  // --- a pointer ---------------------------------------------------------------------------------------------------

  down(event) {
    const at = this.#at(event);
    this.#growing = { kind: this.#kind, from: at, to: at };
  }

  moved(event) {
    if (!this.#growing) return;
    this.#growing = { ...this.#growing, to: this.#at(event) };
    this.#draw();
  }

  drop() {
    if (this.#growing && drawnOut(this.#growing, this.#size)) this.#shapes.push(this.#growing);
    this.#growing = null;
    this.#draw();
    this.#canvas.focus();
  }

  #at({ clientX, clientY }) {
    const box = this.#p.stage.getBoundingClientRect();
    const share = (value) => Math.min(1, Math.max(0, value));
    return { x: share((clientX - box.left) / box.width), y: share((clientY - box.top) / box.height) };
  }

  // --- keys ----------------------------------------------------------------------------------------------------------

  /** Whether it was a key for this. */
  key(event) {
    if (event.target !== this.#canvas) return false;
    const step = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
    if (event.key === "Enter") this.#shapes.push({ kind: this.#kind, from: { x: 0.35, y: 0.35 }, to: { x: 0.5, y: 0.5 } });
    else if (["Backspace", "Delete"].includes(event.key)) this.#shapes.pop();
    else if (step && this.#shapes.length) this.#shapes.push(moved(this.#shapes.pop(), ...step, { end: event.shiftKey }));
    else if (!step) return false;
    this.#draw();
    return true;
  }
}

function paint(canvas, shapes) {
  const pen = canvas.getContext("2d");
  const thick = thickness(canvas);
  Object.assign(pen, { lineJoin: "round", lineCap: "round" });
  for (const shape of shapes) {
    for (const [colour, width] of [[PAPER, 2 * thick], [INK, thick]]) {
      Object.assign(pen, { strokeStyle: colour, lineWidth: width });
      pen.stroke(new Path2D(pathOf(shape, canvas)));
    }
  }
}

/** Puts a file into the box, in the place of its file `entry` where that is given. Resolves to what puts that back, or null
 * where the new one can't be sent: then the other is still there. */
export async function stand(session, entry, made) {
  const { draft } = session;
  const place = draft.files.indexOf(entry);
  if (place < 0) return void (await session.attach([made]));
  draft.files = draft.files.filter((one) => one !== entry); // there may be no room for both
  const others = new Set(draft.files);
  await session.attach([made]);
  const added = draft.files.find((one) => !others.has(one));
  const rest = draft.files.filter((one) => one !== added);
  const put = async (file) => {
    draft.files = [...draft.files.filter((one) => one !== added && one !== entry)];
    draft.files.splice(Math.min(place, draft.files.length), 0, file);
    session.changed();
    await session.saveDraft();
  };
  draft.files = rest;
  await put(added ?? entry);
  return added ? () => put(entry) : null;
}
