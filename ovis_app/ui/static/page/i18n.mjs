// The page's words in the reader's language. English sentences are the keys; a language is a module of them (zh.mjs).
// Knows no sentence itself; refuses to know who says it.

let words = {};
let chosen = "en";

/** The sentence in the reader's language, `{name}` filled with `values.name`. One that isn't translated stays English. */
export function t(sentence, values = {}) {
  const said = words[sentence] ?? sentence;
  return said.replace(/\{(\w+)\}/g, (place, name) => (name in values ? String(values[name]) : place));
}

/** The language that sentences are in: "en" or "zh". */
export function language() {
  return chosen;
}

/** Speaks this language from now on; what is drawn already has to be drawn again. Resolves once its words are there. */
export async function speak(name) {
  words = name === "zh" ? (await import("./zh.mjs")).default : {};
  chosen = name === "zh" ? "zh" : "en";
}
