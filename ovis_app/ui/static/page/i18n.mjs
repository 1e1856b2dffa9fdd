// The page's words in the reader's language. English sentences are the keys; a language is a module of them (zh.mjs), and
// one of those that the server says (zh_server.mjs). Pure. Knows no sentence itself; refuses to know who says it.

export const LANGUAGES = { en: "en", zh: "zh-CN" }; // ours, and as HTML has them

const LONGEST = 2000; // characters of a sentence that is looked up
const MOST_PARTS = 40; // of which one is put together
const MOST_TRIES = 300; // of looking up one text and what is in it
const PLACE = /\{[^{}]*\}/g;

let words = {}; // the page's own
let heard = {}; // the server's, and those too
let patterns = []; // of sentences with places
let tries = 0;
let known = new Map(); // what was looked up
let chosen = "en";

/** The sentence in the reader's language, `{name}` filled with `values.name`. One that isn't translated stays English. */
export function t(sentence, values = {}) {
  return filled(words[sentence] ?? sentence, values);
}

/** The sentence in English, for whatever outlives a change of the language: `said` translates it where it is drawn. */
export function later(sentence, values = {}) {
  return filled(sentence, values);
}

/** A whole English sentence, of the server or of `later`, in the reader's language; what isn't known of it stays English. */
export function said(text) {
  if (chosen === "en" || typeof text !== "string" || !text || text.length > LONGEST) return text;
  if (!known.has(text)) {
    if (known.size > 1000) known = new Map();
    tries = MOST_TRIES;
    known.set(text, found(text) ?? inParts(text));
  }
  return known.get(text);
}

/** The language that sentences are in: "en" or "zh". */
export function language() {
  return chosen;
}

/** The language for whoever prefers these, in order, unless they chose one. Pure. */
export function preferred(languages, choice = null) {
  if (Object.hasOwn(LANGUAGES, choice ?? "")) return choice;
  const spoken = (languages ?? []).map((one) => one.toLowerCase().split("-")[0]).find((one) => Object.hasOwn(LANGUAGES, one));
  return spoken ?? "en";
}

/** Speaks this language from now on; what is drawn already has to be drawn again. Resolves once its words are there. */
export async function speak(name) {
  const [own, server] = name === "zh" ? await Promise.all([import("./zh.mjs"), import("./zh_server.mjs")]) : [];
  words = own?.default ?? {};
  heard = { ...words, ...server?.default }; // what is a title to the one may be a state to the other
  patterns = Object.entries(heard).filter(([english]) => english.match(PLACE)).map(pattern).sort((one, other) => other.rank - one.rank);
  known = new Map();
  chosen = own ? "zh" : "en";
}

function filled(sentence, values) {
  return sentence.replace(/\{(\w+)\}/g, (place, name) => (name in values ? String(values[name]) : place));
}

/** A row with places: what stands between them, and how it is ranked: the more of its beginning is its own, the sooner. */
function pattern([english, chinese]) {
  const [between, places] = [english.split(PLACE), english.match(PLACE)];
  return { between, places, chinese, rank: between[0].length * 1000 + between.join("").length };
}

/** What fills the places of a row, or null where the text isn't one. */
function values({ between }, text) {
  const last = between.at(-1);
  if (!text.startsWith(between[0]) || !text.endsWith(last)) return null;
  const filling = [];
  let at = between[0].length;
  for (const part of between.slice(1, -1)) {
    const next = text.indexOf(part, at);
    if (next < 0) return null;
    filling.push(text.slice(at, next));
    at = next + part.length;
  }
  const end = text.length - last.length;
  return end < at ? null : [...filling, text.slice(at, end)];
}

/** The whole of it by one row, or null. A place that is written `{=name}` in Chinese holds something that is translated
 * too, and where that isn't known the row isn't meant. */
function found(text) {
  if (Object.hasOwn(heard, text)) return heard[text];
  if ((tries -= 1) < 0) return null;
  for (const one of patterns) {
    const filling = values(one, text);
    const whole = filling && fill(one, filling);
    if (whole) return whole;
  }
  return null;
}

/** The row in Chinese, or null. What isn't translated is a name or a number: no other fact, and no list and no end
 * of a sentence at the beginning or where the row says next to nothing of its own. */
function fill({ chinese, places, between }, filling) {
  let lacks = false;
  const short = between.join("").trim().length < 5;
  const whole = chinese.replace(/\{(=?)([^{}]*)\}/g, (place, mark, name) => {
    const at = places.indexOf(`{${name}}`);
    const value = filling[at];
    if (mark && value) {
      const own = listed(value, 3) ?? found(value.trim()) ?? listed(value); // a row's last place would take a list's rest
      lacks ||= own === null;
      return own;
    }
    lacks ||= /(^| )·( |$)|\n/.test(value) || ((short || (at === 0 && !between[0])) && /, |[.!?…:;] /.test(value));
    return value;
  });
  return lacks ? null : whole;
}

/** "one, two" where each of them is known. */
function listed(text, least = 2) {
  const parts = text.split(", ");
  if (parts.length < least || parts.length > MOST_PARTS) return null;
  const own = parts.map(found);
  return own.every((one) => one !== null) ? own.join("、") : null;
}

/** Lines, facts in a row, sentences one after another: each by itself, as far as it is known. */
function inParts(text) {
  for (const [between, joined] of [["\n", "\n"], [" · ", " · "], [/(?<=[.!?…:]) (?=[A-Z“])/, ""]]) {
    const parts = text.split(between);
    if (parts.length > 1 && parts.length <= MOST_PARTS) return runs(parts, joined || " ", joined);
  }
  return listed(text) ?? text;
}

/** The longest runs of parts that are known, one after another. */
function runs(parts, between, joined) {
  const all = [];
  for (let from = 0; from < parts.length;) {
    let until = parts.length;
    while (until > from + 1 && found(parts.slice(from, until).join(between)) === null) until -= 1;
    const part = parts.slice(from, until).join(between);
    all.push(found(part) ?? inParts(part));
    from = until;
  }
  return all.reduce((one, other) => one + (joined || (/[。！？…：]$/.test(one) ? "" : " ")) + other);
}
