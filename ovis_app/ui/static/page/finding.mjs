// Where words stand in a text, for whoever looks for them. Pure. Case doesn't matter, nor how words are set apart.

const MOST = 2000; // places that are found

/** From where to where each stands. @param {string} text @param {string} words @returns {[number, number][]} */
export function places(text, words) {
  const parts = words.trim().split(/\s+/).filter(Boolean).map((one) => one.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
  if (!parts.length) return [];
  const found = [];
  for (const { index, 0: whole } of text.matchAll(new RegExp(parts.join("\\s+"), "giu"))) {
    if (found.push([index, index + whole.length]) >= MOST) break;
  }
  return found;
}

/** The pages of a conversation with what was said of them: a picture of a question, and an answer to it.
 * @param {any[]} path @param {Map<string, any>} messages @param {string} id of the answer that is opened
 * @returns {{answer: any, picture: {message: string, file: any, index: number, count: number}}[]} */
export function sheetsOf(path, messages, id) {
  const answers = path.filter((one) => one.role === "assistant" && one.text && one.finish !== null);
  const known = answers.some((one) => one.id === id) ? answers : [messages.get(id)].filter(Boolean);
  return known.flatMap((answer) => {
    const files = messages.get(answer.parent)?.files ?? [];
    return files.map((file, index) => ({ answer, picture: { message: answer.parent, file, index, count: files.length } }))
      .filter(({ picture }) => picture.file.kind === "image");
  });
}
