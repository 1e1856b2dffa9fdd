// What is kept, record by record: which fields there are, of which version, and how older ones are read.
// Pure. Whatever comes out of a browser's store, or out of a file, goes through here: what is broken is left out, and said.

/** Of the database. A browser refuses to open one of a later version, so a page that is older leaves it alone. */
export const VERSION = 1;
/** Of one record. A reader mends every older one, field by field, and takes a newer one as far as it understands it. */
export const SCHEMA = 1;
export const LONGEST_TITLE = 80;
export const LONGEST_REASON = 2000;
const MOST_SETTINGS = 60;
/** The conversation of examples that stand before new chats: never listed. */
export const EXAMPLES = "examples";

const FINISHES = ["end", "length", "stopped", "error", "cut"];
const text = (value) => (typeof value === "string" ? value : "");
const number = (value, otherwise) => (Number.isFinite(value) ? value : otherwise);
const object = (value) => (value && typeof value === "object" && !Array.isArray(value) ? value : null);
const id = (value) => (typeof value === "string" && /^[\w.-]{1,100}$/.test(value) ? value : null);
const list = (value) => (Array.isArray(value) ? value : []);

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
    text: text(given.text),
    thinking: text(given.thinking),
    files: list(given.files).map(file).filter(Boolean),
    detail: object(given.detail) ?? {},
    wants: wants(given.wants),
    asked: asked(given.asked), // the settings that an answer was asked for with
    model: text(given.model).slice(0, 200), // whose answer it is
    edited: given.edited === true, // by hand: nobody's words but the person's
    example: given.example === true, // stands before a chat to show how answers are meant
    feedback: feedback(given.feedback),
    error: text(given.error),
    finish: FINISHES.includes(given.finish) ? given.finish : null,
    stats: object(given.stats),
    by: text(given.by),
    touched: number(given.touched, 0),
    lost: !whole || given.lost === true,
  };
}

/** How a message names one of its files. */
export function file(given) {
  const hash = typeof given?.hash === "string" && /^[0-9a-f]{64}$/.test(given.hash) ? given.hash : null;
  if (!hash) return null;
  return { hash, name: text(given.name) || "file", kind: given.kind === "video" ? "video" : "image" };
}

function asked(given) {
  const simple = (value) => typeof value === "boolean" || typeof value === "string" || Number.isFinite(value);
  return object(given) ? Object.fromEntries(Object.entries(given).slice(0, MOST_SETTINGS).filter(([, value]) => simple(value))) : null;
}

function feedback(given) {
  return typeof given?.good === "boolean" ? { good: given.good, reason: text(given.reason).slice(0, LONGEST_REASON) } : null;
}

function wants(given) {
  const kept = {};
  for (const name of ["thinking", "boxes"]) if (typeof given?.[name] === "boolean") kept[name] = given[name];
  return kept;
}

/** A conversation's own record, or null. */
export function conversation(record) {
  const given = object(record);
  const own = id(given?.id);
  if (!own) return null;
  const draft = object(given.draft) ?? {};
  return {
    schema: SCHEMA,
    id: own,
    created: number(given.created, 0),
    changed: number(given.changed, number(given.created, 0)),
    title: text(given.title).slice(0, LONGEST_TITLE),
    leaf: id(given.leaf),
    settings: object(given.settings) ?? {},
    draft: { text: text(draft.text), files: list(draft.files).map(file).filter(Boolean), editing: id(draft.editing) },
  };
}

/** A file's record, or null where its bytes are gone. */
export function bytes(record) {
  const blob = record?.blob;
  const hash = file(record)?.hash;
  if (!hash || !(blob instanceof Blob) || blob.size === 0) return null;
  return { schema: SCHEMA, hash, blob, shown: record.shown instanceof Blob ? record.shown : null };
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
