// Boxes in answers: read from their words, put on the right picture, counted in pixels, and rectangles that are drawn.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { CARRIED, MOST, carried, phraseAt, read, words } from "../../ovis_app/ui/static/page/boxes.mjs";
import { coco } from "../../ovis_app/ui/static/page/coco.mjs";
import { between, fitted, larger, moved, notation, pixels, shifted, zoomed } from "../../ovis_app/ui/static/page/geometry.mjs";
import { assigned, picturesOf } from "../../ovis_app/ui/static/page/which_picture.mjs";

const CASES = JSON.parse(readFileSync(new URL("../fixtures/boxes.json", import.meta.url), "utf-8"));
const near = (one, other) => Math.abs(one - other) < 1e-9;

for (const { text, words: plain, marks } of CASES) {
  test(`an answer is read: ${text.slice(0, 40)}`, () => {
    const found = read(text);
    assert.equal(words(found), plain);
    assert.deepEqual(found.marks.map((one) => [one.name, one.kind]), marks.map(([name, kind]) => [name, kind]));
    for (const [place, [, , ...sides]] of marks.entries()) {
      const one = found.marks[place];
      assert.ok([one.left, one.top, one.right, one.bottom].every((side, i) => near(side, sides[i])), JSON.stringify(one));
      assert.equal(one.number, place + 1);
    }
  });
}

