// Conversations as a file: a zip of `conversation.json`, which has all versions of all messages with settings and model,
// and of the media that they name, by their SHA-256, with the documents of which pictures are pages. What was exported
// replays to the same prompt. Of many conversations the rest stands in `conversation-2.json` and so on, in a file of
// version 2, so that none of them holds the page up while it is written or read.
// Pure. Whatever is read was written by a stranger: it becomes records by schema.mjs, under ids of its own; a file is one
// that a message names, that is what its hash says, and that is a picture or a clip, or a PDF whose pages they are. What
// isn't is left out and counted; a document that isn't there is missed once other pages of it are wanted.

import { isDocument, mediaType } from "./media_types.mjs";
import * as schema from "./schema.mjs";
import { ZipError, contents, zipped } from "./zip.mjs";

export const ENDING = ".ovis.zip";
export const FORMAT = "ovis-conversations";
export const VERSION = 2;
const MANIFEST = "conversation.json";
const manifestName = (place) => (place ? `conversation-${place + 1}.json` : MANIFEST);
const MEDIA = /^media\/([0-9a-f]{64})(?:\.\w{1,8})?$/;
const PDF = { ending: "pdf", type: "application/pdf" };
const MEGABYTE = 2 ** 20;
export const MOST_JSON = 24 * MEGABYTE;
const PART = 4 * MEGABYTE; // characters of conversations that are written into one
const AROUND = 600; // characters of a message beside its words
const MOST_TOLD = 256 * MEGABYTE; // of all parts
const MOST_FILE = 512 * MEGABYTE;
export const MOST_UNPACKED = 128 * MEGABYTE; // of all contents that were packed smaller; our own aren't
const MOST_CONVERSATIONS = 5000;
const MOST_MESSAGES = 100_000;

/** Why a file can't be read, by a word that whoever asks has a sentence for. */
export class ArchiveError extends Error {
  /** @param {"damaged" | "foreign" | "newer" | "large"} kind */
  constructor(kind) {
    super(kind);
    this.kind = kind;
  }
}

/** The name of a file's copy in an export. */
export function mediaName(hash, ending) {
  return `media/${hash}.${ending}`;
}

/**
 * A file of these conversations.
 * @param {{conversation: any, messages: any[]}[]} library
 * @param {{fileOf: (hash: string) => Promise<{blob: Blob} | null>, app: string, model: {name: string, id: string}, now?: number}} around
 * @returns {Promise<Blob>}
 */
export async function packed(library, { fileOf, app, model, now = Date.now() }) {
  const entries = [];
  const media = [];
  const named = library.flatMap(({ messages }) => messages.flatMap((one) => one.files));
  for (const hash of new Set([...named, ...documentsOf(named)].map((file) => file.hash))) {
    const blob = (await fileOf(hash))?.blob;
    if (!blob) continue; // this browser has lost it
    const { ending, type } = (await mediaType(blob)) ?? (await isDocument(blob) ? PDF : { ending: "bin", type: "" });
    entries.push({ name: mediaName(hash, ending), blob });
    media.push({ hash, name: mediaName(hash, ending), bytes: blob.size, type });
  }
  const parts = inParts(library);
  const manifests = [];
  let size = 0;
  for (const [place, part] of parts.entries()) {
    const about = { format: FORMAT, version: parts.length > 1 ? 2 : 1, app, exported: new Date(now).toISOString(), model, media: place ? [] : media };
    const told = JSON.stringify({ ...about, conversations: part.map(conversationOut) }, null, 1);
    const blob = new Blob([told], { type: "application/json" });
    size += blob.size;
    if (blob.size > MOST_JSON || size > MOST_TOLD) throw new ArchiveError("large");
    manifests.push({ name: manifestName(place), blob });
    await moment();
  }
  return await within(zipped([...manifests, ...entries], { now: new Date(now) }));
}

/** The conversations, as many together as are written and read at once. */
function inParts(library) {
  const parts = [[]];
  let size = 0;
  for (const one of library) {
    const own = one.messages.reduce((sum, said) => sum + about(said), 0);
    if (size && size + own > PART) {
      parts.push([]);
      size = 0;
    }
    parts.at(-1).push(one);
    size += own;
  }
  return parts;
}

/** About how many characters a message takes. */
function about({ text, thinking, pasted }) {
  return [text, thinking, ...(Array.isArray(pasted) ? pasted : [])].reduce((sum, one) => sum + (one?.length ?? 0), AROUND);
}

/** The page does whatever else it has to do. */
const moment = () => new Promise((resolve) => { setTimeout(resolve); });

/** The documents of which files are pages, each once. */
export function documentsOf(files) {
  return [...new Map(files.filter((one) => one.source).map(({ source }) => [source.hash, source])).values()];
}

function conversationOut({ conversation, messages }) {
  const { id, created, changed, title, leaf, settings, model } = conversation;
  const said = messages.map(({ schema: _, conversation: __, by: ___, touched: ____, note: _____, ...rest }) => rest);
  return { id, created, changed, title, leaf, model, settings, messages: said };
}

