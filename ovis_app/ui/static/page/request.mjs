// A path of messages and the settings -> what /v1/chat/completions takes. What only this page knows stands under `ovis`,
// which other servers leave aside.
// Pure. Knows the names of fields; refuses to know where files lie: whoever asks says how each is named.

import { whole } from "./pasted.mjs";
import { asSent } from "./sampling.mjs";

/**
 * @param {any[]} path from the first message to the question that is asked, or to an answer that is to go on
 * @param {Record<string, any>} settings by name, as the panel has them
 * @param {{knobs: {name: string, side: boolean, recommended: number}[], switches: string[]}} model
 * @param {(file: {hash: string, kind: string, name: string}) => string} address
 * `asked` are settings that an answer was asked for with, whatever its question wants; another `model` answers it alone.
 */
export function requestOf(path, settings, model, address, { asked = {}, model: name = "" } = {}) {
  const question = path.at(-1);
  const goesOn = question.role === "assistant"; // the beginning of an answer that is to be continued
  const told = { ...settings, ...question.wants, ...asked };
  const knob = (name) => turned(model.knobs.find((one) => one.name === name), told[name]);
  const on = (name) => model.switches.includes(name) && told[name] === true;
  const system = (told.system ?? "").trim() ? [{ role: "system", content: told.system }] : [];
  const request = {
    messages: [...system, ...path.map((one) => messageOf(one, address))],
    ...defined({
      max_tokens: knob("max_new_tokens"),
      temperature: knob("temperature"),
      top_p: knob("top_p"),
      seed: asked.seed,
      thinking_token_budget: knob("thinking_budget"),
    }),
    chat_template_kwargs: { enable_thinking: on("thinking") },
    ...nested("mm_processor_kwargs", {
      min_pixels: knob("min_pixels"), max_pixels: knob("max_pixels"), max_partition: knob("max_partition"),
    }),
    ...nested("media_io_kwargs", frames((question.files.length === 1 ? question.files[0].detail?.frames : undefined) ?? knob("frames"))),
    ...(goesOn ? { continue_final_message: true, add_generation_prompt: false } : {}),
  };
  const detailed = question.files.some((one) => one.detail) ? path : path.slice(0, -1);
  const details = detailed.flatMap((one) => one.files.map((file) => ({ ...(one === question ? {} : one.detail), ...asSent(file.detail) })));
  const ovis = { cot: on("cot"), boxes: on("boxes"), split: on("split"), drop_old_turns: told.drop_old_turns === true, ...(name ? { model: name } : {}) };
  return { ...request, ovis: { ...ovis, details } };
}

/** How closely the files of a question are looked at, to be kept with it: settings may change later. */
export function detailOf(settings, model) {
  const names = ["min_pixels", "max_pixels", "max_partition", "frames"];
  const found = names.map((name) => [name, turned(model.knobs.find((one) => one.name === name), settings[name])]);
  const split = model.switches.includes("split") && settings.split === true;
  return { ...defined(Object.fromEntries(found)), ...(split ? { split } : {}) };
}

/** The files of a path in the order in which the request numbers them. */
export function filesOf(path) {
  return path.flatMap((one) => one.files);
}

/** A knob left where the model recommends leaves the model's own value. Sides are sent as areas. */
function turned(knob, value) {
  if (!knob || typeof value !== "number" || value === knob.recommended) return undefined;
  return knob.side ? value * value : value;
}

function messageOf(message, address) {
  const reasoning = message.role === "assistant" && message.thinking ? { reasoning: message.thinking } : {};
  if (!message.files.length) return { role: message.role, content: whole(message), ...reasoning };
  const files = message.files.map((file) => {
    const kind = file.kind === "video" ? "video_url" : "image_url";
    return { type: kind, [kind]: { url: address(file) } };
  });
  return { role: message.role, content: [...files, { type: "text", text: whole(message) }], ...reasoning };
}

function frames(count) {
  return count === undefined ? {} : { video: { num_frames: count } };
}

function defined(values) {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

function nested(name, values) {
  const kept = defined(values);
  return Object.keys(kept).length ? { [name]: kept } : {};
}
