// What an answer's own words name in pictures: <ref>name</ref><box>(x,y),(x,y)</box>, lists of boxes, points, boxes
// without a name. Read from the text that is there, also while it grows: no tag is left in what people see.
// Pure. Knows the notation; refuses to know pictures, and how any of it is drawn.

export const MOST = 300; // marks of one answer that are read; of further ones only the tags go

/**
 * A place in a picture, in shares of its width and height from 0 to 1; of a point both sides are the same.
 * @typedef {{number: number, name: string, kind: "box" | "point", left: number, top: number, right: number, bottom: number}} Mark
 * Words that name marks, or a tag that means nothing; `source` is what was written.
 * @typedef {{id: number, words: string, marks: Mark[], source: string}} Phrase
 * @typedef {{parts: (string | Phrase)[], phrases: Phrase[], marks: Mark[]}} Reading
 */

const OPEN = /<(\/?)(ref|box|point)>/gi;
const NAME = /([^<]{0,300})(<\/ref>)?/iy;
const BEFORE_PLACES = /\s{0,16}[:：]?\s{0,16}(\[?)\s{0,16}(?=<(?:box|point)>)/iy;
const PLACE = /<(box|point)>([-+\d\s.,;:()[\]，；、：（）]{0,400})(?:<\/(?:box|point)>)?/iy;
const BETWEEN = /\s{0,16}[,;，；、]?\s{0,16}(?=<(?:box|point)>)/iy;
const END = /\s{0,16}[,;，；、]?\s{0,16}\]/y;
const NUMBER = /[-+]?(?:\d{1,9}(?:\.\d{0,20})?|\.\d{1,20})/g;
// What the end of a growing text may become part of: a tag that isn't whole, a list that begins or goes on.
const UNSURE = /(?:[:：]\s{0,16})?\[?\s{0,16}<\/?(?:r|re|ref|b|bo|box|p|po|poi|poin|point)?$|\[$/i;
const UNSURE_AFTER_NAME = /\s{0,16}(?:[:：]\s{0,16})?\[?\s{0,16}$/y;
const UNSURE_IN_LIST = /\s{0,16}[,;，；、]?\s{0,16}$/y;
const CUT_SHORT = /<\/?(?:re|ref|bo|box|poi?|poin|point)$/i; // the end of an answer that was cut

// A place of a phrase among other words, of characters that stand for nothing in any text (Unicode's noncharacters), so
// that it goes through Markdown in one piece: which phrase, and how many marks it has by now.
const [BEGIN, FINISH, AND, ZERO] = ["\ufdd0", "\ufdd1", "\ufdd2", 0xfde0];
const ODD = /[\ufdd0-\ufdef]/g;
export const CARRIED = /\ufdd0([\ufde0-\ufde9]+)\ufdd2[\ufde0-\ufde9]+\ufdd1/g;

/** What a text names. `over` is whether all of it is there. @returns {Reading} */
export function read(said, { over = true } = {}) {
  const text = ending(said.replace(ODD, ""), over);
  const found = { parts: [], phrases: [], marks: [], text, over };
  let at = 0;
  for (;;) {
    OPEN.lastIndex = at;
    const tag = OPEN.exec(text);
    if (!tag) break;
    add(found, text.slice(at, tag.index));
    at = tag[1] ? phrase(found, "", [], tag.index, OPEN.lastIndex) : opened(found, tag);
  }
  add(found, text.slice(at));
  perThousand(found.marks);
  const marks = found.marks.filter(inside).slice(0, MOST);
  for (const [place, one] of marks.entries()) one.number = place + 1;
  for (const one of found.phrases) one.marks = one.marks.filter((mark) => mark.number > 0);
  return { parts: found.parts, phrases: found.phrases, marks };
}

/** The words alone. @param {Reading} reading */
export function words(reading) {
  return reading.parts.map((one) => (typeof one === "string" ? one : one.words)).join("");
}

/** The words with a place for each phrase, which `CARRIED` finds again. @param {Reading} reading */
export function carried(reading) {
  return reading.parts.map((one) => (typeof one === "string" ? one : `${BEGIN}${digits(one.id)}${AND}${digits(one.marks.length)}${FINISH}`)).join("");
}

/** The phrase that stands at a place. @param {Reading} reading @param {string} number as CARRIED gives it */
export function phraseAt(reading, number) {
  return reading.phrases[Number(Array.from(number, (one) => one.charCodeAt(0) - ZERO).join(""))] ?? null;
}

function digits(number) {
  return Array.from(String(number), (one) => String.fromCharCode(ZERO + Number(one))).join("");
}

/** The text without an end that isn't sure yet, or that was cut short within a tag. */
function ending(text, over) {
  const unsure = over ? (text.search(OPEN) >= 0 ? CUT_SHORT : null) : UNSURE; // elsewhere "<re" may be meant
  return text.slice(0, text.length - (unsure?.exec(text.slice(-64))?.[0].length ?? 0));
}

function add(found, words) {
  if (words) found.parts.push(words);
}

/** What an opening tag begins. Gives where the text goes on. */
function opened(found, tag) {
  const { text, over } = found;
  const inner = tag.index + tag[0].length;
  if (tag[2].toLowerCase() !== "ref") return bare(found, tag.index);
  NAME.lastIndex = inner;
  const [, name, closed] = NAME.exec(text);
  const after = NAME.lastIndex;
  const named = name.replace(/\s+/g, " ").trim();
  if (!closed && !over && after === text.length) return phrase(found, named, [], tag.index, after); // it grows
  if (!closed) return phrase(found, "", [], tag.index, inner);
  const listed = places(found, after, named);
  if (listed) return phrase(found, named, listed.marks, tag.index, listed.end);
  const end = over ? after : after + (sticky(UNSURE_AFTER_NAME, text, after)?.[0].length ?? 0);
  return phrase(found, named, [], tag.index, end);
}

/** Boxes and points without a name; where brackets stand around them, both go. */
function bare(found, start) {
  const { parts, text } = found;
  const last = parts.at(-1);
  const bracket = typeof last === "string" ? /\[\s{0,16}$/.exec(last.slice(-20)) : null;
  const first = placesFrom(found, start, "", bracket !== null);
  if (!first) return phrase(found, "", [], start, text.indexOf(">", start) + 1);
  if (bracket && first.closed) {
    parts.pop();
    add(found, last.slice(0, last.length - bracket[0].length));
    return phrase(found, "", first.marks, start - bracket[0].length, first.end);
  }
  return phrase(found, "", first.marks, start, first.end);
}

function places(found, at, name) {
  const before = sticky(BEFORE_PLACES, found.text, at);
  return before && placesFrom(found, at + before[0].length, name, before[1] !== "" || null);
}

/** The places from `at` on. `listed`: whether they stand in brackets; null where only their name holds them together. */
function placesFrom(found, at, name, listed) {
  const { text, over } = found;
  const marks = [];
  let end = at;
  for (let next = at; ;) {
    const place = sticky(PLACE, text, next);
    if (!place) break;
    const whole = /<\/[a-z]+>$/i.test(place[0]);
    const numbers = place[2].match(NUMBER)?.map(Number) ?? [];
    const complete = numbers.length >= (place[1].toLowerCase() === "box" ? 4 : 2);
    const last = next + place[0].length === text.length;
    if (!whole && !complete && !last) break; // words in a tag: the tag alone goes
    const kept = whole || last ? place[0] : place[0].replace(/[\s,;:，；、：([（]+$/, "");
    if (whole || (complete && over)) marks.push(...marksOf(place[1].toLowerCase(), numbers, name));
    end = next + kept.length;
    const between = listed === false ? null : sticky(BETWEEN, text, end);
    if (!between) break;
    next = end + between[0].length;
  }
  if (end === at) return null;
  const closing = listed ? sticky(END, text, end) : null;
  if (closing) return { marks, end: end + closing[0].length, closed: true };
  const unsure = listed && !over ? sticky(UNSURE_IN_LIST, text, end)?.[0].length ?? 0 : 0;
  return { marks, end: end + unsure, closed: unsure > 0 || (listed === true && end === text.length) };
}

function marksOf(kind, numbers, name) {
  const marks = [];
  const step = kind === "box" ? 4 : 2;
  for (let at = 0; at + step <= numbers.length; at += step) {
    const [x, y, toX = x, toY = y] = numbers.slice(at, at + step);
    marks.push({ number: 0, name, kind, left: Math.min(x, toX), top: Math.min(y, toY), right: Math.max(x, toX), bottom: Math.max(y, toY) });
  }
  return marks;
}

/** Coordinates are shares; where numbers are too large for that, they count thousandths. */
function perThousand(marks) {
  const large = (one) => Math.max(one.right, one.bottom) > 1.5;
  const counts = marks.some(large);
  for (const one of marks) {
    const sides = [one.left, one.top, one.right, one.bottom];
    const scale = counts && (large(one) || sides.every(Number.isInteger)) ? 1000 : 1;
    [one.left, one.top, one.right, one.bottom] = sides.map((side) => (Math.abs(side / scale - 0.5) > 0.6 ? NaN : Math.min(1, Math.max(0, side / scale))));
  }
}

/** Whether it lies in the picture: a little beyond its edge is at its edge, all else is nowhere. */
function inside(mark) {
  return mark.kind === "point" ? mark.left >= 0 && mark.top >= 0 : mark.right > mark.left && mark.bottom > mark.top;
}

function phrase(found, words, marks, from, to) {
  const one = { id: found.phrases.length, words, marks, source: found.text.slice(from, to) };
  found.parts.push(one);
  found.phrases.push(one);
  found.marks.push(...marks);
  return to;
}

function sticky(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}
