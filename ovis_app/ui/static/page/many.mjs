// Many questions of a table or about many files: what each row asks, where it stands, and all of them as tables to take
// along, with the fields and words of `ovis batch`.
// Pure. Reading tables is the server's; refuses to know who answers, and where rows are kept.

import { later } from "./i18n.mjs";

/** @typedef {{role: string, text: string, files: string[], places?: (number | null)[]}} Turn
 * @typedef {{place: number, id: string, prompt: string, turns: Turn[], system?: string, pages?: string, status: "waiting" | "asked" | "answered" | "failed",
 *   text?: string, thinking?: string, finish?: string | null, error?: string, stats?: any, data?: any, seconds?: number}} Row */

const TABLE = /\.(?:csv|tsv|jsonl|ndjson|json)$/i;
const LATEST = 20; // answers by which the time is told that the others will take
const FIELDS = ["id", "prompt", "media", "text", "thinking", "finish", "error", "stats"];

/** What somebody gave: the table, the files to ask about, and what is neither. @param {{name: string, blob: Blob}[]} chosen */
export function sorted(chosen) {
  const seen = ({ name, blob }) => !name.split("/").at(-1).startsWith(".") && /^(?:image|video)\/|^application\/pdf$/.test(blob.type);
  const tables = chosen.filter(({ name }) => TABLE.test(name));
  const files = chosen.filter(seen);
  return { table: tables[0] ?? null, files, leftOut: chosen.filter((one) => one !== tables[0] && !files.includes(one)).map((one) => one.name) };
}

/** A row as the server read it, not asked yet; one that can't be asked has failed already. @returns {Row} */
export function begun(read, place) {
  const row = { place, id: read.id, prompt: read.prompt, turns: read.turns ?? [], system: read.system ?? "", pages: read.pages ?? "" };
  return read.problem ? { ...row, status: "failed", error: read.problem, finish: "error" } : { ...row, status: "waiting" };
}

/** The names of a row's files, each once. @param {Row} row */
export function filesOf(row) {
  return [...new Set(row.turns.flatMap((one) => one.files))];
}

/** A row's messages, as a request has them, and the places of their files; `found` has the files of a name: one, or the
 * pages of a document. `wanted` is said behind the question. @param {Row} row */
export function pathOf(row, found, { wanted = "", detail = {} } = {}) {
  const path = row.turns.map((turn, number) => {
    const files = turn.files.map((name) => found.get(name));
    const put = placed(turn, files.map((one) => one.length));
    const last = number === row.turns.length - 1;
    const text = last && wanted ? [put.text, wanted].filter((one) => one.trim()).join("\n\n") : put.text;
    return { message: { role: turn.role, text, files: files.flat(), pasted: [], wants: {}, ...(last ? { detail } : {}) }, places: put.places };
  });
  const places = path.flatMap((one) => one.places);
  return { messages: path.map((one) => one.message), places: places.some((one) => one !== null) ? places : [] };
}

/** A text with so many files at each of its places, a line each. Places count characters as the server does. */
function placed({ text, places }, counts) {
  if (!places) return { text, places: counts.flatMap((count) => Array(count).fill(null)) };
  const characters = [...text];
  const [put, found] = [[], []];
  let done = 0;
  for (const [number, place] of places.entries()) {
    const end = Math.max(place ?? done, done);
    if (place !== null) put.push(...characters.slice(done, end));
    if (place !== null) done = end;
    for (let one = 0; one < counts[number]; one += 1) {
      if (one && place !== null) put.push("\n");
      found.push(place === null ? null : put.length);
    }
  }
  return { text: [...put, ...characters.slice(done)].join(""), places: found };
}

/** How many rows there are of each kind, and how many seconds the rest may take, where that can be told. */
export function tally(rows) {
  const count = (status) => rows.filter((one) => one.status === status).length;
  const took = rows.filter((one) => one.seconds > 0).sort((one, other) => other.ended - one.ended).slice(0, LATEST).map((one) => one.seconds);
  const [answered, failed] = [count("answered"), count("failed")];
  const left = rows.length - answered - failed;
  const seconds = took.length && left ? left * (took.reduce((sum, one) => sum + one, 0) / took.length) : null;
  return { all: rows.length, answered, failed, left, seconds };
}

/** What is asked again from its beginning. @param {Row} row @returns {Row} */
export function anew({ place, id, prompt, turns, system, pages }) {
  return { place, id, prompt, turns, system, pages, status: "waiting" };
}

/** What came of rows, a line each as `ovis batch` writes them. */
export function jsonLines(rows, { data = false } = {}) {
  return ended(rows).map((one) => `${JSON.stringify(recordOf(one, data))}\n`).join("");
}

/** The same as a table of texts, its head first. @returns {string[][]} */
export function tableOf(rows, { data = false } = {}) {
  const fields = data ? [...FIELDS, "data"] : FIELDS;
  const written = (name, value) => {
    if (name === "media") return value.join(";");
    if (name === "stats" || name === "data") return value === null ? "" : JSON.stringify(value);
    return value ?? "";
  };
  return [fields, ...ended(rows).map((one) => { const record = recordOf(one, data); return fields.map((name) => written(name, record[name])); })];
}

function ended(rows) {
  return rows.filter((one) => one.status === "answered" || one.status === "failed");
}

function recordOf(row, data) {
  const { id, prompt, text = "", thinking = "", finish = null, error = "", stats = null } = row;
  return { id, prompt, media: row.turns.flatMap((one) => one.files), text, thinking, finish, error, stats, ...(data ? { data: row.data ?? null } : {}) };
}

/** A table as the server reads it: UTF-8, or with its mark another of Unicode's; what was written before those is told
 * by `decoded`, and a sentence says so. @param {Blob} blob */
export async function unicode(blob, name, { decoded, old }) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const marked = [[0xff, 0xfe], [0xfe, 0xff], [0, 0]].some(([one, other]) => bytes[0] === one && bytes[1] === other);
  if (marked) return { blob, note: "" };
  const text = decoded(bytes, old);
  const written = new TextEncoder().encode(text);
  const same = written.length === bytes.length - (bytes[0] === 0xef && bytes[1] === 0xbb ? 3 : 0) && !text.includes("\ufffd");
  if (same) return { blob, note: "" };
  return { blob: new Blob([written]), note: later("“{name}” isn't UTF-8 and was read as {encoding}: look whether the letters below are right.", { name, encoding: old === "gb18030" ? "GB 18030" : "Windows-1252" }) };
}
