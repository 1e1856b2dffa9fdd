// Which models are listed for what is wanted and sought, and in which bits one may be: as the server told them.
import assert from "node:assert/strict";
import { test } from "node:test";

import { lacking, listed, weights } from "../../ovis_app/ui/static/page/model_offers.mjs";

const WAYS = [{ way: "none", row: "As released" }, { way: "int8", row: "8 bits" }, { way: "int4", row: "4 bits" }];
const OFFERED = {
  offers: [
    { id: "big", row: "Ovis-Big\n18.3 GB · too big\nclips, thinking", label: "Weights of Ovis-Big", ways: WAYS },
    { id: "small", row: "Ovis-Small\n5.1 GB · fits\nclips, thinking", label: "Weights of Ovis-Small", ways: WAYS },
    { id: "plain", row: "Ovis-Plain\n5 GB · fits\none picture", label: "Weights of Ovis-Plain", ways: [] },
  ],
  wishes: [{ name: "small", order: [2, 1, 0], lacking: "" }, { name: "fast", order: [], lacking: "Nobody knows." }],
};
const ids = (wants) => listed(OFFERED, wants).map((one) => one.id);

test("without a wish all are listed but the one that answers, as they come", () => {
  assert.deepEqual(ids({}), ["big", "small", "plain"]);
  assert.deepEqual(ids({ present: "small" }), ["big", "plain"]);
  assert.deepEqual(ids({ wish: "nobody's" }), ["big", "small", "plain"]);
});

test("a wish lists those that are meant, as it sorts them, or says why there are none", () => {
  assert.deepEqual(ids({ wish: "small", present: "plain" }), ["small", "big"]);
  assert.deepEqual(ids({ wish: "fast" }), []);
  assert.equal(lacking(OFFERED, "fast"), "Nobody knows.");
  assert.equal(lacking(OFFERED, "small"), "");
  assert.equal(lacking(OFFERED, ""), "");
});

test("every word that is sought stands in a row, whatever its case, as it is told or as it is read", () => {
  assert.deepEqual(ids({ search: "  THINKING  fits " }), ["small"]);
  assert.deepEqual(ids({ search: "nothing" }), []);
  const read = (row) => row.replace("clips", "视频");
  assert.deepEqual(ids({ search: "视频 fits", read }), ["small"]);
  assert.deepEqual(ids({ search: "clips fits", read }), ["small"]);
});

test("bits are those of the chosen model or of the one that answers, as pressed, as used now, or as released", () => {
  assert.equal(weights(OFFERED, { present: "big" }).label, "Weights of Ovis-Big");
  const of = (wants) => weights(OFFERED, { present: "big", ...wants })?.way;
  assert.equal(of({}), "none");
  assert.equal(of({ used: "int8" }), "int8");
  assert.equal(of({ used: "int8", pressed: "int4" }), "int4");
  assert.equal(of({ chosen: "small", used: "int3" }), "none");
  assert.equal(weights(OFFERED, { present: "big", chosen: "plain" }), null);
  assert.equal(weights(OFFERED, { present: "elsewhere" }), null);
});
