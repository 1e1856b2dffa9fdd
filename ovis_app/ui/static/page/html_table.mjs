// A table written in HTML, as models that read documents write them -> rows and cells.
// Pure. Knows table, thead, tbody, tfoot, tr, th, td, and rowspan and colspan as numbers; every other attribute is left out.
// What is no table as a whole is none: it stays text.

const TAGS = /<(\/?)(table|thead|tbody|tfoot|tr|th|td)\b([^<>]*)>/gi;
const MOST_CELLS = 20_000; // each as many as it spans
const DEEPEST = 4; // tables in cells of tables
const [WIDEST, TALLEST] = [100, 1000]; // cells that one may span

/** @typedef {{head: boolean, source: string, colspan: number, rowspan: number}} Cell */

/** The rows of a table, from its first tag to its last. @returns {{head: Cell[][], body: Cell[][]} | null} */
export function table(source) {
  const read = { head: [], body: [], section: "body", row: null, cell: null, from: 0, cells: 0 };
  let [deep, end] = [0, 0];
  for (const found of source.matchAll(TAGS)) {
    const [whole, closing, name] = [found[0], found[1] === "/", found[2].toLowerCase()];
    if (name === "table") {
      deep += closing ? -1 : 1;
      if (deep > DEEPEST || (deep > 1 && !closing && !read.cell)) return null;
    }
    if (deep > 1 || (name === "table" && closing && deep === 1)) continue; // a table in a cell is the cell's
    if (!read.cell && source.slice(end, found.index).trim()) return null; // words between the cells
    end = found.index + whole.length;
    if (!tag(read, { name, closing, attributes: found[3], at: found.index, end }, source)) return null;
  }
  return deep === 0 && read.cells ? { head: read.head, body: read.body } : null;
}

/** Goes on by a tag; false where it can't stand here. */
function tag(read, { name, closing, attributes, at, end }, source) {
  const ends = () => {
    if (read.cell) read.row.push({ ...read.cell, source: source.slice(read.from, at).trim() });
    read.cell = null;
  };
  if (name === "td" || name === "th") {
    if (closing) return read.cell ? (ends(), true) : false;
    ends();
    if (!read.row) return false;
    read.cell = { head: name === "th", source: "", colspan: span(attributes, "colspan", WIDEST), rowspan: span(attributes, "rowspan", TALLEST) };
    [read.from, read.cells] = [end, read.cells + read.cell.colspan * read.cell.rowspan];
    return read.cells <= MOST_CELLS;
  }
  ends();
  if (name === "tr") {
    read.row = closing ? null : [];
    if (!closing) read[read.section].push(read.row);
    return true;
  }
  read.row = null;
  read.section = name === "thead" && !closing ? "head" : "body";
  return true;
}

function span(attributes, name, most) {
  const found = new RegExp(`(?:^|\\s)${name}\\s*=\\s*["']?\\s*(\\d{1,5})\\b`, "i").exec(attributes);
  return found ? Math.min(Math.max(Number(found[1]), 1), most) : 1;
}
