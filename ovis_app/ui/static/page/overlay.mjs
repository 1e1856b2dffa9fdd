// What an answer names, drawn: phrases in its words, and boxes over the pictures below it, each of which lights up the
// other. Loaded with the first answer that names anything.
// Knows the DOM and one answer at a time; refuses to know the notation and geometry, which are pure modules' own.

import { CARRIED, carried, phraseAt, read, words } from "./boxes.mjs";
import { button, make, plain } from "./elements.mjs";
import { t } from "./i18n.mjs";
import { numbered } from "./numbered.mjs";
import { assigned } from "./which_picture.mjs";

export { carried, read, words };

const COLOURS = 8; // of boxes.css
const FEW = 12; // boxes of a picture whose names are all written; of more the numbers, and the name of the one that is lit
const drawnFor = new WeakMap(); // by what holds an answer's pictures: the text that they were drawn for
const chosen = new Map(); // by answer: on which pictures somebody put its marks, by their numbers

// --- phrases in the words --------------------------------------------------------------------------------------------

/** Puts each phrase of a reading where its place stands in this element. Within code what was written stays. */
export function phrases(element, reading) {
  const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const found = [];
  for (let node = texts.nextNode(); node; node = texts.nextNode()) if (node.data.search(CARRIED) >= 0) found.push(node);
  for (const node of found) {
    const code = node.parentElement?.closest("code, pre") !== null;
    const parts = node.data.split(CARRIED).map((one, i) => (i % 2 ? phrase(phraseAt(reading, one), code) : one));
    node.replaceWith(...parts.filter((one) => one !== "" && one !== null));
  }
}

function phrase(one, code) {
  if (!one) return null;
  if (code) return one.source;
  const said = plain(one.words);
  if (!one.marks.length) return said;
  const numbers = one.marks.map((mark) => mark.number);
  const shown = make(`span.phrase${colour(numbers[0])}`, { role: "button", tabIndex: 0, "aria-pressed": "false", "aria-label": spoken(said, numbers) },
    said ? make("span.said", {}, said) : null);
  Object.assign(shown.dataset, { marks: numbers.join(" "), numbers: ranges(numbers) }); // those are drawn behind it, and aren't its words
  return shown;
}

function spoken(said, numbers) {
  return numbers.length === 1 ? t("{name}, box {numbers}", { name: said || t("something"), numbers: ranges(numbers) })
    : t("{name}, boxes {numbers}", { name: said || t("something"), numbers: ranges(numbers) });
}

