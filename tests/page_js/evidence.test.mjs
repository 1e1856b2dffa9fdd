// What of an answer can be looked for in a picture, and what comes of it.
import assert from "node:assert/strict";
import { test } from "node:test";

import { VERDICTS, claimsOf, names, outcome, placeIn, whatIsThere, whereIs, withMargin } from "../../ovis_app/ui/static/page/evidence.mjs";

test("an answer is taken apart into what it says is there, and what isn't there has no place", () => {
  assert.deepEqual(claimsOf("The image shows a red circle at the top left, a blue square and a yellow star."), ["a red circle at the top left", "a blue square", "a yellow star"]);
  assert.deepEqual(claimsOf("Yes, there is a dog. It has **no** collar.\n- Sky: blue"), ["a dog", "Sky: blue"]);
  assert.deepEqual(claimsOf("The <ref>red circle</ref><box>(0.1,0.1),(0.3,0.3)</box> is left of the square."), ["red circle"]);
  assert.deepEqual(claimsOf("图片中有一个红色圆形，一个蓝色正方形。没有星形。"), ["一个红色圆形", "一个蓝色正方形"]);
  assert.deepEqual([claimsOf(""), claimsOf("No."), claimsOf("x".repeat(500))], [[], [], []]);
  assert.equal(claimsOf(Array.from({ length: 50 }, (_, at) => `thing ${at}`).join(", ")).length, 8);
});

test("it is asked where something is, and never told what should be seen", () => {
  assert.equal(whereIs("a red circle", "Boxes."), "Where is the <ref>red circle</ref>? Boxes.");
  assert.equal(whereIs("x</ref>y", "Boxes.").match(/</g).length, 2);
  assert.deepEqual([whatIsThere("a circle"), whatIsThere("圆形")], ["Describe the image.", "描述这张图片。"]);
});

test("what comes of it is what was named where, and nothing more", () => {
  const place = placeIn("<ref>red circle</ref><box>(0.1,0.2),(0.3,0.4)</box>");
  const of = (alone, without, claim = "a Red circle at the left") => VERDICTS[outcome({ claim, place, alone, without })];
  assert.equal(of("A red circle.", "A blue square."), "agrees");
  assert.equal(of("A blue square.", "There is a red circle"), "disagrees");
  assert.equal(of("A red circle.", "A red circle too."), "unsure");
  assert.equal(of("A disc.", "A square."), "unsure");
  assert.equal(of("red circle", "", "a pink star"), "unsure"); // it marked something else
  assert.equal(VERDICTS[outcome({ claim: "a dog", place: null })], "unsure");
  assert.equal(placeIn("I see none."), null);
  assert.equal(placeIn("<point>(0.1,0.2)</point>"), null);
  assert.deepEqual([names("The red-circle!", "red circle"), names("Fred circles", "red circle"), names("有一个红色圆形。", "红色圆形"), names("a", "?")], [true, false, true, false]);
});

test("a part goes with a little of what is around it, and no further than the picture", () => {
  const { left, right, top, bottom } = withMargin({ left: 0.5, right: 1, top: 0, bottom: 0.2 }, 0.1);
  assert.deepEqual([left, right, top, bottom].map((one) => Number(one.toFixed(3))), [0.45, 1, 0, 0.22]);
});
