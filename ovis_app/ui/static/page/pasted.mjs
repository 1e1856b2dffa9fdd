// Long texts that were pasted: they go along with a question as text, and stand beside it in place of filling the box.
// Pure. Refuses to know boxes and questions.

export const LONG = 4000; // characters of a paste that stands beside the question
const MOST = 16; // of one question
const LONGEST = 1_000_000; // characters of one, as of a message

/** Whether a paste is so long that nobody wants it in the box. */
export function isLong(text) {
  return text.length > LONG;
}

/** Those of a record of any age. @returns {string[]} */
export function kept(given) {
  return (Array.isArray(given) ? given : []).filter((one) => typeof one === "string" && one.trim()).slice(0, MOST).map((one) => one.slice(0, LONGEST));
}

/** All that a message says: what was pasted, then what was typed of it. */
export function whole({ text, pasted = [] }) {
  return [...pasted, text].filter((one) => one.trim()).join("\n\n") || text;
}
