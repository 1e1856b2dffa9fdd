// Moments and pages that words name.
import assert from "node:assert/strict";
import { test } from "node:test";

import { subjectOf } from "../../ovis_app/ui/static/page/jumps.mjs";
import { named } from "../../ovis_app/ui/static/page/times.mjs";

const found = (text, wanted = {}) => named(text, wanted).map((one) => [text.slice(one.from, one.to), one.value]);

test("moments are found as people write them", () => {
  assert.deepEqual(found("The dot turns at 3.2 s, then at 4 seconds."), [["3.2 s", 3.2], ["4 seconds", 4]]);
  assert.deepEqual(found("From 1.5 s to 2 s; around the 3 second mark (0.5s)"), [["1.5 s", 1.5], ["2 s", 2], ["3 second", 3], ["0.5s", 0.5]]);
  assert.deepEqual(found("At 0:03 it falls, at 01:02:03.5 it lands."), [["0:03", 3], ["01:02:03.5", 3723.5]]);
  assert.deepEqual(found("2.5 seconds into the clip; at second 7"), [["2.5 seconds", 2.5], ["7", 7]]);
  assert.deepEqual(found("在第3.2秒，红点转向；到 5 秒停下。"), [["3.2秒", 3.2], ["5 秒", 5]]);
});

test("lengths, prices, hours and parts of other words are none", () => {
  for (const text of ["It takes 3 seconds.", "a 5 s clip", "at 3.2 km", "at 3 streets", "at 10:30 am", "ratio 3:45:99", "at v1.2 s", "持续3秒", "5 seconds is long", "at 3 s-curves", "page1.5", "on pages of 3"]) {
    assert.deepEqual(found(text), [], text);
  }
});

test("pages are found in both languages, and only what is wanted", () => {
  assert.deepEqual(found("See page 3 and p. 12; Pages 4", {}), [["page 3", 3], ["p. 12", 12], ["Pages 4", 4]]);
  assert.deepEqual(found("见第3页"), [["第3页", 3]]);
  assert.deepEqual(found("page 3 at 2 s", { moments: false, pages: true }), [["page 3", 3]]);
  assert.deepEqual(found("page 3 at 2 s", { moments: true, pages: false }), [["2 s", 2]]);
});

test("hostile words take no time", () => {
  const began = performance.now();
  for (const part of ["at ", "1:", "1 ", "at 1", "第 ", "second ", "9", "(", "page "]) named(part.repeat(20_000 / part.length), {});
  assert.ok(performance.now() - began < 2000);
});

test("an answer is about the latest question with a clip or with pages", () => {
  const said = (id, role, files = []) => ({ id, role, files });
  const clip = { name: "a.mp4", kind: "video" };
  const page = (number) => ({ name: `r.pdf page ${number}`, kind: "image", source: { page: number } });
  const path = [said("1", "user", [clip]), said("2", "assistant"), said("3", "user", [page(2), { name: "old.pdf page 9", kind: "image" }]), said("4", "assistant"), said("5", "user"), said("6", "assistant")];
  assert.deepEqual(subjectOf(path, path[1]), { id: "1", clip: true, pages: new Map() });
  assert.deepEqual(subjectOf(path, path[5]), { id: "3", clip: false, pages: new Map([[2, 0], [9, 1]]) });
  assert.equal(subjectOf([said("1", "user", [{ name: "a.png", kind: "image" }]), path[1]], path[1]), null);
});
