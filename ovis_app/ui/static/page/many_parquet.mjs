// A table of texts as a Parquet file: one group of rows, each column one page of plain UTF-8, nothing compressed.
// Pure. Knows the few parts of Parquet and of Thrift's compact protocol that such a file is made of.

const MAGIC = bytesOf("PAR1");
const [I32, I64, TEXT, LIST, STRUCT] = [5, 6, 8, 9, 12]; // kinds of fields, by Thrift's numbers
const [BYTE_ARRAY, PLAIN, RLE, UTF8, REQUIRED, UNCOMPRESSED] = [6, 0, 3, 0, 0, 0]; // by Parquet's
const MOST = 2 ** 31 - 1; // bytes of a page

/** @param {string[][]} table its head first @returns {Blob} */
export function parquet([names, ...rows]) {
  const pieces = [MAGIC];
  let at = MAGIC.length;
  const chunks = names.map((name, place) => {
    const values = rows.map((row) => bytesOf(row[place]));
    const data = joined(values.flatMap((one) => [little(one.length), one]));
    if (data.length > MOST) throw new RangeError("a column is too long for Parquet");
    const page = joined([header(data.length, rows.length), data]);
    const chunk = { name, at, size: page.length };
    pieces.push(page);
    at += page.length;
    return chunk;
  });
  const foot = footer(chunks, rows.length);
  return new Blob([...pieces, foot, little(foot.length), MAGIC], { type: "application/vnd.apache.parquet" });
}

function header(size, count) {
  const data = struct([1, I32, count], [2, I32, PLAIN], [3, I32, RLE], [4, I32, RLE]);
  return struct([1, I32, 0], [2, I32, size], [3, I32, size], [5, STRUCT, data]);
}

function footer(chunks, count) {
  const text = struct([1, STRUCT, struct()]); // the logical type of a text
  const root = struct([4, TEXT, "schema"], [5, I32, chunks.length]);
  const columns = chunks.map(({ name }) => struct([1, I32, BYTE_ARRAY], [3, I32, REQUIRED], [4, TEXT, name], [6, I32, UTF8], [10, STRUCT, text]));
  const held = chunks.map(({ name, at, size }) => {
    const about = struct([1, I32, BYTE_ARRAY], [2, LIST, list(I32, [PLAIN, RLE])], [3, LIST, list(TEXT, [name])], [4, I32, UNCOMPRESSED],
      [5, I64, count], [6, I64, size], [7, I64, size], [9, I64, at]);
    return struct([2, I64, at], [3, STRUCT, about]);
  });
  const group = struct([1, LIST, list(STRUCT, held)], [2, I64, chunks.reduce((sum, one) => sum + one.size, 0)], [3, I64, count]);
  return struct([1, I32, 1], [2, LIST, list(STRUCT, [root, ...columns])], [3, I64, count], [4, LIST, list(STRUCT, [group])], [6, TEXT, "Ovis App"]);
}

// --- Thrift's compact protocol ---------------------------------------------------------------------------------------

/** Fields in the order of their numbers, each [number, kind, value]. */
function struct(...fields) {
  let before = 0;
  const written = fields.flatMap(([number, kind, value]) => {
    const head = Uint8Array.of(((number - before) << 4) | kind); // no two of ours are more than 15 apart
    before = number;
    return [head, valueOf(kind, value)];
  });
  return joined([...written, Uint8Array.of(0)]);
}

function list(kind, values) {
  const head = values.length < 15 ? Uint8Array.of((values.length << 4) | kind) : joined([Uint8Array.of(0xf0 | kind), varint(values.length)]);
  return joined([head, ...values.map((one) => valueOf(kind, one))]);
}

function valueOf(kind, value) {
  if (kind === I32 || kind === I64) return varint(2 * value); // zigzag, of which none is below zero
  if (kind !== TEXT) return value;
  const bytes = bytesOf(value);
  return joined([varint(bytes.length), bytes]);
}

function varint(value) {
  const bytes = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Uint8Array.from([...bytes, rest]);
}

function little(value) {
  return Uint8Array.of(value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >>> 24) & 255);
}

function bytesOf(text) {
  return new TextEncoder().encode(text);
}

function joined(parts) {
  const all = new Uint8Array(parts.reduce((sum, one) => sum + one.length, 0));
  let at = 0;
  for (const one of parts) { all.set(one, at); at += one.length; }
  return all;
}
