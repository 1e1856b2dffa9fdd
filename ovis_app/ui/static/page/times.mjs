// Moments of a clip and pages of a document that an answer's words name: "at 3.2 s", "0:03", "第3.2秒", "page 3".
// Pure. Knows how people write both in English and Chinese; refuses to know clips, documents and where they stand.

const NUMBER = "(?<![\\w.,:/-])\\d{1,5}(?:\\.\\d{1,3})?";
const CLOCK = "(?<![\\w.,:/-])\\d{1,2}:[0-5]\\d(?::[0-5]\\d)?(?:\\.\\d{1,3})?(?![\\d:])";
const UNIT = "(?:\\s{0,2}-?\\s{0,2})(?:seconds?|secs?\\.?|s)(?![\\w-])";
const MOMENTS = [
  // A length, "for 3 seconds" or "a 3 s clip", names no moment: what does, says so before or after.
  new RegExp(`\\b(?:at|around|about|from|to|until|by|after|before|between|and|second|t\\s?=|mark)\\s{1,3}(?:the\\s{1,3})?(?:about\\s{1,3}|around\\s{1,3})?(?<value>${NUMBER})${UNIT}`, "gi"),
  new RegExp(`(?<value>${NUMBER})${UNIT}(?=\\s{1,3}(?:into|mark)\\b)`, "gi"),
  new RegExp(`\\bseconds?\\s{1,3}(?<value>${NUMBER})(?![\\w.:-])`, "gi"),
  new RegExp(`[(\\[@]\\s{0,2}(?<value>${NUMBER})${UNIT}\\s{0,2}(?=[)\\]])`, "gi"),
  new RegExp(`(?<value>${CLOCK})(?!\\s{0,2}[ap]\\.?m)`, "gi"),
  /(?:第|在|于|到|至|从)\s{0,2}(?:约|大约)?\s{0,2}(?<value>\d{1,5}(?:\.\d{1,3})?)\s{0,2}秒/g,
];
const PAGES = [/\b(?:pages?|p\.)\s{0,3}(?<value>\d{1,6})(?![\w.])/gi, /第\s{0,2}(?<value>\d{1,6})\s{0,2}页/g];
const LONGEST = 20_000; // characters of one run of words that are looked at

/**
 * What a text names, in order, none within another. `value` is seconds, or a page's number.
 * @param {string} text @param {{moments?: boolean, pages?: boolean}} wanted
 * @returns {{from: number, to: number, kind: "moment" | "page", value: number}[]}
 */
export function named(text, { moments = true, pages = true }) {
  if (text.length > LONGEST) return [];
  const found = [];
  for (const [kind, patterns] of [["moment", moments ? MOMENTS : []], ["page", pages ? PAGES : []]]) {
    for (const pattern of patterns) for (const one of text.matchAll(pattern)) {
      const from = kind === "moment" ? one.index + one[0].indexOf(one.groups.value) : one.index;
      found.push({ from, to: one.index + one[0].length, kind, value: valueOf(one.groups.value) });
    }
  }
  found.sort((one, other) => one.from - other.from || other.to - one.to);
  return found.filter((one, place) => !found.slice(0, place).some((before) => before.to > one.from));
}

/** 3.2, 0:03 or 1:02:03 in seconds. */
function valueOf(text) {
  return text.split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
}
