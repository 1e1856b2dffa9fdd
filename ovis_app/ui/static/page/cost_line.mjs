// A quiet line in the box: what the question would take of the context, and what to do where it doesn't fit or is read too
// small. Behind it, on a click, where the tokens go.
// Knows weights and the DOM; refuses to know how they are reckoned.

import { paceOf, secondsOf, shares, tooLong, worthShowing } from "./cost.mjs";
import { button, make, plain } from "./elements.mjs";
import { seconds } from "./figures.mjs";
import { said, t } from "./i18n.mjs";
import { numbered, severalClips } from "./numbered.mjs";
import { asksOutside, looksDrawn } from "./outside.mjs";
import { Weighing } from "./weighing.mjs";

const KEPT = "ovis-pace"; // how fast models read here, by name

export class CostLine {
  #root; #session; #chips; #weighing; #parts; #key = ""; #photos = new Map();

  /** `chips` gives the elements of the files in the box. */
  constructor(root, session, { chips }) {
    [this.#root, this.#session, this.#chips] = [root, session, chips];
    this.#weighing = new Weighing(session, { changed: () => session.changed() });
    const p = this.#parts = { gauge: make("span.gauge", { role: "img" }, make("i"), make("i"), make("i")), sum: make("span"), list: make("ul"), advice: make("p.advice", { role: "status", hidden: true }) };
    p.more = make("details", { hidden: true }, make("summary", {}, p.gauge, p.sum), p.list);
    root.replaceChildren(p.advice, p.more);
  }

  draw() {
    this.#weighing.look();
    const { weight, refused, stale } = this.#weighing;
    const longest = this.#session.settings.max_new_tokens ?? Infinity;
    const shows = weight !== null && worthShowing(weight, longest);
    const photos = [...this.#chips()].filter((item, place) => this.#isPhoto(item, this.#session.draft.files[place]?.hash)).length;
    this.#root.classList.toggle("stale", stale);
    const key = JSON.stringify([weight, refused, longest, photos, this.#session.facts?.name, t("Pictures"), this.#weighing.told]);
    if (key !== this.#key && !stale) this.#advise(weight, refused, longest);
    this.#root.hidden = !shows && this.#parts.advice.hidden;
    if (key === this.#key && weight === null) return;
    this.#parts.more.hidden = !shows;
    if (shows) this.#show(weight, shares(weight, longest));
    if (!stale) this.#key = key;
  }

  /** The line itself, the list behind it, and the titles of the files. */
  #show(weight, parts) {
    const { gauge, sum, list, more } = this.#parts;
    const { path, facts } = this.#session;
    const pace = this.#pace(path, facts.name);
    const time = secondsOf(weight, path, facts.name, pace);
    more.dataset.state = parts.state;
    const words = t("{count} tokens", { count: number(weight.prompt) });
    sum.textContent = time === null ? words : `${words} · ${t("about {time}", { time: seconds(time) })}`;
    const rows = [
      t("Text so far: {count} tokens", { count: number(parts.text) }),
      ...(parts.visual ? [t("Pictures: {count} tokens", { count: number(parts.visual) })] : []),
      t("Room for the answer: {count} of {room} tokens", { count: number(parts.left), room: number(weight.room) }),
      ...(weight.dropped > 1 ? [t("without the {count} oldest questions, to fit", { count: weight.dropped })] : []),
      ...(weight.dropped === 1 ? [t("without the oldest question, to fit")] : []),
    ];
    const each = weight.files.map((one) => fileWords(one));
    gauge.setAttribute("aria-label", rows.join(", "));
    for (const [place, share] of [parts.text, parts.visual, parts.answer].entries()) gauge.children[place].style.flexBasis = `${Math.min(100 * share / weight.room, 100)}%`;
    const clips = severalClips(this.#session.draft.files);
    const lines = [...rows, ...each.map((one, place) => numbered(one, place, each.length, { clips }))];
    if (list.dataset.key !== lines.join("\n")) list.replaceChildren(...lines.map((one) => make("li", {}, one)));
    list.dataset.key = lines.join("\n");
    if (!this.#weighing.stale) this.#name(each);
  }

  /** Files in the box say what they take. */
  #name(each) {
    for (const [place, item] of [...this.#chips()].entries()) {
      const shown = item.querySelector("img, .name");
      const { name = "" } = this.#session.draft.files[place] ?? {};
      if (shown && each[place]) shown.title = `${plain(name)} · ${each[place]}`;
    }
  }

  #advise(weight, refused, longest) {
    const { advice } = this.#parts;
    const children = weight ? this.#adviceOn(weight, shares(weight, longest)) : refused ? [plain(said(refused))] : [];
    advice.hidden = !children.length;
    advice.replaceChildren(...children);
  }

  /** What the small model that comes with the app doesn't know. */
  #outside() {
    const { facts, draft } = this.#session;
    if (!facts.hint) return [];
    const photo = [...this.#chips()].some((item, place) => draft.files[place]?.kind === "image" && this.#isPhoto(item, draft.files[place].hash));
    if (!photo && !asksOutside(draft.text)) return [];
    const why = photo ? t("This looks like a photo.") : t("That is about more than drawings.");
    const models = facts.may_choose ? button(t("Models"), () => window.ovis.toggle("models", true), { name: "open-models" }) : null;
    const words = { why, name: facts.name, hint: said(facts.hint) };
    return [t("{why} {name} knows simple drawings and short words only, and will guess. {hint}.", words), ...(models ? [models] : [])];
  }

  /** By what the box shows of a picture, once it does. */
  #isPhoto(item, hash) {
    const image = item.querySelector("img");
    if (image && !this.#photos.has(hash)) {
      if (image.complete && image.naturalWidth) this.#photos.set(hash, !looksDrawn(pixelsOf(image)));
      else image.addEventListener("load", () => this.#session.changed(), { once: true });
    }
    return this.#photos.get(hash) === true;
  }

  #adviceOn(weight, { state, left, visual }) {
    const settings = () => button(t("Settings"), () => window.ovis.toggle("settings", true), { name: "open-settings" });
    const remedy = visual > weight.prompt / 2 ? t("Make pictures smaller in the settings, or take some away.") : t("Shorten the question, or start a new chat.");
    if (state === "over") return [t("This doesn't fit: {count} tokens of {room}.", { count: number(weight.prompt), room: number(weight.room) }), " ", remedy, settings()];
    if (state === "tight") return [t("Only {count} tokens are left for the answer.", { count: number(left) }), " ", remedy, settings()];
    const [place] = tooLong(weight);
    if (place === undefined) return this.#outside();
    const { seen, split, size: own } = weight.files[place];
    return [
      t("{own} is read at {seen}: fine print is lost.", { own: size(own), seen: size(seen) }),
      button(t("Split it into {count} parts", { count: split }), () => this.#session.turn({ split: true }), { name: "split" }),
    ];
  }

  /** How fast the model reads here: by the answers of this conversation, or what is remembered of others. */
  #pace(path, model) {
    const here = paceOf(path, model);
    try {
      const kept = JSON.parse(localStorage.getItem(KEPT) ?? "{}");
      if (here === null) return Number.isFinite(kept[model]) ? kept[model] : null;
      if (kept[model] !== here) localStorage.setItem(KEPT, JSON.stringify({ ...kept, [model]: here }));
    } catch { /* private windows forget */ }
    return here;
  }
}

function fileWords({ tokens, seen, pieces }) {
  const words = { count: number(tokens), seen: size(seen), pieces };
  return pieces > 1 ? t("{count} visual tokens in {pieces} parts", words) : t("{count} visual tokens, read at {seen}", words);
}

/** A few of its pixels. */
function pixelsOf(image) {
  const canvas = make("canvas", { width: 32, height: 32 });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(image, 0, 0, 32, 32);
  return pen.getImageData(0, 0, 32, 32).data;
}

const number = (value) => value.toLocaleString("en");
const size = ([width, height]) => `${width} × ${height}`;
