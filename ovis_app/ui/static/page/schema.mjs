// What is kept, record by record: which fields there are, of which version, and how older ones are read.
// Pure. Whatever comes out of a browser's store, or out of a file, goes through here: what is broken is left out, and said.

import * as pasted from "./pasted.mjs";
import { chosen } from "./sampling.mjs";

/** Of the database. A browser refuses to open one of a later version, so a page that is older leaves it alone. */
export const VERSION = 1;
/** Of one record. A reader mends every older one, field by field, and takes a newer one as far as it understands it. */
export const SCHEMA = 1;
export const LONGEST_TITLE = 80;
export const LONGEST_TEXT = 1_000_000; // characters of one message, as the server takes of all together
export const LONGEST_REASON = 2000;
/** The conversation of examples that stand before new chats: never listed. */
export const EXAMPLES = "examples";

const MOST_FIELDS = 60;
const MOST_FILES = 256; // of one message
const LONGEST_NAME = 300;
const FIGURE_NAME = /^images\/[\w.-]{1,80}$/; // as the server names what it cut out of a page
const SENTENCES = ["remarks", "notes"]; // of figures, which are numbers otherwise
const FINISHES = ["end", "length", "stopped", "error", "cut"];
const text = (value) => (typeof value === "string" ? value : "");
const number = (value, otherwise) => (Number.isFinite(value) ? value : otherwise);
const object = (value) => (value && typeof value === "object" && !Array.isArray(value) ? value : null);
const id = (value) => (typeof value === "string" && /^[\w.-]{1,100}$/.test(value) ? value : null);
const list = (value) => (Array.isArray(value) ? value : []);
const long = (value) => text(value).slice(0, LONGEST_TEXT);

/** A message as it is used, or null where nothing can be made of the record. `lost` marks one whose words are gone but
 * whose place in the tree is known, so that what was said after it stays in reach. */
export function message(record) {
  const given = object(record);
  const own = id(given?.id);
  const conversation = id(given?.conversation);
  if (!own || !conversation) return null;
  const role = given.role === "user" || given.role === "assistant" ? given.role : null;
  const whole = role !== null && typeof given.text === "string";
  return {
    schema: SCHEMA,
    id: own,
    conversation,
    parent: id(given.parent),
    role: role ?? "assistant",
    created: number(given.created, 0),
    text: long(given.text),
    thinking: long(given.thinking),
    files: list(given.files).slice(0, MOST_FILES).map(file).filter(Boolean),
    pasted: pasted.kept(given.pasted),
    detail: scalars(given.detail, (value) => Number.isFinite(value) || typeof value === "boolean"),
    wants: wants(given.wants),
    asked: object(given.asked) ? scalars(given.asked, setting) : null, // the settings that an answer was asked for with
    model: text(given.model).slice(0, LONGEST_NAME), // whose answer it is
    edited: given.edited === true, // by hand: nobody's words but the person's
    example: given.example === true, // stands before a chat to show how answers are meant
    feedback: feedback(given.feedback),
    error: text(given.error),
    finish: FINISHES.includes(given.finish) ? given.finish : null,
    stats: object(given.stats) ? scalars(given.stats, figure) : null,
    by: text(given.by),
    touched: number(given.touched, 0),
    lost: !whole || given.lost === true,
  };
}

/** How a message names one of its files. */
export function file(given) {
  const hash = typeof given?.hash === "string" && /^[0-9a-f]{64}$/.test(given.hash) ? given.hash : null;
  if (!hash) return null;
  const kind = given.kind === "video" ? "video" : "image";
  const size = sizeOf(given.size);
  const detail = kind === "video" ? chosen(given.detail) : null; // which moments of it are looked at
  const from = source(given.source);
  return {
    hash, name: text(given.name).slice(0, LONGEST_NAME) || "file", kind,
    ...(kind === "video" && given.moves === true ? { moves: true } : {}), ...(size ? { size } : {}), ...(detail ? { detail } : {}), ...(from ? { source: from } : {}),
  };
}

/** The files that a message's or a conversation's record names, and the documents that those are pages of. */
export function hashesOf(record) {
  return [...list(record?.files), ...list(record?.draft?.files)].flatMap((one) => [one?.hash, one?.source?.hash]).filter(Boolean);
}

/** Of which document a picture is a page, so that others can be chosen; null where it is none. */
function source(given) {
  const hash = typeof given?.hash === "string" && /^[0-9a-f]{64}$/.test(given.hash) ? given.hash : null;
  if (!hash || !Number.isInteger(given.page) || given.page < 1) return null;
  const dpi = Number.isInteger(given.dpi) ? { dpi: given.dpi } : {};
  return { hash, name: text(given.name).slice(0, LONGEST_NAME) || "file", page: given.page, ...dpi };
}

