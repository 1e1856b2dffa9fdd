// What in a text isn't Markdown: formulas, and tables written in HTML. They are taken out before Markdown is read, so that
// nothing in them is touched, and a placeholder stands there meanwhile: two private characters and a number between them.
// Pure. Knows where code is, in which nothing is taken; refuses to know how formulas and tables are drawn.

import { table } from "./html_table.mjs";

const LONGEST = 3000; // characters of a formula: the worst of them take KaTeX half a second
const LONGEST_INLINE = 500; // between two single dollars, which stand in one line
const ENVIRONMENTS = new Set(["align", "alignat", "aligned", "alignedat", "array", "bmatrix", "Bmatrix", "cases", "CD", "darray", "dcases",
  "equation", "gather", "gathered", "matrix", "pmatrix", "rcases", "smallmatrix", "split", "subarray", "vmatrix", "Vmatrix"]);
const MARKS = /\n|`+|~{3,}|\$+|\\(?:begin\{[a-zA-Z]+\*?\}|[\s\S]|$)|<table\b|https?:\/\/[\w\-.~:/?#@!$&'*+,;=%]+|\b[a-z]:(?:\\(?:\*(?=\.)|[^\s`*"<>|\\([]+))+|[\ue000\ue001]/gi;
const BEFORE_FENCE = /^[\s>]*(?:(?:[-+*]|\d{1,9}[.)])[ \t]+)*[\s>]*$/; // quotes and list markers
const CLOSED = { dollars: 2, round: 2, square: 2 }; // how long what closes a formula is

/** @typedef {{kind: "formula" | "table" | "words", source: string, wide?: boolean, table?: any}} Taken */

/** A text with placeholders; what they stand for; from which place of the text on more text may change what was there;
 * and which place of the text a place of the result was.
 * @param {string} text @param {{growing?: boolean}} options growing: more of it may come
 * @returns {{text: string, taken: Taken[], open: number, origin: (place: number) => number}} */
