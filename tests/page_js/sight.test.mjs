// How a model sees a picture: which cell a place lies in, what is lost, colours and lines.

import assert from "node:assert/strict";
import { test } from "node:test";

import { LACKING } from "../../ovis_app/ui/static/page/asking.mjs";
import { looked } from "../../ovis_app/ui/static/page/looking.mjs";
import { beside, cellAt, colour, layers, least, lines, most, shown, sidesOf, tokens, wordAt } from "../../ovis_app/ui/static/page/sight.mjs";

const whole = { sides: [0, 0, 1, 1], rows: 2, columns: 3, tile: false, words: [5, 6, 7, 8, 9, 10], shares: [1, 0.5, 0.5, 0.5, 0.5, 0.25], bits: [0, 1, 1, 1, 1, 2] };
// A picture twice as wide as high, in two tiles, beside the whole in a square.
const tiled = {
  size: [200, 100], inner: [200, 100], seen: [100, 50], pieces: 1, vocabulary: 0,
  cells: [{ sides: [0, -0.5, 1, 1.5], rows: 4, columns: 4, tile: false }, { sides: [0, 0, 0.5, 1], rows: 2, columns: 2, tile: true }, { sides: [0.5, 0, 1, 1], rows: 2, columns: 2, tile: true }],
};

test("a place lies in one cell, and that lies around it", () => {
  assert.deepEqual(cellAt([whole], 0.99, 0.51), { part: 0, row: 1, column: 2 });
  assert.equal(cellAt([whole], 1.01, 0.5), null);
  const { left, right, top, bottom } = sidesOf([whole], { part: 0, row: 1, column: 1 });
  assert.deepEqual([left, right, top, bottom].map((one) => Math.round(one * 100)), [33, 67, 50, 100]);
  assert.deepEqual(wordAt([whole], { part: 0, row: 1, column: 2 }), { word: 10, share: 0.25, bits: 2 });
});

test("tiles are a layer of their own, and one goes on into the next", () => {
  const [all, tiles] = layers(tiled);
  assert.deepEqual([all.length, tiles.length, tokens(tiled)], [1, 2, 24]);
  assert.deepEqual(cellAt(tiles, 0.6, 0.6), { part: 1, row: 1, column: 0 });
  assert.deepEqual(beside(tiles, { part: 0, row: 1, column: 1 }, [1, 0]), { part: 1, row: 1, column: 0 });
  assert.deepEqual(beside(tiles, { part: 1, row: 0, column: 0 }, [-1, 0]), { part: 0, row: 0, column: 1 });
  assert.deepEqual(beside(tiles, { part: 0, row: 0, column: 0 }, [0, -1]), { part: 0, row: 0, column: 0 });
  assert.equal(wordAt(tiles, { part: 0, row: 0, column: 0 }), null);
});

test("padding holds nothing of the picture, and nobody is led into it", () => {
  const [all] = layers(tiled);
  assert.deepEqual([0, 1, 2, 3].map((row) => shown(all, { part: 0, row, column: 0 })), [false, true, true, false]);
  assert.deepEqual(beside(all, { part: 0, row: 1, column: 2 }, [0, -1]), { part: 0, row: 1, column: 2 });
  assert.deepEqual(beside(all, { part: 0, row: 1, column: 2 }, [0, 1]), { part: 0, row: 2, column: 2 });
});

test("letters are lost as the picture is read smaller than it is", () => {
  assert.equal(least({ inner: [1080, 20000], seen: [352, 6656] }), 25);
  assert.equal(least({ inner: [1000, 1000], seen: [1000, 500] }), 16);
  for (const seen of [[100, 100], [96, 96], [448, 448]]) assert.equal(least({ inner: [100, 100], seen }), 0);
});

test("the scale ends at the largest entropy, and its colours only grow lighter", () => {
  assert.equal(most([whole]), 2);
  assert.equal(most(tiled.cells), 0);
  const light = [0, 0.1, 0.25, 0.5, 0.77, 1].map((share) => { const [r, g, b] = colour(share); return 0.2126 * r + 0.7152 * g + 0.0722 * b; });
  assert.deepEqual(light, [...light].sort((one, other) => one - other));
  assert.deepEqual([colour(-1), colour(2)], [colour(0), colour(1)]);
});

test("lines stand between cells and around parts", () => {
  const { inner, outer } = lines([{ sides: [0, 0, 0.5, 1], rows: 2, columns: 2 }]);
  assert.equal(inner, "M0 0.5H0.5M0.25 0V1");
  assert.equal(outer, "M0 0H0.5V1H0Z");
});

test("a server that says nothing of how a picture is seen is said to lack it, in a sentence", async () => {
  const session = {
    facts: { session: "s", model: { knobs: [], switches: [] } }, settings: {}, messages: new Map([["q", { files: [1], detail: null }]]),
    files: { placed: async () => new Map() }, wire: { address: () => "", ask: async () => {} },
  };
  await assert.rejects(looked(session, { message: "q", file: 1 }, { signal: new AbortController().signal, note: () => {} }), { message: LACKING });
});
