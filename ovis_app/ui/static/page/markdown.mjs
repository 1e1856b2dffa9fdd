// Markdown -> HTML of blocks, by markdown-it: HTML is text in it but for <br>, <sub>, <sup> and whole tables, formulas stand
// as their source for math.mjs, a picture of elsewhere is a link to it.
// Pure: what comes out is a string that still has to go through DOMPurify (words.mjs).

import * as library from "../vendor/markdown-it.min.js";
import { besideLetters } from "./emphasis.mjs";
import { extract, parts, restore } from "./extract.mjs";

// A script that makes a name of its own in browsers, and a module for node.
const markdown = (library.default ?? globalThis.markdownit)({ html: false, breaks: true, maxNesting: 20 });
const { escapeHtml } = markdown.utils;
const ADDRESS = /[\w\-.~:/?#@!$&'()*+,;=%]{1,2000}/y;
const LARGEST = 400_000; // characters of HTML that a block may become
const MOST = 2000; // blocks; what follows stands as it was written
const LONG_LIST = 2000; // characters from which on a list that grows is read by items

markdown.disable(["autolink", "image", "linkify"]); // what stands around an address stays, and reading takes a bounded time
markdown.inline.State = besideLetters(markdown.inline.State, markdown.utils);
markdown.inline.ruler.after("text", "address", address);
markdown.inline.ruler.after("autolink", "tags", tags);
markdown.core.ruler.push("placed", placed);
markdown.renderer.rules.text = (tokens, place, options, { taken }) => shown(tokens[place].content, taken);

/** The HTML of each block of a text: a paragraph, a list, a table. @returns {string[]} */
export function blocks(text) {
  return read(text, { growing: false, references: {} }).blocks.map((one) => one.html);
}

/** A text that grows: what can't change any more is not read again. */
export class Reader {
  #text = ""; #from = 0; #settled = []; #references = {};

  /** @returns {string[]} the HTML of each block, while more of the text may come */
  blocks(text) {
    if (!text.startsWith(this.#text)) [this.#from, this.#settled, this.#references] = [0, [], {}];
    this.#text = text;
    const rest = text.slice(this.#from);
    const room = MOST - this.#settled.length;
    const { blocks: found, open } = read(rest, { growing: true, references: this.#references, room });
    const line = rest.lastIndexOf("\n") + 1; // the last line may become something else
    const last = found.findLastIndex((one) => one.start <= open && one.start < line);
    if (last <= 0) return [...this.#settled, ...found.map((one) => one.html)];
    this.#settled.push(...found.slice(0, last).map((one) => one.html));
    this.#from += found[last].start;
    return [...this.#settled, ...found.slice(last).map((one) => one.html)];
  }
}

/** Blocks with where each begins in the text, and from where on more text may change what was there. */
function read(text, { growing, references, room = MOST }) {
  const { text: bare, taken, open, origin } = extract(text, { growing });
  const environment = { taken, references };
  const lines = [0];
  for (let end = bare.indexOf("\n"); end >= 0; end = bare.indexOf("\n", end + 1)) lines.push(end + 1);
  let groups = grouped(markdown.parse(bare, environment));
  const long = growing && groups.length && bare.length - lines[groups.at(-1)[0].map[0]] > LONG_LIST;
  if (long) groups = [...groups.slice(0, -1), ...byItem(groups.at(-1))];
  const found = groups.slice(0, room).map((group) => {
    const html = markdown.renderer.render(group, markdown.options, environment);
    const [first, last] = group[0].map;
    return { html: html.length > LARGEST ? source(bare.slice(lines[first], lines[last]), taken) : html, start: origin(lines[first]) };
  });
  if (groups.length > room) {
    const at = lines[groups[room][0].map[0]];
    found.push({ html: source(bare.slice(at), taken), start: origin(at) });
  }
  return { blocks: found, open };
}

/** Words as they were written. */
function source(words, taken) {
  return `<p><span class="pending">${escapeHtml(restore(words, taken))}</span></p>`;
}

function grouped(tokens) {
  const groups = [];
  let group = [];
  for (const token of tokens) {
    group.push(token);
    if (token.level > 0 || token.nesting > 0) continue;
    groups.push(group);
    group = [];
  }
  return groups;
}

/** A list as one of all items but the last, and one of the last. */
function byItem(group) {
  const begins = group.flatMap((token, place) => (token.type === "list_item_open" && token.level === 1 ? [place] : []));
  if (!/^(?:bullet|ordered)_list_open$/.test(group[0].type) || begins.length < 2) return [group];
  const [first, close, last] = [group[0], group.at(-1), begins.at(-1)];
  first.attrSet("class", "part");
  const again = Object.assign(Object.create(Object.getPrototypeOf(first)), first, { attrs: first.attrs.map((one) => [...one]), map: group[last].map });
  if (first.type === "ordered_list_open") again.attrSet("start", String(Number(first.attrGet("start") ?? 1) + begins.length - 1));
  return [[...group.slice(0, last), close], [again, ...group.slice(last)]];
}

// --- what Markdown doesn't have --------------------------------------------------------------------------------------

/** An address of the web, as far as it is one: Chinese goes on behind it without a space. */
function address(state, silent) {
  if (state.linkLevel > 0 || !state.src.startsWith("://", state.pos)) return false;
  const scheme = /(?:^|[^a-z0-9])(https?)$/i.exec(state.src.slice(Math.max(state.pos - 6, 0), state.pos))?.[1];
  if (!scheme || !state.pending.endsWith(scheme)) return false;
  ADDRESS.lastIndex = state.pos + 3;
  const rest = withoutEnd(ADDRESS.exec(state.src)?.[0] ?? "");
  const whole = `${scheme}://${rest}`;
  if (!rest || !state.md.validateLink(whole)) return false;
  if (!silent) {
    state.pending = state.pending.slice(0, -scheme.length);
    state.push("link_open", "a", 1).attrs = [["href", state.md.normalizeLink(whole)]];
    state.push("text", "", 0).content = whole;
    state.push("link_close", "a", -1);
  }
  state.pos += 3 + rest.length;
  return true;
}

/** Without what is the sentence's: marks at the end, and brackets that were opened before it. */
function withoutEnd(found) {
  let [end, extra] = [found.length, found.split(")").length - found.split("(").length];
  while (/[.,;:!?'*_~]/.test(found[end - 1] ?? "") || (found[end - 1] === ")" && extra > 0)) {
    if (found[--end] === ")") extra -= 1;
  }
  return found.slice(0, end);
}

/** <br>, and <sub> and <sup> that are closed, without attributes. */
function tags(state, silent) {
  if (state.src.charCodeAt(state.pos) !== 0x3c) return false;
  const found = /^<(?:(br)\s*\/?|(sub|sup))>/i.exec(state.src.slice(state.pos, state.pos + 12));
  if (!found) return false;
  const name = (found[1] ?? found[2]).toLowerCase();
  const end = name === "br" ? state.pos + found[0].length : closing(state, state.pos);
  if (!end || end > state.posMax) return false;
  if (!silent && name === "br") state.push("hardbreak", "br", 0);
  if (!silent && name !== "br") {
    const whole = state.posMax;
    [state.pos, state.posMax] = [state.pos + found[0].length, end - name.length - 3];
    state.push(`${name}_open`, name, 1);
    state.md.inline.tokenize(state);
    state.push(`${name}_close`, name, -1);
    state.posMax = whole;
  }
  state.pos = end;
  return true;
}

const closings = new WeakMap(); // of each inline text: where which <sub> ends

function closing(state, at) {
  if (!closings.has(state)) {
    const [ends, open] = [new Map(), []];
    for (const { 0: whole, 1: slash, 2: name, index } of state.src.matchAll(/<(\/?)(sub|sup)>/gi)) {
      if (!slash) open.push({ index, name: name.toLowerCase() });
      else if (open.at(-1)?.name === name.toLowerCase()) ends.set(open.pop().index, index + whole.length);
    }
    closings.set(state, ends);
  }
  return closings.get(state).get(at);
}

/** After everything else: code has its own dollars again, a table is no paragraph, boxes to tick are drawn. */
function placed({ tokens, env: { taken } }) {
  for (const [place, token] of tokens.entries()) {
    if (token.type === "fence" || token.type === "code_block") [token.content, token.info] = [restore(token.content, taken), restore(token.info, taken)];
    if (token.type !== "inline") continue;
    token.children = token.children.filter((child, at, all) => !(child.type.endsWith("break") && (wide(all[at - 1], -1, taken) || wide(all[at + 1], 0, taken))));
    for (const [at, child] of token.children.entries()) {
      if (child.type === "code_inline") child.content = restore(child.content, taken);
      if (child.type !== "link_open") continue;
      const before = token.children[at - 1];
      if (before?.type === "text") before.content = before.content.replace(/!$/, ""); // a picture of elsewhere is a link to it
      child.attrSet("href", restore(child.attrGet("href").replace(/%EE%80%8([01])/g, (whole, last) => (last === "0" ? "\ue000" : "\ue001")), taken));
    }
    const [only] = token.children;
    if (token.children.length === 1 && wide(only, 0, taken)?.kind === "table" && /^\s*\ue000\d+\ue001\s*$/.test(only.content)) {
      for (const around of [tokens[place - 1], tokens[place + 1]]) if (around?.type.startsWith("paragraph")) around.hidden = true;
    }
    if (tokens[place - 2]?.type === "list_item_open") task(tokens[place - 2], only);
  }
}

/** What stands at an end of a text where that has a line of its own. */
function wide(token, end, taken) {
  const last = token?.type === "text" && taken.length ? parts(token.content, taken).at(end) : null;
  return last?.wide || last?.kind === "table" ? last : null;
}

function task(item, first) {
  const found = first?.type === "text" && /^\[([ xX])\](?=\s)/.exec(first.content);
  if (!found) return;
  item.attrSet("class", "task");
  first.content = (found[1] === " " ? "\u2610" : "\u2611") + first.content.slice(3);
}

// --- drawing ---------------------------------------------------------------------------------------------------------

function shown(text, taken) {
  return parts(text, taken).map((one) => {
    if (typeof one === "string") return escapeHtml(one);
    if (one.kind === "table") return tableHtml(one.table);
    if (one.kind === "words" && !one.source.includes("\n")) return escapeHtml(one.source);
    const kind = one.kind === "words" ? "pending" : one.wide ? "formula wide" : "formula";
    return `<span class="${kind}">${escapeHtml(one.source)}</span>`;
  }).join("");
}

function tableHtml({ head, body }) {
  const cell = (one) => {
    const spans = ["colspan", "rowspan"].map((name) => (one[name] > 1 ? ` ${name}="${one[name]}"` : "")).join("");
    const { text, taken } = extract(one.source.replace(/\s*\n\s*/g, " "));
    return `<${one.head ? "th" : "td"}${spans}>${markdown.renderInline(text, { taken })}</${one.head ? "th" : "td"}>`;
  };
  const section = (name, rows) => (rows.length ? `<${name}>${rows.map((row) => `<tr>${row.map(cell).join("")}</tr>`).join("")}</${name}>` : "");
  return `<table>${section("thead", head)}${section("tbody", body)}</table>`;
}