/**
 * What such a file holds, as records that are new here: read twice, it becomes two.
 * @param {Blob} blob
 * @param {{digest: (blob: Blob) => Promise<string>, newId: () => string, now?: number}} around
 * @returns {Promise<{library: {conversation: any, messages: any[]}[], files: {hash: string, blob: Blob}[], left: {records: number, files: string[]}}>}
 *   `left` are those that were left out: how many records, and the names of files. Raises ArchiveError.
 */
export async function unpacked(blob, { digest, newId, now = Date.now() }) {
  const inside = await within(contents(blob));
  const library = [];
  const left = { records: 0, files: [] };
  let [messages, size] = [0, 0];
  for (let place = 0; !place || inside.has(manifestName(place)); place++) {
    const entry = inside.get(manifestName(place));
    size += entry?.size ?? 0;
    if (size > MOST_TOLD) throw new ArchiveError("large");
    const told = await manifestOf(entry);
    for (const one of told.conversations) {
      const read = conversationIn(one, { newId, now });
      messages += read?.messages.length ?? 0;
      if (library.length >= MOST_CONVERSATIONS || messages > MOST_MESSAGES) throw new ArchiveError("large");
      left.records += read?.broken ?? 1;
      if (read) library.push({ conversation: read.conversation, messages: read.messages });
    }
    if (told.version === 1) break;
  }
  const files = await mediaIn(inside, library, { digest, left });
  return { library, files, left };
}

async function manifestOf(entry) {
  if (!entry) throw new ArchiveError("foreign");
  const text = await (await within(entry.read(MOST_JSON))).text();
  let told;
  try {
    told = JSON.parse(text);
  } catch {
    throw new ArchiveError("damaged");
  }
  if (told?.format !== FORMAT || !Number.isInteger(told.version) || !Array.isArray(told.conversations)) throw new ArchiveError("foreign");
  if (told.version > VERSION) throw new ArchiveError("newer");
  return told;
}

/** A conversation under ids of its own; null where nothing of it can be read. */
function conversationIn(given, { newId, now }) {
  if (!given || typeof given !== "object" || !Array.isArray(given.messages)) return null;
  const own = newId();
  const { good, broken } = schema.usable(given.messages, (one) => schema.message({ ...one, conversation: own }));
  const ids = new Map();
  const kept = good.filter((one) => !ids.has(one.id) && ids.set(one.id, newId()));
  if (!kept.length) return null;
  const growing = new Set(given.messages.filter((one) => one?.finish === null).map((one) => one.id)); // when it was exported
  const messages = kept.map((one) => ({
    ...one, id: ids.get(one.id), parent: ids.get(one.parent) ?? null, by: "", touched: 0,
    finish: one.finish ?? (one.role === "user" || !growing.has(one.id) ? "end" : "cut"),
  }));
  const read = schema.conversation({ ...given, id: own, changed: now, pinned: false, deleted: 0, draft: null });
  const first = messages.find((one) => one.role === "user");
  const title = read.title || (first ? schema.titleOf(first.text, first.files) : "") || "…";
  const cut = given.messages.filter((one) => Math.max(one?.text?.length ?? 0, one?.thinking?.length ?? 0) > schema.LONGEST_TEXT).length;
  return { conversation: { ...read, title, leaf: ids.get(read.leaf) ?? null }, messages, broken: broken + good.length - kept.length + cut };
}

/** The files that messages name and that are what their names say; never one that nobody names. */
async function mediaIn(inside, library, { digest, left }) {
  const named = library.flatMap(({ messages }) => messages.flatMap((one) => one.files));
  const names = new Map();
  for (const file of named) if (!names.has(file.hash)) names.set(file.hash, file.name);
  const documents = new Set(documentsOf(named).map((one) => one.hash));
  const found = [];
  const taken = new Set();
  let unpackable = MOST_UNPACKED;
  for (const [path, entry] of inside) {
    const hash = MEDIA.exec(path)?.[1];
    if (!hash || !(names.has(hash) || documents.has(hash)) || taken.has(hash)) continue;
    const most = entry.stored ? MOST_FILE : Math.min(unpackable, MOST_FILE);
    if (!entry.stored) unpackable -= Math.min(entry.size, unpackable);
    const blob = await entry.read(most).catch(() => null);
    const type = blob && (names.has(hash) ? await mediaType(blob) : await isDocument(blob) && PDF);
    if (!type || await digest(blob) !== hash) continue;
    taken.add(hash);
    found.push({ hash, blob: new Blob([blob], { type: type.type }) });
  }
  left.files.push(...[...names].filter(([hash]) => !taken.has(hash)).map(([, name]) => name));
  return found;
}

/** The same, with what is wrong with a zip file as this module says it. */
async function within(work) {
  try {
    return await work;
  } catch (error) {
    throw error instanceof ZipError ? new ArchiveError(error.kind) : error;
  }
}
