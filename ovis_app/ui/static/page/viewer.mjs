// Pictures large, one at a time, in a dialog: zoom and move, the one before and the next, boxes that were named on it, and
// a part of it to ask about, and how the model sees it. Loaded when the first one is opened.
// Knows the session's pictures and the DOM; how a picture moves is zooming.mjs, what is selected on it region.mjs.

import { button, make, plain } from "./elements.mjs";
import { t } from "./i18n.mjs";
import { drawn, marksOn, nameOf, stacked } from "./overlay.mjs";
import { Region } from "./region.mjs";
import { part, encoded, save, stem } from "./saving.mjs";
import { picturesOf } from "./which_picture.mjs";
import { Zoom } from "./zooming.mjs";

/** Opens a picture. `at` names it: its message (null: the box where questions are written) and its place among that
 * one's files, and the answer whose boxes are meant. `focus` goes to where questions are written. */
export function open(session, at, { focus }) {
  const draft = { id: null, files: session.draft.files.filter((one) => one.state === "ready") };
  const pictures = picturesOf(at.message === null ? [draft] : session.path);
  const place = pictures.findIndex((one) => one.message === at.message && one.index === at.index);
  if (place >= 0) new Viewer(session, pictures, { place, answer: at.answer ?? null, focus });
}

class Viewer {
  #session; #pictures; #place; #answer; #focus; #from = document.activeElement; #p = {}; #zoom; #region = null; #drawing = null; #sees = null; #boxes = true; #marks = [];

