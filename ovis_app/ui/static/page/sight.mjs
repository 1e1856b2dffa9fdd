// How a model sees a picture, as the server tells it: which cell a place lies in, how small letters may be, how unsure the
// model is as a colour. Pure. Knows numbers; refuses to know how they are asked for and drawn.

/**
 * Visual tokens over a part of a picture, row by row; `sides` are left, top, right, bottom in shares of the picture, past
 * its edges where a tile is padded. `words`, `shares` and `bits` are there where the model's visual words are known.
 * @typedef {{sides: number[], rows: number, columns: number, tile: boolean, words?: number[], shares?: number[], bits?: number[]}} Cells
 * @typedef {{size: number[], inner: number[], seen: number[], pieces: number, vocabulary: number, cells: Cells[]}} Sight
 */

const LEAST = 8; // pixels of a letter, below which models hardly read it
const MATTERS = 1.15; // times that: what is a little smaller is read as well

// Cividis, which people who see few colours read as everybody does: from dark for sure to light for unsure.
const COLOURS = [[0, 34, 78], [34, 56, 109], [71, 82, 108], [102, 105, 112], [125, 124, 120], [149, 143, 120], [179, 163, 109], [209, 184, 91], [254, 232, 56]];

/** The cells as they can be looked at: the whole picture or its pieces, and tiles beside that. @param {Sight} sight */
export function layers(sight) {
  const layer = (tile) => sight.cells.filter((one) => one.tile === tile);
  return [layer(false), layer(true)].filter((cells) => cells.length);
}

/** How many visual tokens a picture takes. @param {Sight} sight */
export function tokens(sight) {
  return sight.cells.reduce((sum, one) => sum + one.rows * one.columns, 0);
}

/** How high letters of the file must be about to be read, in its pixels; 0 where none is lost. @param {Sight} sight */
export function least({ inner, seen }) {
  const scale = Math.min(seen[0] / inner[0], seen[1] / inner[1]);
  return LEAST / scale > LEAST * MATTERS ? Math.ceil(LEAST / scale) : 0;
}

/** The cell that a place lies in, in shares of the picture: the part's number in its layer, row and column from 0; null
 * beside all of them. Of parts that overlap the last is meant, which is drawn above. @param {Cells[]} layer */
export function cellAt(layer, x, y) {
  for (let part = layer.length - 1; part >= 0; part -= 1) {
    const { sides: [left, top, right, bottom], rows, columns } = layer[part];
    const [column, row] = [Math.floor((x - left) / (right - left) * columns), Math.floor((y - top) / (bottom - top) * rows)];
    if (row >= 0 && row < rows && column >= 0 && column < columns) return { part, row, column };
  }
  return null;
}

/** Where a cell lies, in shares of the picture, as far as it is the picture's. @param {Cells[]} layer */
export function sidesOf(layer, { part, row, column }) {
  const { sides: [left, top, right, bottom], rows, columns } = layer[part];
  const [width, height] = [(right - left) / columns, (bottom - top) / rows];
  const within = (share) => Math.min(1, Math.max(0, share));
  return { left: within(left + column * width), top: within(top + row * height), right: within(left + (column + 1) * width), bottom: within(top + (row + 1) * height) };
}

/** The cell beside another, whichever part it is of; the same where there is none. @param {Cells[]} layer */
export function beside(layer, cell, [right, down]) {
  const { sides: [left, top, farRight, bottom], rows, columns } = layer[cell.part];
  const middle = (from, to, place, count) => from + (to - from) * (place + 0.5) / count;
  const moved = { ...cell, row: cell.row + down, column: cell.column + right };
  if (moved.row >= 0 && moved.row < rows && moved.column >= 0 && moved.column < columns && shown(layer, moved)) return moved;
  const [x, y] = [middle(left, farRight, moved.column, columns), middle(top, bottom, moved.row, rows)];
  const next = x > 0 && x < 1 && y > 0 && y < 1 ? cellAt(layer, x, y) : null;
  return next && shown(layer, next) ? next : cell;
}

/** Whether anything of the picture lies in a cell: the rest of a tile is padding. */
export function shown(layer, cell) {
  const { left, top, right, bottom } = sidesOf(layer, cell);
  return right > left && bottom > top;
}

/** What is known of a cell. @param {Cells[]} layer */
export function wordAt(layer, { part, row, column }) {
  const cells = layer[part];
  const place = row * cells.columns + column;
  return cells.words ? { word: cells.words[place], share: cells.shares[place], bits: cells.bits[place] } : null;
}

/** The largest entropy of a layer, in bits: the end of its scale. @param {Cells[]} layer */
export function most(layer) {
  return layer.reduce((high, cells) => (cells.bits ?? []).reduce((one, other) => Math.max(one, other), high), 0);
}

/** The colour of a share of the scale, red, green, blue. @param {number} share @returns {number[]} */
export function colour(share) {
  const at = Math.min(1, Math.max(0, share)) * (COLOURS.length - 1);
  const [low, high] = [COLOURS[Math.floor(at)], COLOURS[Math.ceil(at)]];
  return low.map((one, place) => Math.round(one + (high[place] - one) * (at - Math.floor(at))));
}

/** Lines between the cells of a layer, and around its parts, as SVG paths in shares of the picture. @param {Cells[]} layer */
export function lines(layer) {
  const number = (value) => String(Math.round(value * 1e5) / 1e5);
  const [inner, outer] = [[], []];
  for (const { sides: [left, top, right, bottom], rows, columns } of layer) {
    for (let row = 1; row < rows; row += 1) inner.push(`M${number(left)} ${number(top + (bottom - top) * row / rows)}H${number(right)}`);
    for (let column = 1; column < columns; column += 1) inner.push(`M${number(left + (right - left) * column / columns)} ${number(top)}V${number(bottom)}`);
    outer.push(`M${number(left)} ${number(top)}H${number(right)}V${number(bottom)}H${number(left)}Z`);
  }
  return { inner: inner.join(""), outer: outer.join("") };
}
