// What blocks have beside their words: formulas drawn, code with its language and colours, tables that scroll and can be taken
// along. Loads what draws formulas when there is the first one. Refuses to know where the words are from.

import * as code from "./code.mjs";
import * as tables from "./tables.mjs";

let math = null;
let loading = null;
const waiting = new Set(); // formulas that were drawn before math.mjs was there

/** A block that was just drawn. */
export function dress(block) {
  for (const one of block.querySelectorAll("pre")) code.frame(one);
  for (const one of block.querySelectorAll("table")) tables.frame(one);
  const formulas = [...block.querySelectorAll(".formula")];
  if (!formulas.length) return;
  if (math) return math.draw(formulas);
  for (const one of formulas) waiting.add(one);
  load();
}

/** A block that doesn't change any more. */
export function finish(block, coloured) {
  for (const one of block.querySelectorAll(".code")) code.colour(one, coloured);
  for (const one of block.querySelectorAll(".sheet")) tables.tools(one);
}

/** Whether a block of code only grew, and was drawn by adding what is new. */
export function grown(block, content) {
  return code.grown(block, content);
}

function load() {
  loading ??= import("./math.mjs").then(async (module) => {
    await module.ready();
    math = module;
    math.draw([...waiting]);
    waiting.clear();
  }).catch(() => { loading = null; }); // formulas stand as their source, and the next one tries again
}
