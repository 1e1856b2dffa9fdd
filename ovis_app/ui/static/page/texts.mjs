// Files that hold text: read in the browser, and sent along with a question as text that was pasted is.
// Pure. Knows how text files and Word documents are written; what is neither is somebody else's.

import { later } from "./i18n.mjs";
import { contents, ZipError } from "./zip.mjs";

const ENDINGS = /\.(?:txt|md|markdown|rst|csv|tsv|json|jsonl|xml|ya?ml|toml|ini|cfg|log|tex|bib|srt|vtt|py|js|mjs|ts|c|h|cpp|cc|hpp|cs|java|kt|go|rs|rb|php|swift|sh|sql|r|html?|css)$/i;
const WORD = /\.docx$/i;
const TYPES = /^text\/|^application\/(?:json|xml|x-yaml|x-sh|javascript)$/;
const MOST_BYTES = 16 * 2 ** 20;
const PIECES = /<w:t(?:\s[^>]*)?>([^<]*)<\/w:t>|<w:(tab|br|cr)\b[^>]*\/>|<(\/?)w:(tr|tc|p)\b[^>]*?(\/?)>/g;
const ENTITIES = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

/** What a file says, with its name above; null where it is no text file by its name and what its sender says of it.
 * Throws an Error with a sentence where it can't be read. `old` is how text is written that isn't UTF-8.
 * @param {Blob} blob @param {string} name @returns {Promise<string | null>} */
export async function textOf(blob, name, { old = "windows-1252" } = {}) {
  const word = WORD.test(name);
  if (!word && !ENDINGS.test(name) && !TYPES.test(blob.type)) return null;
  if (blob.size > MOST_BYTES) throw new Error(later("“{name}” is too long a text: copy out the part that matters, and paste it.", { name }));
  const text = (word ? await wordText(blob, name) : decoded(new Uint8Array(await blob.arrayBuffer()), old)).trim();
  if (!text) throw new Error(later("“{name}” holds no text.", { name }));
  if (text.includes("\0")) throw new Error(later("“{name}” is no text, whatever its name says.", { name }));
  return `${name}\n\n${text}`;
}

/** Bytes as text: UTF-8, or with its mark UTF-16; else as it was written before those. */
export function decoded(bytes, old) {
  const mark = bytes[0] * 256 + bytes[1];
  if (mark === 0xfffe || mark === 0xfeff) return new TextDecoder(mark === 0xfffe ? "utf-16le" : "utf-16be").decode(bytes);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder(old).decode(bytes);
  }
}

async function wordText(blob, name) {
  try {
    const document = (await contents(blob)).get("word/document.xml");
    if (document) return wordsOf(await (await document.read(MOST_BYTES)).text());
  } catch (error) {
    if (!(error instanceof ZipError)) throw error;
  }
  throw new Error(later("“{name}” can't be read as a Word document: save it again, or paste its text.", { name }));
}

/** The text of a Word document's body: a line for a paragraph, a table's row as cells between bars. */
export function wordsOf(xml) {
  const lines = [];
  let [line, row, cell] = ["", null, null];
  for (const [, words, mark, ends, part, empty] of xml.matchAll(PIECES)) {
    if (words !== undefined) line += plainOf(words);
    else if (mark) line += mark === "tab" ? "\t" : "\n";
    else if (empty && part !== "p") continue;
    else if (part === "p" && (ends || empty)) {
      if (cell) cell.push(line);
      else lines.push(line);
      line = "";
    } else if (part === "tc") {
      if (ends) row?.push((cell ?? []).join(" ").replace(/\s+/g, " ").replaceAll("|", "\\|").trim());
      cell = ends ? null : [];
    } else if (part === "tr") {
      if (ends && row) lines.push(`| ${row.join(" | ")} |`);
      row = ends ? null : [];
    }
  }
  return lines.concat(line || []).join("\n");
}

function plainOf(words) {
  return words.replace(/&(?:#(\d{1,7})|#x([0-9a-fA-F]{1,6})|(\w{2,4}));/g, (all, ten, hex, name) => {
    if (name) return ENTITIES[name] ?? all;
    const code = ten ? Number(ten) : parseInt(hex, 16);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : "";
  });
}
