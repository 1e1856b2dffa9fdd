// Every sentence of the page is there in Chinese, with the same places to fill.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

import { speak, t } from "../../ovis_app/ui/static/page/i18n.mjs";
import zh from "../../ovis_app/ui/static/page/zh.mjs";

const PAGE = new URL("../../ovis_app/ui/static/page/", import.meta.url);
const SENTENCE = /\bt\(\s*"((?:[^"\\]|\\.)*)"/g;

const said = () => readdirSync(PAGE).filter((name) => name.endsWith(".mjs"))
  .flatMap((name) => [...readFileSync(new URL(name, PAGE), "utf-8").matchAll(SENTENCE)].map((found) => JSON.parse(`"${found[1]}"`)));

const places = (sentence) => (sentence.match(/\{\w+\}/g) ?? []).sort();

test("every sentence that the page says is there in Chinese", () => {
  assert.deepEqual([...new Set(said())].filter((one) => !(one in zh)), []);
});

test("a translation fills the same places as its sentence", () => {
  for (const [english, chinese] of Object.entries(zh)) assert.deepEqual(places(chinese), places(english), english);
});

test("sentences are filled, and stay English where nothing else is known", async () => {
  await speak("zh");
  assert.equal(t("Copy"), "复制");
  assert.equal(t("Nobody translated {what}", { what: "this" }), "Nobody translated this");
  await speak("en");
  assert.equal(t("Copy"), "Copy");
});
