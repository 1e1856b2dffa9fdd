// What the model sees of a picture that is shown large: at which size it is read, a grid of its visual tokens, and a map
// of how unsure the model is of each one's visual word. Loaded when first asked for.
// Knows the stage that the picture fills; which numbers there are is looking.mjs, what they mean sight.mjs.

import { button, make } from "./elements.mjs";
import { language, said, t } from "./i18n.mjs";
import { looked } from "./looking.mjs";
import { beside, cellAt, colour, layers, least, lines, most, shown, sidesOf, tokens, wordAt } from "./sight.mjs";
import { styled } from "./styles.mjs";

const DENSE = 7; // pixels of the screen, below which lines between cells would hide the picture
const SVG = "http://www.w3.org/2000/svg";
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const percent = (share) => `${(100 * share).toFixed(3)}%`;
const count = (number) => number.toLocaleString(language());

export class Sees {
  #session; #stage; #room; #asked = null; #sight = null; #layer = 0; #cell = null; #map = true; #p = {};
  #over = (event) => this.#pointed(event);

  /** On `stage`, with what is to be said and chosen in `holder`; `room` is where pointers move. */
  constructor(session, { stage, room, holder }) {
    [this.#session, this.#stage, this.#room] = [session, stage, room];
    const p = this.#p;
    p.cover = make("div.seen-cover", { hidden: true });
    p.probe = make("div.probe", { tabIndex: 0, role: "group", hidden: true, onfocus: () => this.#at(this.#cell ?? this.#first()) });
    p.status = make("p.seen-status", { role: "status" });
    p.warning = make("p.seen-warning", { hidden: true });
    p.layer = make("select", { "aria-label": t("What to look at"), onchange: () => this.#choose(p.layer.selectedIndex) });
    p.map = button(t("Map of visual words"), () => { this.#map = !this.#map; this.#draw(); }, { name: "map-shown" });
    p.scale = make("span.seen-scale", {}, make("span", {}), make("i", { "aria-hidden": "true" }), make("span", {}));
    p.cell = make("output.seen-cell", {});
    p.panel = make("div.seen-panel", { role: "group", "aria-label": t("What the model sees") }, p.status, p.warning,
      make("div.seen-tools", {}, p.layer, p.map, p.scale, p.cell));
    holder.prepend(p.panel);
    stage.append(p.cover, p.probe);
    for (const name of ["pointermove", "pointerdown"]) room.addEventListener(name, this.#over);
  }

  /** Asks about this picture. */
  async show(picture) {
    this.#asked?.abort();
    const asked = new AbortController();
    this.#asked = asked;
    [this.#sight, this.#cell, this.#layer] = [null, null, 0];
    const note = (words) => { if (!asked.signal.aborted) this.#p.status.textContent = said(words) || t("Looking at the picture"); };
    this.#draw();
    note("");
    try {
      const [found] = await Promise.all([looked(this.#session, picture, { signal: asked.signal, note }), styled("sees.css")]);
      if (asked.signal.aborted) return;
      this.#sight = found;
      this.#layer = layers(found).length - 1;
      this.#draw();
      this.#say();
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.lost) this.#session.connection.lost();
      note(error.message);
    }
  }

  end() {
    this.#asked?.abort();
    for (const name of ["pointermove", "pointerdown"]) this.#room.removeEventListener(name, this.#over);
    for (const one of [this.#p.cover, this.#p.probe, this.#p.panel]) one.remove();
  }

  /** The picture has another size on the screen. */
  zoomed() {
    if (!this.#sight) return;
    const cell = Math.min(...this.#cells.map(({ sides, columns }) => this.#stage.clientWidth * (sides[2] - sides[0]) / columns));
    this.#p.cover.classList.toggle("dense", cell < DENSE);
  }

  /** Arrows go from cell to cell where somebody stands on one. Says whether the key was one of these. */
  key(event) {
    const step = STEPS[event.key];
    if (event.target !== this.#p.probe || !step || event.shiftKey) return false;
    this.#at(beside(this.#cells, this.#cell, step));
    return true;
  }

  get #cells() { return layers(this.#sight)[this.#layer]; }

  #choose(layer) {
    [this.#layer, this.#cell] = [layer, null];
    this.#draw();
  }

  // --- what is said ------------------------------------------------------------------------------------------------

  #say() {
    const { inner, seen, pieces } = this.#sight;
    const tiles = this.#sight.cells.filter((one) => one.tile).length;
    const facts = { width: count(seen[0]), height: count(seen[1]), tokens: count(tokens(this.#sight)) };
    const whole = t("Read at {width} × {height} pixels: {tokens} visual tokens.", facts);
    const inTiles = t("Read at {width} × {height} pixels in {tiles} tiles, and once more as a whole: {tokens} visual tokens.", { ...facts, tiles });
    const inPieces = t("Read in {pieces} pieces of {ownWidth} × {ownHeight} pixels, each at {width} × {height}: {tokens} visual tokens.",
      { ...facts, pieces, ownWidth: count(inner[0]), ownHeight: count(inner[1]) });
    this.#p.status.textContent = pieces > 1 ? inPieces : tiles ? inTiles : whole;
    const height = least(this.#sight);
    this.#p.warning.hidden = height === 0;
    this.#p.warning.textContent = height ? t("Letters lower than about {height} pixels are read at fewer than 8, and are likely lost. That is a rule of thumb.", { height: count(height) }) : "";
  }

  #at(cell) {
    this.#cell = cell;
    const { probe, cell: output } = this.#p;
    probe.classList.toggle("there", cell !== null);
    output.textContent = cell ? this.#words(cell) : "";
    if (!cell) return;
    const { left, top, right, bottom } = sidesOf(this.#cells, cell);
    Object.assign(probe.style, { left: percent(left), top: percent(top), width: percent(right - left), height: percent(bottom - top) });
    probe.setAttribute("aria-label", output.textContent);
  }

  #words(cell) {
    const place = { part: cell.part + 1, row: cell.row + 1, column: cell.column + 1 };
    const at = this.#cells.length > 1 ? t("Part {part}, row {row}, column {column}", place) : t("Row {row}, column {column}", place);
    const found = wordAt(this.#cells, cell);
    return found ? t("{place}: visual word {word} at {share} %, entropy {bits} bits", { place: at, word: found.word, share: (100 * found.share).toFixed(0), bits: found.bits.toFixed(1) }) : at;
  }

  // --- what is drawn -----------------------------------------------------------------------------------------------

  #draw() {
    const p = this.#p;
    const there = this.#sight !== null;
    p.cover.hidden = p.probe.hidden = !there;
    for (const one of [p.layer, p.map, p.scale, p.cell, p.warning]) one.hidden = true;
    p.cover.replaceChildren();
    this.#at(null);
    if (!there) return;
    p.probe.setAttribute("aria-label", t("Cells of the picture: arrows go from one to the next"));
    const known = Boolean(this.#cells[0].words);
    const maps = known && this.#map;
    p.cover.append(...(maps ? this.#cells.map((one) => heat(one, most(this.#cells))) : []), grid(lines(this.#cells)));
    [p.map.hidden, p.cell.hidden, p.scale.hidden] = [!known, false, !maps];
    p.map.setAttribute("aria-pressed", String(maps));
    this.#layers();
    this.#scale();
    this.zoomed();
  }

  #layers() {
    const all = layers(this.#sight);
    const name = (cells) => (cells[0].tile ? t("{count} tiles", { count: cells.length }) : t("The whole picture"));
    this.#p.layer.hidden = all.length < 2;
    this.#p.layer.replaceChildren(...all.map((cells) => make("option", {}, name(cells))));
    this.#p.layer.selectedIndex = this.#layer;
  }

  #scale() {
    const [low, , high] = this.#p.scale.children;
    const bits = most(this.#cells);
    [low.textContent, high.textContent] = [t("sure: 0 bits"), bits ? t("unsure: {bits} bits", { bits: bits.toFixed(1) }) : ""];
    this.#p.scale.title = t("How unsure the model is which of its {count} visual words stands in a cell: the entropy.", { count: count(this.#sight.vocabulary) });
  }

  #first() {
    const cells = this.#cells;
    for (let row = 0; row < cells[0].rows; row += 1) {
      for (let column = 0; column < cells[0].columns; column += 1) if (shown(cells, { part: 0, row, column })) return { part: 0, row, column };
    }
    return null;
  }

  #pointed({ clientX, clientY }) {
    if (!this.#sight) return;
    const box = this.#stage.getBoundingClientRect();
    const [x, y] = [(clientX - box.left) / box.width, (clientY - box.top) / box.height];
    if (x >= 0 && x < 1 && y >= 0 && y < 1) this.#at(cellAt(this.#cells, x, y));
    else if (document.activeElement !== this.#p.probe) this.#at(null);
  }
}

/** A pixel for each cell, stretched over its part. */
function heat({ sides: [left, top, right, bottom], rows, columns, bits }, high) {
  const canvas = make("canvas", { width: columns, height: rows });
  const pen = canvas.getContext("2d");
  const pixels = pen.createImageData(columns, rows);
  for (const [place, one] of bits.entries()) pixels.data.set([...colour(high ? one / high : 0), 255], 4 * place);
  pen.putImageData(pixels, 0, 0);
  Object.assign(canvas.style, { left: percent(left), top: percent(top), width: percent(right - left), height: percent(bottom - top) });
  return canvas;
}

function grid({ inner, outer }) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [name, value] of Object.entries({ viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true" })) svg.setAttribute(name, value);
  for (const [kind, path] of [["inner under", inner], ["inner", inner], ["outer under", outer], ["outer", outer]]) {
    const line = document.createElementNS(SVG, "path");
    for (const [name, value] of Object.entries({ class: kind, d: path, "vector-effect": "non-scaling-stroke" })) line.setAttribute(name, value);
    svg.append(line);
  }
  return svg;
}
