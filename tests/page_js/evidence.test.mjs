// What of an answer can be looked for in a picture, and what comes of it.
import assert from "node:assert/strict";
import { test } from "node:test";

import { VERDICTS, claimsOf, mostPixels, names, outcome, placeIn, sought, whatIsThere, whereIs, withMargin } from "../../ovis_app/ui/static/page/evidence.mjs";
import { loaded } from "../../ovis_app/ui/static/page/evidence_check.mjs";
import { picturesBefore } from "../../ovis_app/ui/static/page/evidence_dialog.mjs";
import { encoded, part } from "../../ovis_app/ui/static/page/saving.mjs";
import { upload } from "../../ovis_app/ui/static/page/wire.mjs";

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

test("an answer of any length is taken apart at once", () => {
  const gap = " ".repeat(200_000);
  assert.deepEqual(claimsOf(`A dog.${gap}A cat`), ["A dog"]); // by its beginning
  assert.deepEqual(claimsOf(`${gap}x`), []);
  assert.deepEqual(claimsOf(`A red  dog${" ".repeat(500)}and a cat. .${" .".repeat(1500)}`), ["A red dog", "a cat"]);
});

test("the same thing in other words is looked for, whichever names it more closely", () => {
  const marked = (claim, name, alone) => {
    const place = placeIn(`<ref>${name}</ref><box>(0.1,0.2),(0.3,0.4)</box>`);
    return [sought({ claim, place }), outcome({ claim, place, alone, without: "A lawn." })];
  };
  assert.deepEqual(marked("two dogs", "dog", "Two dogs on grass."), ["dog", "holds"]);
  assert.deepEqual(marked("a dog", "brown dog", "There is a dog."), ["dog", "holds"]);
  assert.deepEqual(marked("两只狗", "狗", "有一只狗。"), ["狗", "holds"]);
  assert.deepEqual(marked("a red cap", "red cape", "A red cape."), [null, "other"]);
});

test("each picture comes into an element of its own, however late", async () => {
  const waiting = new Map();
  const files = { seen: (hash) => new Promise((go) => waiting.set(hash, go)), copied: async ({ hash }) => `copy of ${hash}` };
  const [one, other] = ["a", "b"].map((hash) => ({ element: { decode: async () => {} }, hash }));
  const both = [one, other].map(({ element, hash }) => loaded(element, { hash }, files));
  waiting.get("b")("b's");
  waiting.get("a")("a's");
  assert.deepEqual((await Promise.all(both)).map((element) => element.src), ["a's", "b's"]);
  const odd = { decode: async () => { throw new Error("The source image cannot be decoded."); } };
  const again = loaded(odd, { hash: "c" }, files);
  waiting.get("c")("c's");
  assert.equal((await again).src, "copy of c");
  await assert.rejects(part(odd, {}), /This browser couldn't draw that picture: try/);
  await assert.rejects(encoded({ toBlob: (done) => done(null) }, "image/png"), /This browser couldn't draw that picture: try/);
});

test("what is covered is no larger than the model sees, and nothing is sent once it is stopped", async () => {
  assert.equal(mostPixels({ knobs: [{ name: "max_pixels", side: true, high: 100 }] }), 10_000);
  assert.ok(mostPixels({ knobs: [] }) <= 4e6);
  const sent = [];
  globalThis.document ??= { baseURI: "http://x/" };
  globalThis.XMLHttpRequest = class { upload = {}; open() {} abort() {} send(form) { sent.push(form); this.onerror(); } };
  await assert.rejects(upload(new Blob(["x"]), "x", { signal: AbortSignal.abort() }), { name: "AbortError" });
  assert.deepEqual(sent, []);
});

test("an answer that isn't on the path any more is about no picture", () => {
  const path = [{ id: "q", files: [{ kind: "image", name: "a" }] }, { id: "r", files: [] }, { id: "s", files: [] }];
  assert.deepEqual([picturesBefore(path, "r").length, picturesBefore(path, "gone").length], [1, 0]);
});
