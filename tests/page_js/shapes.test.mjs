// What is drawn on a picture: where the lines run, and that nothing leaves it.
import assert from "node:assert/strict";
import { test } from "node:test";

import { drawnOut, moved, pathOf, thickness } from "../../ovis_app/ui/static/page/shapes.mjs";

const SIZE = { width: 400, height: 200 };
const shape = (kind, x, y, right, bottom) => ({ kind, from: { x, y }, to: { x: right, y: bottom } });
const numbers = (path) => path.match(/-?[\d.]+/g).map(Number);

test("an arrow points where it was drawn to, and its head lies on both sides of its line", () => {
  const [x, y, tipX, tipY, oneX, oneY, , , otherX, otherY] = numbers(pathOf(shape("arrow", 0.1, 0.5, 0.9, 0.5), SIZE));
  assert.deepEqual([x, y, tipX, tipY], [40, 100, 360, 100]);
  assert.ok(oneX < tipX && oneX === otherX && Math.abs(oneY + otherY - 200) < 0.02 && oneY !== otherY);
  const short = numbers(pathOf(shape("arrow", 0.5, 0.5, 0.51, 0.5), SIZE)); // its head is no longer than it is
  assert.ok(short.every((value, i) => (i % 2 ? Math.abs(value - 100) <= 4 : value >= 199 && value <= 204)));
});

test("a box has its corners where it was begun and ended, and a click is neither", () => {
  assert.equal(pathOf(shape("box", 0.75, 1, 0.25, 0), SIZE), "M300.00 200.00 L100.00 200.00 L100.00 0.00 L300.00 0.00 Z");
  assert.ok(drawnOut(shape("box", 0, 0, 0.1, 0.1), SIZE) && !drawnOut(shape("arrow", 0.5, 0.5, 0.5, 0.51), SIZE));
  assert.ok(thickness({ width: 10, height: 10 }) >= 2 && thickness({ width: 8000, height: 10 }) === 50);
});

test("what moves stays in the picture, whole", () => {
  const far = moved(shape("box", 0.5, 0.5, 0.25, 0.75), 5, -5);
  assert.deepEqual([far.from, far.to], [{ x: 1, y: 0 }, { x: 0.75, y: 0.25 }]);
  const end = moved(shape("arrow", 0.5, 0.5, 0.9, 0.9), 0.5, 0.02, { end: true });
  assert.deepEqual([end.from.x, end.to.x], [0.5, 1]);
});
