// Every sentence of the page is there in Chinese, with the same places to fill.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

import { later, preferred, said, speak, t } from "../../ovis_app/ui/static/page/i18n.mjs";
import zh from "../../ovis_app/ui/static/page/zh.mjs";
import server from "../../ovis_app/ui/static/page/zh_server.mjs";

const PAGE = new URL("../../ovis_app/ui/static/page/", import.meta.url);
const SENTENCE = /\b(?:t|later)\(\s*"((?:[^"\\]|\\.)*)"/g;

const written = () => readdirSync(PAGE).filter((name) => name.endsWith(".mjs"))
  .flatMap((name) => [...readFileSync(new URL(name, PAGE), "utf-8").matchAll(SENTENCE)].map((found) => JSON.parse(`"${found[1]}"`)));

const places = (sentence) => (sentence.match(/\{=?\w*\}/g) ?? []).map((one) => one.replace("=", "")).sort();
const WAITS = "Waiting for {0} other question{1}";
const LEFT_OUT = { [WAITS]: ["{1}"], [`${WAITS}, about {2} s`]: ["{1}"] }; // an English plural

test("every sentence that the page says is there in Chinese", () => {
  assert.deepEqual([...new Set(written())].filter((one) => !(one in zh)), []);
});

test("no sentence stands there twice, the later one in place of the other", () => {
  for (const name of ["zh.mjs", "zh_server.mjs"]) {
    const rows = readFileSync(new URL(name, PAGE), "utf-8").match(/^ {2}"(?:[^"\\]|\\.)*"(?=:)/gm);
    assert.deepEqual(rows.filter((one, place) => rows.indexOf(one) !== place), [], name);
  }
});

test("a translation fills the same places as its sentence", () => {
  for (const [english, chinese] of [...Object.entries(zh), ...Object.entries(server)]) {
    assert.deepEqual(places(chinese), places(english).filter((one) => !LEFT_OUT[english]?.includes(one)), english);
  }
});

test("sentences are filled, and stay English where nothing else is known", async () => {
  await speak("zh");
  assert.equal(t("Copy"), "复制");
  assert.equal(t("Nobody translated {what}", { what: "this" }), "Nobody translated this");
  await speak("en");
  assert.equal(t("Copy"), "Copy");
});

test("what the server says is heard in Chinese, also where it is put together", async () => {
  await speak("zh");
  const heard = {
    "The model failed while answering: try again, or start a new chat.": "模型在回答时出错：请重试，或开始新对话。",
    "Waiting for 2 other questions": "前面还有 2 个问题",
    "Waiting for 1 other question, about 12 s": "前面还有 1 个问题，约 12 秒",
    "“a.png” is larger than the 20 MB allowed for pictures: scale it down and try again.": "“a.png”超过了图片允许的 20 MB：请缩小后重试。",
    "“a.png” is empty: save or download it again and attach that. “b.png” and 3 more did not fit: attach at most 8 files to a message.":
      "“a.png”是空的：请重新保存或下载后再附上。“b.png”和另外 3 个文件放不下：一条消息最多附 8 个文件。",
    "Downloading Ovis2.5-2B: 1.2 of 5.1 GB, 3 min left": "正在下载 Ovis2.5-2B：1.2 / 5.1 GB，还需 3 分钟",
    "Downloading Ovis2.5-2B: 1.2 of 5.1 GB": "正在下载 Ovis2.5-2B：1.2 / 5.1 GB",
    "ready · one up, two down": "就绪 · one 可用、two 已停",
    "Ovis2.5-9B\n18.3 GB · fits (needs 22.1 GB)\nseveral pictures, clips, thinking": "Ovis2.5-9B\n18.3 GB · 装得下（需要 22.1 GB）\n多张图片、视频、思考",
    "8 MB · 2,048 tokens of context · several pictures, clips · MIT": "8 MB · 2,048 token 上下文 · 多张图片、视频 · MIT",
    "On a card of 12 GB fit, the newest first: Ovis2.5-2B, Ovis2-8B.": "12 GB 的显卡装得下，从新到旧：Ovis2.5-2B, Ovis2-8B。",
    "Here: 9 MB of weights, 1.1 GB for conversations (44,096 tokens), 1.1 GB to look at pictures":
      "本机：权重 9 MB、对话 1.1 GB（44,096 token）、看图 1.1 GB",
    "Here: 1.3 GB of weights in 4 bits, 1.1 GB for conversations (44,096 tokens), 1.1 GB to look at pictures":
      "本机：权重 1.3 GB（4 位）、对话 1.1 GB（44,096 token）、看图 1.1 GB",
    "Smaller pictures are enlarged to this; raise it for tiny print. Given as the side of a square of as many pixels.":
      "更小的图片会放大到这个尺寸；字很小时请调高。以同样像素数的正方形的边长表示。",
    "Reads one picture in up to nine tiles, charts and documents. It answers from box.": "把一张图片分成最多九块阅读，也能看图表和文档。由 box 回答。",
    "temperature must be a number from 0 to 2.": "temperature 必须是 0 到 2 之间的数。",
    "“ready” is a clip, and this model looks at pictures only.": "“ready”是视频，而这个模型只看图片。",
  };
  for (const [english, chinese] of Object.entries(heard)) assert.equal(said(english), chinese);
  const kept = later("That is more text than fits: at most {most} characters, please.", { most: "50,000" });
  assert.equal(kept, "That is more text than fits: at most 50,000 characters, please.");
  assert.equal(said(kept), "文字太多：最多 50,000 个字符。");
  for (const own of ["Nobody translated this.", "", "“ready” what", "x".repeat(5000)]) assert.equal(said(own), own);
  await speak("en");
  assert.equal(said("Waiting for 2 other questions"), "Waiting for 2 other questions");
});

test("a long text of a stranger is looked up before anybody gives up", async () => {
  await speak("zh");
  for (const one of ["“", "Page 1 of ", ", ", ": ", "needs ", " · ", "A. "]) assert.ok(said(one.repeat(1000).slice(0, 1999)));
  await speak("en");
});

test("the language is the first that a browser prefers and the page speaks, until somebody chooses", () => {
  assert.equal(preferred(["zh-TW", "en"]), "zh");
  assert.equal(preferred(["de-DE", "zh-CN", "en"]), "zh");
  assert.equal(preferred(["en-GB", "zh-CN"]), "en");
  assert.equal(preferred(["de"]), "en");
  assert.equal(preferred(undefined, "toString"), "en");
  assert.equal(preferred(["en"], "zh"), "zh");
});
