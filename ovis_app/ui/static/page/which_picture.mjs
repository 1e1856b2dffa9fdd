// On which of a question's pictures an answer's boxes lie. Models number pictures as the prompt does, "Image 2", and say
// so in words near a box, or not at all.
// Pure. Knows words for pictures in English and Chinese; refuses to know what lies in them.

const ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"];
const CHINESE = "一二三四五六七八九十";
const NOUN = "(?:image|picture|photo|figure|page)";
const MENTION = new RegExp(
  `\\b${NOUN}s?\\s{0,4}(?:no\\.?|number|#)?\\s{0,4}(\\d{1,3})\\b|\\b(${ORDINALS.join("|")})\\s{1,4}${NOUN}\\b|\\b(left|right)(?:most)?\\s{1,4}${NOUN}\\b`
  + `|第\\s{0,4}([${CHINESE}]|\\d{1,3})\\s{0,4}[张幅个页]|(?:图片?|图像)\\s{0,4}(\\d{1,3}|[${CHINESE}])`, "gi");
const SENTENCE = /[.!?。！？;；\n]\s{0,8}/g;
const LONG = 3; // times its other side: a longer picture is read in pieces where it is split, as media/split.py has it
const NEAR = 300; // characters around a box in which its picture may be named

/**
 * The pictures of a path that can be drawn on, in the order of their questions. `index` is a file's place in its question,
 * `count` how many files that has: a prompt numbers them where there are several.
 * @param {any[]} path
 */
export function picturesOf(path) {
  return path.flatMap((message) => message.files.map((file, index) => ({ message: message.id, file, index, count: message.files.length })))
    .filter(({ file }) => file.kind === "image");
}

/**
 * For each mark of an answer the place of its picture in `pictures`; none where the question is about a clip, or about
 * nothing; nor where a picture was read in pieces, since a box lies within one of them, and which one isn't told. What
 * isn't said lies on the first picture of the latest question that has any, and is `unsure`.
 * @param {import("./boxes.mjs").Reading} reading
 * @param {any[]} path up to the answer
 * @param {Record<string, any> | null} told the settings that it was asked for with
 * @returns {{pictures: any[], places: Map<number, number>, unsure: boolean}} `places` by the numbers of marks
 */
export function assigned(reading, path, told = {}) {
  const asked = path.filter((one) => one.files.length).at(-1);
  const pictures = picturesOf(path);
  const own = pictures.map((one, place) => [one, place]).filter(([one]) => one.message === asked?.id);
  const places = new Map();
  const split = asked === path.at(-1) ? told?.split ?? asked?.detail?.split : asked?.detail?.split;
  const whole = (one) => one.kind === "image" && !(split === true && isLong(one.size ?? [1, 1]));
  if (!own.length || !asked.files.every(whole)) return { pictures: [], places, unsure: false };
  const question = numbers(path.findLast((one) => one.role === "user")?.text ?? "", own.length);
  const only = own.length === 1 ? 1 : new Set(question).size === 1 ? question[0] : null;
  let unsure = false;
  for (const [phrase, around] of surroundings(reading)) {
    const said = own.length === 1 ? 1 : nearest(phrase.words, around, own.length) ?? only;
    unsure ||= said === null && phrase.marks.length > 0;
    for (const mark of phrase.marks) places.set(mark.number, own[(said ?? 1) - 1][1]);
  }
  return { pictures, places, unsure };
}

const isLong = ([width, height]) => Math.max(width, height) > LONG * Math.min(width, height);

/** Each phrase with the words before it, and those up to the next. */
function* surroundings(reading) {
  let before = "";
  for (const [place, part] of reading.parts.entries()) {
    if (typeof part === "string") { before = (before + part).slice(-4 * NEAR); continue; }
    const after = reading.parts.slice(place + 1, place + 2).filter((one) => typeof one === "string").join("");
    yield [part, { before, after: after.slice(0, NEAR) }];
    before = (before + part.words).slice(-4 * NEAR);
  }
}

/** Which picture the words near a phrase name: its own, those right behind it, those before it in its sentence, or the
 * last ones before. */
function nearest(words, { before, after }, count) {
  const [behind] = after.split(SENTENCE);
  const directly = /^[\s,，]{0,4}(?:(?:is|are|which|that|lies|located|shown|visible|appears?)\s{1,4}){0,3}(?:in|on|of|from|at|within|在|位于|于)\s{0,4}/i.exec(behind);
  const sentence = before.split(SENTENCE).at(-1);
  const places = [words, directly ? behind : "", sentence];
  for (const [index, one] of places.entries()) {
    const found = numbers(one, count);
    if (found.length) return index === 1 ? found[0] : found.at(-1);
  }
  return numbers(before, count).at(-1) ?? null;
}

/** The pictures that a text names, by number from 1, in its order. */
function numbers(text, count) {
  const found = [...text.slice(-4 * NEAR).matchAll(MENTION)].map(([, digits, ordinal, side, chinese, figure]) => {
    if (ordinal) return ORDINALS.indexOf(ordinal.toLowerCase()) + 1;
    if (side) return count === 2 ? (side.toLowerCase() === "left" ? 1 : 2) : 0;
    const said = digits ?? chinese ?? figure;
    return CHINESE.includes(said) ? CHINESE.indexOf(said) + 1 : Number(said);
  });
  return found.filter((one) => one >= 1 && one <= count);
}
