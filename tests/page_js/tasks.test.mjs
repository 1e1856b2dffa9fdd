// What is often asked, by what is attached and by what the model knows.
import assert from "node:assert/strict";
import { test } from "node:test";

import { speak } from "../../ovis_app/ui/static/page/i18n.mjs";
import { offered } from "../../ovis_app/ui/static/page/tasks.mjs";

const TASKS = [
  { label: "Describe", image: "Describe the image.", images: "Describe the images.", video: "Describe the video." },
  { label: "Find…", image: "Where is the <ref>…</ref>? Coordinates.", images: "", video: "" },
];
const of = (kinds) => offered(TASKS, kinds.map((kind) => ({ kind })));

test("what is asked goes with what is attached, and waits where a word belongs", () => {
  assert.deepEqual(of([]), []);
  assert.deepEqual(of(["video", "video"]), []);
  assert.deepEqual(of(["video"]).map((one) => one.text), ["Describe the video."]);
  assert.deepEqual(of(["image", "image"]).map((one) => [one.text, one.at]), [["Describe the images.", -1]]);
  const [, find] = of(["image"]);
  assert.equal(find.text, "Where is the <ref></ref>? Coordinates.");
  assert.equal(find.text.slice(0, find.at), "Where is the <ref>");
});

test("on the Chinese page it is asked in Chinese, but for what is known in English alone", async () => {
  await speak("zh");
  assert.deepEqual(of(["image"]).map((one) => one.text), ["描述这张图片。", "Where is the <ref></ref>? Coordinates."]);
  await speak("en");
});
