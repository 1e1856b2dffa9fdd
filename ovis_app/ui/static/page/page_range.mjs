// Pages of a document as people write them, `1-3,7`, and back. Pure; as media/page_range.py reads them.

const MOST_PARTS = 100;
const PART = /^([1-9]\d{0,5})(?:\s?([-–])\s?([1-9]\d{0,5})?)?$/;

/** The pages of `count` that are meant, each once, in their order; null where that is no range, or names one that isn't
 * there. @returns {number[] | null} */
export function pagesIn(text, count) {
  const parts = text.replace(/，/g, ",").split(",").map((one) => one.trim()).filter(Boolean);
  if (!parts.length || parts.length > MOST_PARTS) return null;
  const found = new Set();
  for (const part of parts) {
    const [, first, dash, last] = PART.exec(part) ?? [];
    const from = Number(first);
    const to = last ? Number(last) : dash ? count : from;
    if (!first || from > count || to > count || to < from) return null;
    for (let page = from; page <= to; page += 1) found.add(page);
  }
  return [...found];
}

/** Pages as `pagesIn` reads them. */
export function written(pages) {
  const runs = [];
  for (const one of pages) {
    if (runs.length && runs.at(-1)[1] === one - 1) runs.at(-1)[1] = one;
    else runs.push([one, one]);
  }
  return runs.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(",");
}