/** 1, 2, 3, 5 as "1–3, 5". Numbers of a phrase follow each other but for marks that were left out. */
function ranges(numbers) {
  const runs = [];
  for (const one of numbers) {
    if (runs.length && runs.at(-1)[1] === one - 1) runs.at(-1)[1] = one;
    else runs.push([one, one]);
  }
  return runs.map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`)).join(", ");
}

function colour(number) {
  return `.mark-${(number - 1) % COLOURS}`;
}

// --- boxes over pictures ---------------------------------------------------------------------------------------------

/** A mark over a picture: a frame or a ring with its number and name. @param {import("./boxes.mjs").Mark} mark */
export function drawn(mark, { tag = "span", named = true } = {}) {
  const label = make("b", {}, String(mark.number), mark.name ? make("i", {}, ` ${plain(mark.name)}`) : null);
  const element = make(`${tag}.mark.${mark.kind}${colour(mark.number)}${named ? ".named" : ""}`, {}, label);
  const percent = (share) => `${(100 * share).toFixed(3)}%`;
  const size = mark.kind === "box" ? { width: percent(mark.right - mark.left), height: percent(mark.bottom - mark.top) } : {};
  Object.assign(element.style, { left: percent(mark.left), top: percent(mark.top), ...size });
  element.classList.toggle("high", mark.top < 0.08);
  element.classList.toggle("at-right", mark.left > 0.6);
  return element;
}

/** The larger ones first, so that those within them can be reached. */
export function stacked(marks) {
  const area = (one) => (one.right - one.left) * (one.bottom - one.top);
  return [...marks].sort((one, other) => area(other) - area(one) || one.number - other.number);
}

/** Where an answer's marks lie: by the words around them, or where somebody put them. */
export function places(reading, message, path) {
  const found = assigned(reading, path, message.asked);
  for (const [number, place] of chosen.get(message.id) ?? []) if (found.pictures[place]) found.places.set(number, place);
  return found;
}

/** The marks of the latest answer that has any on this picture; of `answer` alone where it is named. */
export function marksOn(picture, path, answer = null) {
  for (const message of [...path].reverse()) {
    if (message.role !== "assistant" || message.finish === null || (answer && message.id !== answer)) continue;
    const reading = read(message.text);
    const found = places(reading, message, path.slice(0, path.indexOf(message)));
    const place = found.pictures.findIndex((one) => one.message === picture.message && one.index === picture.index);
    const marks = reading.marks.filter((one) => found.places.get(one.number) === place);
    if (place >= 0 && marks.length) return marks;
  }
  return [];
}

/** Draws the pictures of an answer into `holder`, once for each text. `tools`: files, and enlarge. */
export function figures(holder, { message, path, reading, ...tools }) {
  const row = holder.closest(".turn") ?? holder;
  if (!row.dataset.linked) link(row);
  if (drawnFor.get(holder) !== message.text) {
    drawnFor.set(holder, message.text);
    fill(holder, { message, path, reading, tools });
  }
  oneStop([...row.querySelectorAll(".phrase")]);
}

function fill(holder, answer) {
  const { message, path, reading, tools } = answer;
  const { pictures, places: lies, unsure } = places(reading, message, path);
  const used = [...new Set(lies.values())].sort((one, other) => one - other);
  holder.hidden = !used.length;
  if (!used.length) return holder.replaceChildren();
  const shown = used.map((place) => {
    const marks = reading.marks.filter((one) => lies.get(one.number) === place);
    const put = (to) => {
      const kept = chosen.get(message.id) ?? new Map();
      for (const one of marks) kept.set(one.number, to);
      chosen.set(message.id, kept);
      fill(holder, answer);
      holder.querySelector("select")?.focus();
    };
    return figure({ pictures, place, marks, put, message, tools, unsure: unsure && !chosen.has(message.id) });
  });
  const save = async (kind) => (await import("./saving.mjs"))[kind];
  const all = () => shown.map((one) => ({ picture: one.picture, marks: one.marks, image: one.image }));
  const saves = [
    button(t("Boxes as COCO"), async () => (await save("saveJson"))(all()), { name: "save-coco" }),
    button(shown.length > 1 ? t("Pictures with boxes") : t("Picture with boxes"), async () => (await save("savePictures"))(all()), { name: "save-png" }),
  ];
  holder.replaceChildren(...shown.map((one) => one.element));
  if (shown.length > 1) holder.append(make("div.marks-foot", {}, ...saves));
  else shown[0].element.lastChild.append(...saves);
}

function figure({ pictures, place, marks, put, message, tools, unsure }) {
  const picture = pictures[place];
  const name = nameOf(picture);
  const names = [...new Set(marks.map((one) => one.name).filter(Boolean))].join(", ");
  const image = make("img", { alt: names ? t("{picture} with {names} marked", { picture: name, names: plain(names) }) : t("{picture} with boxes", { picture: name }) });
  const stage = make("div.stage", { role: "group", "aria-label": t("Boxes on {picture}", { picture: name }) }, image);
  for (const one of stacked(marks)) {
    const box = drawn(one, { tag: "button", named: marks.length <= FEW });
    Object.assign(box, { type: "button" });
    box.setAttribute("aria-label", t("Box {number}: {name}", { number: one.number, name: plain(one.name) || t("something") }));
    box.setAttribute("aria-pressed", "false");
    box.dataset.marks = String(one.number);
    stage.append(box);
  }
  oneStop([...stage.querySelectorAll(".mark")]);
  image.addEventListener("load", () => { stage.style.width = `${widthOf(image)}px`; });
  image.addEventListener("error", async () => { image.src = await tools.files.copied(picture.file).catch(() => ""); }, { once: true });
  tools.files.seen(picture.file.hash).then((address) => {
    if (address) image.src = address;
    else stage.replaceChildren(make("span.gone", {}, t("{name} is no longer in this browser.", { name })));
  });
  const hide = button(t("Hide boxes"), () => {
    const hidden = stage.classList.toggle("bare");
    hide.replaceChildren(hidden ? t("Show boxes") : t("Hide boxes"));
    hide.title = hide.ariaLabel = hide.textContent;
  }, { name: "hide-boxes" });
  const caption = make("figcaption", {},
    pictures.length > 1 ? chooser(pictures, place, put) : null,
    unsure ? make("span.unsure", {}, t("The answer doesn't say which picture it means: choose it here.")) : null,
    hide, button(t("Open large"), () => tools.enlarge({ ...picture, answer: message.id }), { name: "open-large" }));
  return { element: make("figure", {}, stage, caption), picture, marks, image };
}

function chooser(pictures, place, put) {
  const options = pictures.map((one, i) => make("option", { value: String(i), selected: i === place }, nameOf(one)));
  return make("label.on-picture", {}, t("Drawn on"), " ", make("select", { onchange: (event) => put(Number(event.target.value)) }, ...options));
}

/** What a picture is called, as the prompt numbers it. */
export function nameOf({ file, index, count }) {
  return numbered(plain(file.name), index, count);
}

/** Pixels of the page that a picture is wide: no larger than it is, but for tiny ones. */
function widthOf(image) {
  const { naturalWidth: width, naturalHeight: height } = image;
  const room = Math.min(560 / width, 460 / height);
  return Math.max(1, Math.round(width * Math.min(room, Math.max(1, 300 / Math.max(width, height)))));
}

// --- one lights up the other -----------------------------------------------------------------------------------------

/** Pointers, focus and keys in a row: what is pointed at is lit, what is pressed stays lit. */
function link(row) {
  row.dataset.linked = "yes";
  const of = (event) => event.target.closest?.("[data-marks]") ?? null;
  let pinned = null;
  const show = (one) => light(row, one ?? pinned);
  for (const name of ["pointerover", "focusin"]) row.addEventListener(name, (event) => show(of(event)));
  for (const name of ["pointerleave", "focusout"]) row.addEventListener(name, () => show(null));
  const press = (one) => {
    pinned = pinned?.dataset.marks === one.dataset.marks ? null : one;
    for (const each of row.querySelectorAll("[data-marks]")) each.setAttribute("aria-pressed", String(each.dataset.marks === pinned?.dataset.marks));
    show(pinned);
    if (pinned) row.querySelector(one.matches(".phrase") ? ".mark.lit" : ".phrase.lit")?.scrollIntoView({ block: "nearest" });
  };
  row.addEventListener("click", (event) => { const one = of(event); if (one) press(one); });
  row.addEventListener("keydown", (event) => {
    const one = of(event);
    if (!one) return;
    if (event.key === "Escape" && pinned) { event.stopPropagation(); press(pinned); }
    if (["Enter", " "].includes(event.key) && one.matches(".phrase")) { event.preventDefault(); press(one); }
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) { event.preventDefault(); event.stopPropagation(); walk(row, one, step); }
  });
}

function light(row, one) {
  const numbers = new Set(one?.dataset.marks.split(" "));
  for (const each of row.querySelectorAll("[data-marks]")) each.classList.toggle("lit", each.dataset.marks.split(" ").some((mark) => numbers.has(mark)));
  for (const stage of row.querySelectorAll(".stage")) stage.classList.toggle("some-lit", numbers.size > 0);
}

/** Of many one is reached by Tab, and the others from it by arrows. */
function oneStop(several, at = null) {
  const stop = at ?? several.find((one) => one.tabIndex === 0) ?? several[0];
  for (const one of several) one.tabIndex = one === stop ? 0 : -1;
}

function walk(row, from, step) {
  const beside = from.matches(".phrase") ? [...row.querySelectorAll(".phrase")] : [...from.parentElement.querySelectorAll(".mark")];
  const inOrder = beside.sort((one, other) => Number.parseInt(one.dataset.marks, 10) - Number.parseInt(other.dataset.marks, 10));
  const next = inOrder[(inOrder.indexOf(from) + step + inOrder.length) % inOrder.length];
  oneStop(inOrder, next);
  next.focus();
}