test("no tag shows at any moment of a growing answer, and no word that was shown goes again", () => {
  for (const { text } of CASES.filter((one) => !one.text.includes("<refer>") && !one.text.includes("somewhere"))) {
    for (let length = 0; length <= text.length; length++) {
      const shown = words(read(text.slice(0, length), { over: false }));
      assert.doesNotMatch(shown, /<\/?(?:r|re|ref|b|bo|box|p|po|poi|poin|point)?>?$|<\/?(?:ref|box|point)>|\(0?\.?\d|\[$/i, text.slice(0, length));
      assert.ok(words(read(text)).startsWith(shown.trimEnd()), `${text.slice(0, length)} -> ${shown}`);
    }
  }
});

test("an answer that was cut within a tag shows none of it", () => {
  for (const tail of ["<box>(0.1,0.", "<ref>a</ref><box>", "<bo", "</re", "[<box>(0.1,0.2),(0.3,0.4)</box>, <box>(0"]) {
    assert.match(words(read(`See <ref>cup</ref><box>(0.1,0.2),(0.3,0.4)</box> and ${tail}`)), /^See cup and a?$/);
  }
});

test("phrases are carried through other words in one piece, and nobody can type their places", () => {
  const found = read("\ufdd0\ufde0\ufdd2\ufde1\ufdd1 **<ref>a</ref><box>(0,0),(1,1)</box>** <ref>b</ref>");
  const text = carried(found);
  const places = [...text.matchAll(CARRIED)].map(([, number]) => phraseAt(found, number));
  assert.deepEqual(places.map((one) => [one.words, one.marks.length]), [["a", 1], ["b", 0]]);
  assert.equal(text.replace(CARRIED, "P"), " **P** P");
  assert.equal(places[0].source, "<ref>a</ref><box>(0,0),(1,1)</box>");
  const growing = (said) => carried(read(said, { over: false }));
  const list = "<ref>a</ref>[<box>(0,0),(1,1)</box>, <box>(0,0),(0.5,1)</box>";
  assert.notEqual(growing(list), growing(list.slice(0, 40))); // so that what was drawn of it is drawn again
});

test("however much a model writes, it is read in little time, and only so many boxes are kept", () => {
  const many = read("<ref>a</ref><box>(0.1,0.2),(0.3,0.4)</box> ".repeat(4000));
  assert.equal(many.marks.length, MOST);
  assert.doesNotMatch(words(many), /</);
  const began = process.cpuUsage().user;
  for (const piece of ["<box>(0.1,0.2),", "<ref>", "<box>(1", "<ref>a</ref>[", "<", "[<box>", "[", " ", "(", "0"]) read(piece.repeat(100_000 / piece.length));
  assert.ok(process.cpuUsage().user - began < 5e6);
});

// --- which picture ---------------------------------------------------------------------------------------------------

const file = (name, kind = "image") => ({ hash: "a".repeat(64), name, kind });
const question = (id, files, text = "Where?") => ({ id, role: "user", text, files });
const BOX = "<box>(0.1,0.1),(0.2,0.2)</box>";
const lies = (text, path) => {
  const found = assigned(read(text), path);
  const names = [...found.places].sort(([one], [other]) => one - other).map(([, place]) => found.pictures[place].file.name);
  return found.unsure ? [...names, "?"] : names;
};
const two = [question("q", [file("a"), file("b")])];

test("boxes lie on the picture that the words near them name", () => {
  assert.deepEqual(lies(`<ref>cup</ref>${BOX}`, [question("q", [file("a")])]), ["a"]);
  assert.deepEqual(lies(`In Image 2 there is a <ref>cup</ref>${BOX}, and in image 1 a <ref>dog</ref>${BOX}.`, two), ["b", "a"]);
  assert.deepEqual(lies(`A <ref>cup</ref>${BOX} in the second picture and a <ref>dog</ref>${BOX} in the first image.`, two), ["b", "a"]);
  assert.deepEqual(lies(`Image 1:\n- <ref>a</ref>${BOX}\n- <ref>b</ref>${BOX}\n\nImage 2:\n- <ref>c</ref>${BOX}`, two), ["a", "a", "b"]);
  assert.deepEqual(lies(`图2里有<ref>杯子</ref>${BOX}，第一张图片里有<ref>猫</ref>${BOX}。`, two), ["b", "a"]);
  assert.deepEqual(lies(`<ref>cup in image 2</ref>${BOX}`, two), ["b"]);
  assert.deepEqual(lies(`<ref>cup</ref>${BOX}`, [question("q", [file("a"), file("b")], "Where is the cup in image 2?")]), ["b"]);
  assert.deepEqual(lies(`Image 7 has a <ref>cup</ref>${BOX}`, two), ["a", "?"]);
});

test("what nothing tells is unsure, a clip has none, and a later question is about the latest pictures", () => {
  assert.deepEqual(lies(`<ref>cup</ref>${BOX}`, two), ["a", "?"]);
  assert.deepEqual(lies(`<ref>cup</ref>${BOX}`, [question("q", [file("c", "video")])]), []);
  assert.deepEqual(lies(`<ref>cup</ref>${BOX}`, [question("q", [])]), []);
  const later = [...two, { id: "x", role: "assistant", text: "", files: [] }, question("r", [file("c")]), question("s", [])];
  assert.deepEqual(lies(`<ref>cup</ref>${BOX}`, later), ["c"]);
  assert.deepEqual(picturesOf(later).map((one) => [one.file.name, one.index, one.count]), [["a", 0, 2], ["b", 1, 2], ["c", 0, 1]]);
});

test("a box of a picture that was read in pieces lies on none: which piece it means isn't told", () => {
  const long = { ...question("q", [{ ...file("a"), size: [1080, 9000] }]), detail: { split: true } };
  const places = (asked, told) => assigned(read(`<ref>total</ref>${BOX}`), [asked], told).places.size;
  assert.equal(places(long, null), 0);
  assert.equal(places(long, { split: false }), 1); // asked again as a whole
  assert.equal(places({ ...long, detail: {} }, { split: true }), 0);
  assert.equal(places({ ...long, files: [{ ...file("a"), size: [1080, 2000] }] }), 1); // it isn't long
});

// --- pixels ----------------------------------------------------------------------------------------------------------

test("COCO has pictures, categories and boxes in pixels, and points as keypoints", () => {
  const { marks } = read(`<ref>cup</ref><box>(0.1,0.2),(0.5,0.6)</box><ref>tip</ref><point>(0.5,0.5)</point> and ${BOX}`);
  const data = coco([{ name: "a.png", width: 1000, height: 500, marks }, { name: "b.png", width: 10, height: 20, marks: [marks[0]] }], { description: "d" });
  assert.deepEqual(data.images, [{ id: 1, file_name: "a.png", width: 1000, height: 500 }, { id: 2, file_name: "b.png", width: 10, height: 20 }]);
  assert.deepEqual(data.categories.map((one) => one.name), ["cup", "tip", "object"]);
  assert.deepEqual(data.annotations.map((one) => [one.id, one.image_id, one.category_id, one.bbox, one.area]),
    [[1, 1, 1, [100, 100, 400, 200], 80000], [2, 1, 2, [500, 250, 0, 0], 0], [3, 1, 3, [100, 50, 100, 50], 5000], [4, 2, 1, [1, 4, 4, 8], 32]]);
  assert.deepEqual(data.annotations[1].keypoints, [500, 250, 2]);
  assert.deepEqual(data.categories[1].keypoints, ["point"]);
});

test("a picture stands whole in its window, grows where it is pointed at and stops at its edges", () => {
  const [picture, room] = [{ width: 2000, height: 1000 }, { width: 500, height: 500 }];
  const whole = fitted(picture, room);
  assert.deepEqual(whole, { x: 0, y: 125, scale: 0.25 });
  assert.equal(fitted({ width: 64, height: 64 }, { width: 1000, height: 800 }).scale, 8); // tiny ones are enlarged
  assert.equal(fitted({ width: 800, height: 600 }, { width: 1000, height: 800 }).scale, 1);
  const close = zoomed(whole, 4, { x: 100, y: 250 }, picture, room);
  assert.deepEqual([close.scale, (100 - close.x) / close.scale, (250 - close.y) / close.scale], [1, 400, 500]);
  assert.ok(larger(close, picture, room) && !larger(whole, picture, room));
  assert.deepEqual(moved(close, 9999, -9999, picture, room), { x: 0, y: -500, scale: 1 });
  assert.deepEqual(zoomed(close, 0.001, { x: 0, y: 0 }, picture, room), whole);
  assert.equal(zoomed(close, 1e9, { x: 0, y: 0 }, picture, room).scale, 16);
});

test("a rectangle stays within its picture and never gets too small", () => {
  const least = { x: 0.1, y: 0.1 };
  assert.deepEqual(between({ x: 0.9, y: 1.4 }, { x: 0.5, y: -3 }, least), { left: 0.5, top: 0, right: 0.9, bottom: 1 });
  const small = between({ x: 1, y: 0.5 }, { x: 1, y: 0.5 }, least);
  assert.ok(near(small.left, 0.9) && near(small.right, 1) && near(small.top, 0.5) && near(small.bottom, 0.6));
  assert.deepEqual(between({ x: 0.2, y: 0.2 }, { x: 0.3, y: 0.3 }, { x: 3, y: 3 }), { left: 0, top: 0, right: 1, bottom: 1 });
  const there = shifted({ left: 0.5, top: 0.5, right: 0.75, bottom: 0.75 }, 9, -9);
  assert.deepEqual(there, { left: 0.75, top: 0, right: 1, bottom: 0.25 });
  assert.deepEqual(pixels({ left: 0.25, top: 0, right: 0.5, bottom: 1 }, { width: 100, height: 30 }), { left: 25, top: 0, right: 50, bottom: 30, width: 25, height: 30 });
  assert.equal(notation({ left: 0, top: 0.12345, right: 1, bottom: 0.5 }), "<box>(0.000,0.123),(0.999,0.500)</box>");
});