  constructor(session, pictures, { place, answer, focus }) {
    [this.#session, this.#pictures, this.#place, this.#answer, this.#focus] = [session, pictures, place, answer, focus];
    this.#make();
    (document.querySelector(".gradio-container") ?? document.body).append(this.#p.dialog);
    this.#p.dialog.showModal();
    this.#p.room.focus();
    this.#show(place);
  }

  get #held() { return this.#region ?? this.#drawing; } // what a pointer and keys go to, in place of the picture

  get #picture() { return this.#pictures[this.#place]; }

  #make() {
    const p = this.#p;
    const tool = (words, name, act) => button(words, act, { icon: true, name });
    p.name = make("h2", { id: "viewer-name" });
    p.facts = make("p", { role: "status" });
    p.close = tool(t("Close"), "close", () => this.#p.dialog.close());
    p.image = make("img", { alt: "", draggable: false });
    p.stage = make("div.stage", {}, p.image);
    p.room = make("div.room", { tabIndex: 0, role: "group", "aria-label": t("Picture: plus and minus zoom, arrows show the others, with Shift they move it") }, p.stage);
    p.before = tool(t("Previous picture"), "back", () => this.#show(this.#place - 1));
    p.after = tool(t("Next picture"), "forth", () => this.#show(this.#place + 1));
    p.percent = make("output", {}, "");
    p.marks = button(t("Boxes"), () => { this.#boxes = !this.#boxes; this.#drawBoxes(); }, { name: "marks-shown" });
    p.select = button(t("Select a part"), () => this.#select(), { name: "select-part" });
    p.sees = button(t("What the model sees"), () => this.#look(), { name: "sees-shown" });
    p.sees.setAttribute("aria-pressed", "false");
    p.draw = button(t("Draw on it"), () => this.#draw(), { name: "draw-on" });
    p.read = this.#session.facts?.reads ? button(t("Read this page"), () => this.#read(), { name: "read-page" }) : null;
    p.save = tool(t("Download"), "download", () => this.#download());
    p.tools = make("div.tools", { role: "toolbar", "aria-label": t("Picture") }, p.before, tool(t("Smaller"), "smaller", () => this.#zoom.by(1 / 1.5)), p.percent,
      tool(t("Larger"), "larger", () => this.#zoom.by(1.5)), tool(t("Whole picture"), "whole", () => this.#zoom.whole()), p.marks, p.sees, p.read, p.select, p.draw, p.save, p.after);
    p.asks = this.#asks();
    p.dialog = make("dialog.viewer", { "aria-labelledby": "viewer-name", onkeydown: (event) => this.#key(event) },
      make("div.over", {}, make("div", {}, p.name, p.facts), p.close), p.room, p.below = make("div.below", {}, p.tools, p.asks));
    p.dialog.addEventListener("cancel", (event) => { if (this.#held) { event.preventDefault(); this.#leaveSelection(); } });
    p.dialog.addEventListener("close", () => this.#closed());
    p.image.addEventListener("load", () => this.#loaded());
    p.image.addEventListener("error", () => this.#copied());
    this.#zoom = new Zoom(p.room, p.stage, {
      changed: (percent) => { p.percent.textContent = `${percent} %`; this.#sees?.zoomed(); },
      swiped: (by) => this.#show(this.#place + by),
      beside: () => { if (!this.#held) p.dialog.close(); },
      drawing: () => this.#held,
    });
  }

  /** What can be done with a part. Its box is worth something only to models that know boxes. */
  #asks() {
    const p = this.#p;
    p.hint = make("p.hint", {}, t("Drag over the part."), " ", make("span.keys", {}, t("With keys: arrows move it, with Shift they change its size.")));
    const knows = this.#session.facts?.model.switches.includes("boxes");
    return make("div.asks", { role: "toolbar", "aria-label": t("Selected part"), hidden: true }, p.hint,
      button(t("Ask about this part"), () => this.#ask(), { name: "ask-part" }),
      knows ? button(t("Put its box into the question"), () => this.#write(), { name: "write-part" }) : null,
      button(t("Cancel"), () => this.#leaveSelection(), { name: "leave-part" }));
  }

  // --- which picture -----------------------------------------------------------------------------------------------

  async #show(place) {
    if (!this.#pictures[place]) return;
    this.#leaveSelection();
    this.#place = place;
    const p = this.#p;
    const picture = this.#picture;
    p.name.textContent = nameOf(picture);
    p.facts.textContent = "";
    p.image.alt = nameOf(picture);
    [p.before.disabled, p.after.disabled] = [place === 0, place === this.#pictures.length - 1];
    p.before.hidden = p.after.hidden = this.#pictures.length < 2;
    this.#marks = picture.message === null ? [] : marksOn(picture, this.#session.path, this.#answer);
    p.marks.hidden = !this.#marks.length;
    const at = document.activeElement; // what can't be pressed any more hears no keys
    if (!p.dialog.contains(at) || at.disabled || at.hidden) p.room.focus();
    delete p.image.dataset.copied;
    this.#sees?.show(picture);
    const address = await this.#session.files.seen(picture.file.hash);
    if (picture !== this.#picture) return;
    if (address) p.image.src = address;
    else this.#gone();
  }

  #loaded() {
    const { naturalWidth: width, naturalHeight: height } = this.#p.image;
    const at = this.#pictures.length > 1 ? ` · ${t("{place} of {count}", { place: this.#place + 1, count: this.#pictures.length })}` : "";
    this.#p.facts.textContent = `${t("{width} × {height} pixels", { width, height })}${at}`;
    this.#p.stage.hidden = false;
    this.#zoom.fit({ width, height });
    this.#drawBoxes();
  }

  async #copied() {
    const picture = this.#picture;
    const address = this.#p.image.dataset.copied ? "" : await this.#session.files.copied(picture.file).catch(() => "");
    if (picture !== this.#picture) return;
    this.#p.image.dataset.copied = "yes";
    if (address) this.#p.image.src = address;
    else this.#gone();
  }

  #gone() {
    this.#p.stage.hidden = true;
    this.#p.facts.textContent = t("This picture is no longer in this browser.");
  }

  #drawBoxes() {
    const { marks, stage, image } = this.#p;
    marks.setAttribute("aria-pressed", String(this.#boxes));
    for (const one of stage.querySelectorAll(".mark")) one.remove();
    const names = [...new Set(this.#marks.map((one) => one.name).filter(Boolean))].join(", ");
    image.alt = this.#boxes && names ? t("{picture} with {names} marked", { picture: nameOf(this.#picture), names: plain(names) }) : nameOf(this.#picture);
    if (this.#boxes) stage.append(...stacked(this.#marks).map((one) => drawn(one)));
  }

  /** Shows how the model sees the picture, or no more. */
  async #look() {
    const { dialog, stage, room, below, sees } = this.#p;
    if (this.#sees) this.#sees.end();
    const { Sees } = this.#sees ? {} : await import("./sees.mjs");
    if (!dialog.open || (Sees && this.#sees)) return; // closed meanwhile, or pressed twice
    this.#sees = Sees ? new Sees(this.#session, { stage, room, holder: below }) : null;
    sees.setAttribute("aria-pressed", String(this.#sees !== null));
    this.#sees?.show(this.#picture);
  }

  /** Reads the picture as Markdown, beside it. */
  async #read() {
    const { read } = await import("./reading_bench.mjs");
    const { file } = this.#picture;
    this.#p.dialog.close();
    await read(this.#session, file);
  }

  async #download() {
    const { file } = this.#picture;
    const kept = await this.#session.store.file(file.hash);
    if (!kept) return this.#gone();
    const kind = /^image\/([a-z]{1,5})$/.exec(kept.shown?.type ?? "")?.[1];
    save(kept.shown ?? kept.blob, kind ? `${stem(file.name)}.${kind}` : file.name);
  }

  // --- a part of it ------------------------------------------------------------------------------------------------

  #select() {
    const { stage, image } = this.#p;
    this.#region ??= new Region(stage, { width: image.naturalWidth, height: image.naturalHeight });
    this.#selecting(true);
    this.#p.asks.hidden = false;
    this.#region.focus();
  }

  #leaveSelection() {
    if (!this.#held) return;
    this.#held.remove();
    this.#region = this.#drawing = null;
    this.#p.asks.hidden = true;
    this.#selecting(false);
    this.#p.room.focus();
  }

  #selecting(on) {
    this.#p.tools.hidden = on;
    this.#p.dialog.classList.toggle("selecting", on);
    requestAnimationFrame(() => this.#zoom.refit());
  }

  async #ask() {
    const { file } = this.#picture;
    const type = /\.jpe?g$/i.test(file.name) ? "image/jpeg" : "image/png";
    try {
      const blob = await encoded(await part(this.#p.image, this.#region.sides), type);
      const name = t("{name} (part)", { name: stem(file.name) }) + (type === "image/jpeg" ? ".jpg" : ".png");
      this.#leave();
      await this.#session.attach([{ blob, name }]);
    } catch {
      this.#p.hint.textContent = t("This part couldn't be cut out: select a smaller one.");
    }
  }

  async #draw() {
    const { Drawing, stand } = await import("./drawing.mjs");
    const picture = this.#picture;
    if (this.#held || !this.#p.dialog.open || this.#p.stage.hidden) return;
    const entry = picture.message === null ? picture.file : null;
    const done = async (blob, name) => {
      this.#leave();
      const back = await stand(this.#session, entry, { blob, name });
      if (back) (await import("./toast.mjs")).toast(t("The drawing stands in its picture's place."), { words: t("Undo"), act: back });
    };
    this.#drawing = new Drawing(this.#p, { name: picture.file.name, done, leave: () => this.#leaveSelection() });
    this.#selecting(true);
  }

  #write() {
    const { index, count } = this.#picture;
    const before = this.#session.draft.text;
    const image = count > 1 ? `Image ${index + 1} ` : ""; // as the prompt numbers it, in any language
    this.#session.type(`${before}${before && !/\s$/.test(before) ? " " : ""}${image}${this.#region.notation}`);
    this.#session.changed();
    this.#session.saveDraft();
    this.#leave();
  }

  /** To where questions are written. */
  #leave() {
    this.#from = null;
    this.#p.dialog.close();
    this.#focus();
  }

  // --- keys --------------------------------------------------------------------------------------------------------

  #key(event) {
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (this.#held?.key(event) || this.#sees?.key(event)) return event.preventDefault();
    if (event.target.closest("button") && [" ", "Enter"].includes(event.key)) return;
    const step = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    const acts = {
      "+": () => this.#zoom.by(1.5), "=": () => this.#zoom.by(1.5), "-": () => this.#zoom.by(1 / 1.5), 0: () => this.#zoom.whole(),
      Home: () => this.#show(0), End: () => this.#show(this.#pictures.length - 1),
    };
    if (step && (event.shiftKey || step[1])) this.#zoom.move(60 * step[0], 60 * step[1]);
    else if (step && !this.#held) this.#show(this.#place - step[0]);
    else if (acts[event.key]) acts[event.key]();
    else return;
    event.preventDefault();
  }

  #closed() {
    this.#zoom.end();
    this.#sees?.end();
    this.#p.dialog.remove();
    if (this.#from?.isConnected) this.#from.focus();
  }
}
