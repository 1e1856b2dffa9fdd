// Zip files: written without compression, read with what browsers have for it.
// Pure. Knows the format and trusts no number in it: a name is a key and never a path, and a content is read as far as it
// was said to go and no further. Refuses to know what is inside.

const [LOCAL, CENTRAL, END] = [0x04034b50, 0x02014b50, 0x06054b50];
const UTF8 = 0x0800; // a flag: names are in UTF-8
const ENCRYPTED = 0x0001;
const MOST_DIRECTORY = 32 * 2 ** 20; // bytes of the list of contents
const MOST_COMMENT = 65_535;
const MOST_BYTES = 2 ** 32 - 1;
const MOST_ENTRIES = 65_535;

/** What is wrong with a zip file, by a word that whoever reads it has a sentence for. */
export class ZipError extends Error {
  /** @param {"damaged" | "large"} kind */
  constructor(kind) {
    super(kind);
    this.kind = kind;
  }
}

/** A zip file of these contents. @param {{name: string, blob: Blob}[]} entries @returns {Promise<Blob>} */
export async function zipped(entries, { now = new Date() } = {}) {
  const parts = [];
  const directory = [];
  let at = 0;
  for (const { name, blob } of entries) {
    const title = new TextEncoder().encode(name);
    const fields = { sum: await checksum(blob), size: blob.size, title, when: dosTime(now) };
    const local = header(LOCAL, fields);
    directory.push(header(CENTRAL, fields, at), title);
    parts.push(local, title, blob);
    at += local.byteLength + title.byteLength + blob.size;
  }
  const length = directory.reduce((sum, part) => sum + part.byteLength, 0);
  if (at + length > MOST_BYTES || entries.length >= MOST_ENTRIES) throw new ZipError("large");
  return new Blob([...parts, ...directory, end(entries.length, length, at)], { type: "application/zip" });
}

function header(kind, { sum, size, title, when }, at = 0) {
  const central = kind === CENTRAL;
  const view = new DataView(new ArrayBuffer(central ? 46 : 30));
  let place = 0;
  const short = (value) => { view.setUint16(place, value, true); place += 2; };
  const long = (value) => { view.setUint32(place, value, true); place += 4; };
  long(kind);
  if (central) short(20);
  for (const value of [20, UTF8, 0]) short(value); // stored as it is
  for (const value of [when, sum, size, size]) long(value);
  for (const value of [title.byteLength, 0]) short(value);
  if (central) {
    for (const value of [0, 0, 0]) short(value);
    for (const value of [0, at]) long(value);
  }
  return view.buffer;
}

function end(count, length, at) {
  const view = new DataView(new ArrayBuffer(22));
  view.setUint32(0, END, true);
  view.setUint16(8, count, true);
  view.setUint16(10, count, true);
  view.setUint32(12, length, true);
  view.setUint32(16, at, true);
  return view.buffer;
}

function dosTime(when) {
  const date = ((Math.max(when.getFullYear(), 1980) - 1980) << 9) | ((when.getMonth() + 1) << 5) | when.getDate();
  const time = (when.getHours() << 11) | (when.getMinutes() << 5) | (when.getSeconds() >> 1);
  return ((date << 16) | time) >>> 0;
}

/**
 * What a zip file says it holds. Of two contents with one name the first counts.
 * @param {Blob} blob @returns {Promise<Map<string, {size: number, stored: boolean, read: (most: number) => Promise<Blob>}>>} `stored`: not packed
 */
export async function contents(blob) {
  const { count, length, at } = await ending(blob);
  const directory = await view(blob, at, length);
  const found = new Map();
  for (let place = 0, number = 0; number < count; number++) {
    if (place + 46 > length || directory.getUint32(place, true) !== CENTRAL) throw new ZipError("damaged");
    const short = (offset) => directory.getUint16(place + offset, true);
    const long = (offset) => directory.getUint32(place + offset, true);
    const ends = place + 46 + short(28) + short(30) + short(32);
    if (ends > length) throw new ZipError("damaged");
    const name = new TextDecoder().decode(new Uint8Array(directory.buffer, place + 46, short(28)));
    const entry = { flags: short(8), method: short(10), sum: long(16), packed: long(20), size: long(24), at: long(42) };
    if (!found.has(name)) found.set(name, { size: entry.size, stored: entry.method === 0, read: (most) => content(blob, entry, most) });
    place = ends;
  }
  return found;
}

/** The end of a zip file says where its list of contents lies; a comment may stand behind it. */
async function ending(blob) {
  const from = Math.max(blob.size - 22 - MOST_COMMENT, 0);
  const tail = await view(blob, from, blob.size - from);
  for (let place = tail.byteLength - 22; place >= 0; place--) {
    if (tail.getUint32(place, true) !== END) continue;
    const [count, length, at] = [tail.getUint16(place + 10, true), tail.getUint32(place + 12, true), tail.getUint32(place + 16, true)];
    if (length <= MOST_DIRECTORY && at + length <= from + place) return { count, length, at };
  }
  throw new ZipError("damaged");
}

async function view(blob, at, length) {
  return new DataView(await blob.slice(at, at + length).arrayBuffer());
}

/** One content, whole and as it was written; at most so many bytes. */
async function content(blob, { flags, method, sum, packed, size, at }, most) {
  if (size > most) throw new ZipError("large");
  if (at + 30 + packed > blob.size || flags & ENCRYPTED || ![0, 8].includes(method)) throw new ZipError("damaged");
  const local = await view(blob, at, 30);
  if (local.byteLength < 30 || local.getUint32(0, true) !== LOCAL) throw new ZipError("damaged");
  const from = at + 30 + local.getUint16(26, true) + local.getUint16(28, true);
  const raw = blob.slice(from, from + packed);
  const whole = method === 8 ? await inflated(raw, size) : raw;
  if (whole.size !== size || await checksum(whole) !== sum) throw new ZipError("damaged");
  return whole;
}

/** Unpacks until more comes than was announced, so that a bomb goes off at its fuse. */
async function inflated(raw, size) {
  const parts = [];
  let length = 0;
  const reader = raw.stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      length += part.value.byteLength;
      if (length > size) throw new ZipError("large");
      parts.push(part.value);
    }
  } catch (error) {
    reader.cancel().catch(() => {});
    throw error instanceof ZipError ? error : new ZipError("damaged");
  }
  return new Blob(parts);
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});
const PIECE = 4 * 2 ** 20;

/** CRC-32, a piece of the file at a time. */
export async function checksum(blob) {
  let sum = 0xffffffff;
  for (let at = 0; at < blob.size; at += PIECE) {
    for (const byte of new Uint8Array(await blob.slice(at, at + PIECE).arrayBuffer())) sum = TABLE[(sum ^ byte) & 0xff] ^ (sum >>> 8);
  }
  return (sum ^ 0xffffffff) >>> 0;
}
