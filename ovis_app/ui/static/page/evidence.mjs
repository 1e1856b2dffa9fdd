// What of an answer can be looked for in a picture, what a model is asked for that, and what comes of it. No model judges
// its own words, since most say yes to whatever they are told: it describes what is left of a picture, and isn't told what
// it should find.
// Pure. Knows words; refuses to know who is asked, and how pictures are covered.

import { read, words } from "./boxes.mjs";

const MOST_CLAIMS = 8;
const LONGEST = 160;
const BEGINNING = 4000; // characters of an answer that are taken apart
const ARTICLE = /^(?:an?|the)\s{1,4}/i;
const TILED = 1792 * 1792; // pixels that a model which cuts pictures into tiles sees at most
const LEAD = /^(?:(?:yes|no|well|the answer is|final answer)\b[\s,.:]*)?(?:(?:in|on) the (?:image|picture|photo),?\s+)?(?:(?:the|this) (?:image|picture|photo)s? (?:shows?|contains?|depicts?|has)|there (?:is|are)|it (?:is|shows)|(?:i|we|you) (?:can )?see)?\s+/i;
const CHINESE_LEAD = /^(?:是的|有的|不)?[，,]?\s*(?:这张|在)?(?:图片|图像|照片|图)?(?:中|里|上)?(?:显示|展示|可以看到|能看到|包含|有|是)?了?/;
const BETWEEN = /(?<=[.!?;])\s{1,4}|[。！？；，、\n]+|,\s+(?:and\s+)?|\s{1,4}and\s{1,4}(?=(?:an?|the|one|two|three|four|five|six|seven|eight|nine|\d{1,9})\s)/i;
const ABSENT = /\b(?:no|not|none|nothing|nobody|neither|nor|without)\b|n't\b|没|无|不/i; // what isn't there has no place
const ASIDE = /^(?:yes|是的?|有|对)$/i;
const HAN = /\p{Script=Han}/u;

/** What an answer says is there, piece by piece: what it marks in its own words, else its clauses. @returns {string[]} */
export function claimsOf(answer) {
  const reading = read(answer.slice(0, BEGINNING));
  const marked = reading.phrases.filter((one) => one.marks.length && one.words.trim()).map((one) => one.words);
  const found = (marked.length ? marked : words(reading).replace(/[^\S\n]+/g, " ").split(BETWEEN)).map(bare);
  const fits = (one) => /[\p{L}\p{N}]/u.test(one) && one.length > 1 && one.length <= LONGEST && !ABSENT.test(one) && !ASIDE.test(one);
  return [...new Set(found)].filter(fits).slice(0, MOST_CLAIMS);
}

function bare(piece) {
  const plain = (piece ?? "").replace(/^[\s>#*+-]+|[*_`$]/g, "").replace(/^\d+[.)]\s+/, "").trim();
  return plain.replace(HAN.test(plain) ? CHINESE_LEAD : LEAD, "").replace(/[\s.,;:!?。，；：！？]{1,100}$/, "").trim();
}

/** What asks where something is; `suffix` is what the model knows as asking for boxes. */
export function whereIs(claim, suffix) {
  return `Where is the <ref>${claim.replace(/[<>]/g, " ").replace(ARTICLE, "")}</ref>? ${suffix}`;
}

/** What asks what is there, and tells nothing of it; in the language of the claim. */
export function whatIsThere(claim) {
  return HAN.test(claim) ? "描述这张图片。" : "Describe the image.";
}

/** The place that an answer gives, and what it says is there; null where it gives none. @returns {import("./boxes.mjs").Mark | null} */
export function placeIn(answer) {
  return read(answer).marks.find((one) => one.kind === "box" && one.right > one.left && one.bottom > one.top) ?? null;
}

/** A place with some of what is around it, in shares of the picture. */
export function withMargin({ left, top, right, bottom }, share = 0.15) {
  const [x, y] = [(right - left) * share, (bottom - top) * share];
  return { left: Math.max(0, left - x), top: Math.max(0, top - y), right: Math.min(1, right + x), bottom: Math.min(1, bottom + y) };
}

/** Whether a text has these words, in their order, as whole words, of which one or several may be meant. */
export function names(text, name) {
  const [all, wanted] = [text, name].map((one) => one.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []);
  if (!wanted.length) return false;
  if (HAN.test(name)) return all.join(" ").includes(wanted.join(" "));
  return all.some((_, at) => wanted.every((one, place) => same(one, all[at + place])));
}

function same(one, other = "") {
  const [short, long] = [one, other].sort((a, b) => a.length - b.length);
  return one === other || (short.length > 2 && [`${short}s`, `${short}es`].includes(long));
}

/** The name that is looked for: what was marked or what was claimed, whichever says less; null where neither is the other.
 * @returns {string | null} */
export function sought({ claim, place }) {
  const thing = claim.replace(ARTICLE, "");
  const name = place.name.trim().replace(ARTICLE, "") || thing;
  if (names(thing, name)) return name;
  return names(name, thing) ? thing : null;
}

/** How many pixels of a picture a model sees at most. */
export function mostPixels(model) {
  const knob = model.knobs.find((one) => one.name === "max_pixels");
  return knob ? knob.high ** 2 : TILED;
}

/** What came of it. `alone` is what was said of the part alone, `without` of the picture with that part covered.
 * @returns {"nowhere" | "other" | "holds" | "elsewhere" | "both" | "neither"} */
export function outcome({ claim, place, alone = "", without = "" }) {
  if (!place) return "nowhere";
  const name = sought({ claim, place });
  if (name === null) return "other";
  const [here, there] = [names(alone, name), names(without, name)];
  if (here) return there ? "both" : "holds";
  return there ? "elsewhere" : "neither";
}

/** In one word. */
export const VERDICTS = { holds: "agrees", elsewhere: "disagrees", nowhere: "unsure", other: "unsure", both: "unsure", neither: "unsure" };