/** Width and height, and of a clip how many frames, where a record has them. */
export function sizeOf(given) {
  return [2, 3].includes(list(given).length) && given.every((one) => Number.isInteger(one) && one > 0) ? given.slice() : null;
}

/** Of an object's fields those whose values are as `fits` says: what is drawn trusts that a number is one. */
function scalars(given, fits) {
  return Object.fromEntries(Object.entries(object(given) ?? {}).slice(0, MOST_FIELDS).filter(([name, value]) => fits(value, name)));
}

const figure = (value, name) => Number.isFinite(value) || (name === "engine" && typeof value === "string") || (Array.isArray(value)
  && value.every(SENTENCES.includes(name) ? (one) => typeof one === "string" : Number.isFinite));
const setting = (value, name) => typeof value === "boolean" || Number.isFinite(value) || (name === "system" && typeof value === "string" && value.length <= LONGEST_TEXT);

function feedback(given) {
  return typeof given?.good === "boolean" ? { good: given.good, reason: text(given.reason).slice(0, LONGEST_REASON) } : null;
}

function wants(given) {
  const kept = {};
  for (const name of ["thinking", "boxes"]) if (typeof given?.[name] === "boolean") kept[name] = given[name];
  return kept;
}

/** What a tab put aside when it went: settings, unless the model `name` isn't theirs, and an edit. */
export function aside(written, name) {
  let given = null;
  try { given = object(JSON.parse(written)); } catch { /* it was another's */ }
  return { settings: given?.model === name ? scalars(given?.settings, setting) : {}, edit: draft(given?.edit) };
}

/** What stands in a box. */
function draft(given) {
  const own = object(given) ?? {};
  return { text: text(own.text), files: list(own.files).map(file).filter(Boolean), pasted: pasted.kept(own.pasted), editing: id(own.editing) };
}

/** A conversation's own record, or null. */
export function conversation(record) {
  const given = object(record);
  const own = id(given?.id);
  if (!own) return null;
  return {
    schema: SCHEMA,
    id: own,
    created: number(given.created, 0),
    changed: number(given.changed, number(given.created, 0)),
    title: text(given.title).slice(0, LONGEST_TITLE),
    pinned: given.pinned === true,
    deleted: number(given.deleted, 0), // when, until it is gone for good
    model: text(given.model).slice(0, LONGEST_NAME), // that answered last
    leaf: id(given.leaf),
    settings: scalars(given.settings, setting),
    draft: draft(given.draft),
  };
}

/** A file's record, or null where its bytes are gone. */
export function bytes(record) {
  const blob = record?.blob;
  const hash = file(record)?.hash;
  if (!hash || !(blob instanceof Blob) || blob.size === 0) return null;
  return { schema: SCHEMA, hash, blob, shown: record.shown instanceof Blob ? record.shown : null };
}

/** What was read of a page (a picture's number is 0), or null. */
export function pageRead(given) {
  if (!Number.isInteger(given?.page) || given.page < 0 || typeof given.text !== "string") return null;
  const figures = list(given.figures).filter((one) => typeof one?.name === "string" && FIGURE_NAME.test(one.name) && one.blob instanceof Blob);
  return {
    page: given.page, file: file(given.file), text: long(given.text), part: long(given.part), finish: "end", error: "",
    notes: list(given.notes).filter((one) => typeof one === "string"),
    figures: figures.map(({ name, blob }) => ({ name, blob })),
    model: text(given.model).slice(0, LONGEST_NAME),
    stats: object(given.stats) ? scalars(given.stats, figure) : null,
  };
}

/** What can be used of these records, and how many were left out or lost their words. */
export function usable(records, read) {
  const good = [];
  let broken = 0;
  for (const record of records) {
    let one = null;
    try {
      one = read(record);
    } catch { /* a getter that throws, in a file from elsewhere */ }
    if (one) good.push(one);
    if (!one || (one.lost && !record.lost)) broken += 1;
  }
  return { good, broken };
}

/** The stores of the database, made or mended on the way from an older version to this one. */
export function upgrade(database, from) {
  if (from < 1) {
    database.createObjectStore("conversations", { keyPath: "id" });
    database.createObjectStore("messages", { keyPath: "id" }).createIndex("conversation", "conversation");
    database.createObjectStore("files", { keyPath: "hash" });
  }
}

/** What a conversation is called until somebody names it: the first words that were asked. */
export function titleOf(question, files) {
  const words = question.replace(/\s+/g, " ").trim();
  const title = words || files.map((one) => one.name).join(", ");
  return title.length > LONGEST_TITLE ? `${title.slice(0, LONGEST_TITLE - 1)}…` : title;
}