export function extract(text, { growing = false } = {}) {
  if (!/[$\ue000\ue001]|\\[[(b]|:\\|<table/i.test(text)) return { text, taken: [], open: Infinity, origin: (place) => place };
  const scan = new Scan(text, growing);
  return { text: scan.out.join(""), taken: scan.taken, open: scan.open, origin: (place) => scan.origin(place) };
}

/** The parts of a text that stand between placeholders, and what these stand for.
 * @param {string} text @param {Taken[]} taken @returns {(string | Taken)[]} */
export function parts(text, taken) {
  return text.split(/\ue000(\d+)\ue001/).map((one, place) => (place % 2 ? taken[Number(one)] : one)).filter(Boolean);
}

/** A text in which placeholders became what they stand for again. */
export function restore(text, taken) {
  return taken.length ? parts(text, taken).map((one) => one.source ?? one).join("") : text;
}

/** What a formula says, without its delimiters. */
export function formula(source) {
  return source.startsWith("\\begin") ? source : source.replace(/^(?:\$\$?|\\[([])|(?:\$\$?|\\[)\]])$/g, "");
}

class Scan {
  out = []; taken = []; open = Infinity;
  #text; #growing; #copied = 0; #length = 0; #moves = []; #line = 0; #next; #ticks = null; #tables = null; #lastRow;

  constructor(text, growing) {
    [this.#text, this.#growing] = [text, growing];
    const odd = ([found]) => found.length % 2 === 0; // an odd number of backslashes, and a bracket
    this.#next = {
      blank: seeker(text, /\n[ \t>]*(?=\n)/g),
      round: seeker(text, /\\+\)/g, odd),
      square: seeker(text, /\\+\]/g, odd),
      dollars: seeker(text, /\\[\s\S]|\$\$+/g, ([found]) => found[0] === "$"),
      dollar: seeker(text, /\\[\s\S]|[$`\n]/g, ([found]) => found[0] !== "\\"),
    };
    this.#lastRow = text.toLowerCase().lastIndexOf("</tr>");
    const marks = new RegExp(MARKS);
    for (let found = marks.exec(text); found; found = marks.exec(text)) {
      if (found[0] === "\n") this.#line = found.index + 1;
      marks.lastIndex = this.#mark(found.index, found[0]);
    }
    this.#copy(text.length);
  }

  /** Which place of the text a place of the result was. */
  origin(place) {
    let [low, high] = [0, this.#moves.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#moves[middle].to <= place) low = middle + 1;
      else high = middle;
    }
    const before = this.#moves[low - 1];
    return before ? before.from + place - before.to : place;
  }

  /** Where to read on behind a mark. */
  #mark(at, mark) {
    const end = at + mark.length;
    if (mark[0] === "`" || mark[0] === "~") return this.#code(at, mark);
    if (mark === "\ue000" || mark === "\ue001" || mark[1] === ":") return this.#take(at, end, { kind: "words" }); // C:\new
    if (mark === "$") return this.#dollar(at);
    if (mark === "$$") return this.#formula(at, "dollars");
    if (mark === "\\(") return this.#formula(at, "round");
    if (mark === "\\[") return this.#formula(at, "square");
    if (mark.startsWith("\\begin")) return this.#environment(at, end, mark.slice(7, -1));
    if (mark[0] === "<") return this.#table(at, end);
    return end;
  }

  // --- code --------------------------------------------------------------------------------------------------------

  #code(at, mark) {
    const end = at + mark.length;
    if (mark.length >= 3 && at - this.#line < 80 && BEFORE_FENCE.test(this.#text.slice(this.#line, at))) {
      const line = this.#text.indexOf("\n", end);
      if (mark[0] === "~" || line < 0 || !this.#text.slice(end, line).includes("`")) {
        const closing = new RegExp(`^[ \\t>]*\\${mark[0]}{${mark.length},}[ \\t]*$`, "gm");
        closing.lastIndex = line < 0 ? this.#text.length : line;
        return closing.exec(this.#text) ? closing.lastIndex : this.#text.length;
      }
    }
    if (mark[0] === "~") return end;
    const close = this.#tick(end, mark.length);
    return close < this.#next.blank(end) ? close + mark.length : end;
  }

  /** Where the next run of exactly so many backticks is. */
  #tick(from, length) {
    if (!this.#ticks) {
      this.#ticks = new Map();
      for (const { 0: run, index } of this.#text.matchAll(/`+/g)) {
        if (!this.#ticks.has(run.length)) this.#ticks.set(run.length, { places: [], next: 0 });
        this.#ticks.get(run.length).places.push(index);
      }
    }
    const runs = this.#ticks.get(length);
    while (runs.places[runs.next] < from) runs.next += 1;
    return runs.places[runs.next] ?? Infinity;
  }

  // --- formulas ----------------------------------------------------------------------------------------------------

  /** A formula between delimiters of two characters. One that stands alone may have empty lines in it. */
  #formula(at, kind) {
    const start = at + 2;
    const close = this.#next[kind](start);
    const alone = kind !== "round" && BEFORE_FENCE.test(this.#text.slice(Math.max(this.#line, at - 80), at))
      && (kind === "square" || /^[ \t]*(?:\n|$)/.test(this.#text.slice(start, start + 80)));
    const limit = Math.min(start + LONGEST, alone ? Infinity : this.#next.blank(start));
    const end = kind === "dollars" ? close : close + this.#backslashes(close) - 1;
    if (end <= limit) {
      const stop = end + CLOSED[kind];
      return this.#text.slice(start, end).trim() ? this.#take(at, stop, { kind: "formula", wide: kind !== "round" }) : stop;
    }
    return limit >= this.#text.length ? this.#pending(at, start) : start;
  }

  #backslashes(at) {
    let end = at;
    while (this.#text[end] === "\\") end += 1;
    return end - at;
  }

  /** A single dollar is a formula's where it touches what follows, and the next one what stands before it and no digit:
   * all else is money, or a name in a shell. */
  #dollar(at) {
    const text = this.#text;
    if (/[\s$]/.test(text[at + 1] ?? " ") || /[A-Za-z0-9]/.test(text[at - 1] ?? "")) return at + 1;
    const close = this.#next.dollar(at + 1);
    if (close > at + LONGEST_INLINE || text[close] !== "$" || /\s/.test(text[close - 1]) || /[\d$]/.test(text[close + 1] ?? "")) return at + 1;
    return mayBeMoney(text.slice(at + 1, close)) ? at + 1 : this.#take(at, close + 1, { kind: "formula", wide: false });
  }

  /** \begin{align} ... \end{align} without any delimiters. */
  #environment(at, end, name) {
    if (!ENVIRONMENTS.has(name.replace("*", ""))) return end;
    const marks = /\\(begin|end)\{([a-zA-Z]+\*?)\}/g;
    marks.lastIndex = end;
    for (let deep = 1, found = marks.exec(this.#text); found && found.index < at + LONGEST; found = marks.exec(this.#text)) {
      if (found[2] !== name) continue;
      deep += found[1] === "begin" ? 1 : -1;
      if (deep === 0) return this.#take(at, marks.lastIndex, { kind: "formula", wide: true });
    }
    return at + LONGEST >= this.#text.length ? this.#pending(at, end) : end;
  }

  /** What isn't closed may be once more has come: until then it is shown as it is. */
  #pending(at, next) {
    this.open = Math.min(this.open, at);
    return this.#growing ? this.#take(at, this.#text.length, { kind: "words" }) : next;
  }

  // --- tables in HTML ----------------------------------------------------------------------------------------------

  #table(at, end) {
    this.#tables ??= pairs(this.#text);
    const close = this.#tables.get(at);
    if (close) {
      const found = table(this.#text.slice(at, close));
      return found ? this.#take(at, close, { kind: "table", table: found }, true) : end;
    }
    this.open = Math.min(this.open, at);
    const rows = this.#lastRow > at ? this.#lastRow + 5 : 0; // of one that is still coming, or was cut off
    const found = rows ? table(`${this.#text.slice(at, rows)}</table>`) : null;
    return found ? this.#take(at, this.#growing ? this.#text.length : rows, { kind: "table", table: found }, true) : end;
  }

  // --- the result --------------------------------------------------------------------------------------------------

  #take(at, end, what, paragraph = false) {
    this.#copy(at);
    const source = this.#text.slice(at, end);
    const before = this.#text.slice(this.#line, at);
    const apart = paragraph && !/^[\s>]*\|/.test(before); // in a table of Markdown it stays in its cell
    const margin = before.match(/^[\s>]*(?:(?:[-+*]|\d{1,9}[.)])[ \t]+)*/)[0].replace(/[^\s>]/g, " ");
    const gap = apart ? `\n${margin}\n${margin}` : "";
    const quoted = what.kind === "formula" && margin.includes(">") && source.includes("\n");
    this.#say(apart && before.length > margin.length ? gap : "");
    this.#say(`\ue000${this.taken.length}\ue001`);
    this.taken.push({ ...what, source: quoted ? source.replace(/\n[ \t>]+/g, "\n") : source });
    this.#say(apart && !/^[ \t]*(?:\n|$)/.test(this.#text.slice(end, end + 80)) ? gap : "");
    this.#copied = end;
    this.#moves.push({ to: this.#length, from: end });
    const line = source.lastIndexOf("\n");
    if (line >= 0) this.#line = at + line + 1;
    return end;
  }

  #copy(end) {
    this.#say(this.#text.slice(this.#copied, end));
    this.#copied = end;
  }

  #say(words) {
    this.out.push(words);
    this.#length += words.length;
  }
}

/** Finds the next match from a place on, for places that only grow: each match is found once. */
function seeker(text, pattern, wanted = () => true) {
  let at = -1;
  return (from) => {
    while (at < from) {
      pattern.lastIndex = from;
      let found = pattern.exec(text);
      while (found && !wanted(found)) found = pattern.exec(text);
      at = found ? found.index : Infinity;
    }
    return at;
  };
}

/** Whether what stands between two dollars may be words between two prices, or the names of two variables. */
function mayBeMoney(inside) {
  if (/[\\^_={}<>+*]/.test(inside)) return false;
  return /^[\d.,]+[kKmMbB]?(?:\s+\S*[^\W\d_]{2,}|\s*[-\u2013/]$)/.test(inside) || /[/(:[,]$/.test(inside);
}

/** Where each <table> ends that is closed. */
function pairs(text) {
  const [ends, open] = [new Map(), []];
  for (const found of text.matchAll(/<(\/?)table\b[^<>]*>/gi)) {
    if (!found[1]) open.push(found.index);
    else if (open.length) ends.set(open.pop(), found.index + found[0].length);
  }
  return ends;
}
