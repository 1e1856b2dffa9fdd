// One thing that an answer says, looked for in its picture: asked where it is, then what that part alone shows, and what the
// picture shows without it. Three short questions beside the conversation, of which it keeps nothing.
// Knows the session and canvases; what is asked and concluded is evidence.mjs's, how it is shown evidence_dialog.mjs's.

import { LACKING, TRIES } from "./asking.mjs";
import { make } from "./elements.mjs";
import { mostPixels, outcome, placeIn, whatIsThere, whereIs, withMargin } from "./evidence.mjs";
import { fresh, heard } from "./frames.mjs";
import { pixels } from "./geometry.mjs";
import { later } from "./i18n.mjs";
import { requestOf } from "./request.mjs";
import { encoded, part } from "./saving.mjs";

const TOKENS = 256; // of an answer: more than a description needs to name what is there
const BRIEF = { temperature: 0, max_new_tokens: TOKENS, thinking: false, cot: false, boxes: false, split: false, system: "" };
const WHERE = later("Asking where it is");
const ALONE = later("Looking at that part alone");
const WITHOUT = later("Looking at the picture without it");

/** `picture` is {file, detail}, `image` what `loaded` gave for it; `note` hears what is going on. Raises what went wrong in a
 * sentence, and AbortError once `signal` is. */
export async function check(session, { claim, picture, image }, { signal, note, placed = () => {} }) {
  const suffix = session.facts.model.suffixes.boxes;
  note(WHERE);
  const own = (note) => session.files.placed([picture.file], { signal, note }).then((places) => places.get(picture.file.hash));
  const place = placeIn(await asked(session, whereIs(claim, suffix), { picture, upload: own, signal, note }));
  placed(place);
  const found = { claim, place };
  if (!place || outcome(found) === "other") return { ...found, outcome: outcome(found) };
  const sides = withMargin(place);
  const look = async (words, inside) => {
    note(words);
    const most = mostPixels(session.facts.model);
    const blob = await encoded(await covered(await image, sides, { inside, most }), "image/png");
    const upload = () => session.wire.upload(blob, "part.png", { signal });
    return await asked(session, whatIsThere(claim), { picture, upload, signal, note: () => {} });
  };
  const alone = await look(ALONE, false);
  const all = { ...found, alone, without: await look(WITHOUT, true) };
  return { ...all, outcome: outcome(all) };
}

/** The element, once it shows this picture: by a copy where this browser can't draw the file itself. */
export async function loaded(image, file, files) {
  try {
    image.src = await files.seen(file.hash);
    await image.decode();
  } catch {
    image.src = await files.copied(file).catch(() => "");
  }
  return image;
}

/** One question about one picture, whole once it is there. */
async function asked(session, text, { picture, upload, signal, note }) {
  const { facts, settings, wire, files } = session;
  for (let tries = 1; ; tries += 1) {
    const address = wire.address(await upload(note));
    signal.throwIfAborted();
    const question = { role: "user", text, files: [{ ...picture.file, detail: undefined }], pasted: [], wants: {} };
    const request = requestOf([question], { ...settings, ...BRIEF }, facts.model, () => address);
    request.ovis.details = [{ ...picture.detail, split: false }];
    let answer = fresh();
    await wire.ask({ session: facts.session, request, answer: "" }, (frame) => { answer = heard(answer, frame); }, { signal });
    if (answer.missing === null) {
      if (answer.error || answer.finish === null) throw new Error(answer.error || LACKING);
      return answer.text;
    }
    files.forget([picture.file.hash]);
    if (tries === TRIES) throw new Error(LACKING);
  }
}

/** The picture with what lies inside these sides, or outside of them, painted over in the picture's mean colour. */
async function covered(image, sides, { inside, most }) {
  const whole = await part(image, { left: 0, top: 0, right: 1, bottom: 1 }, { most });
  const canvas = make("canvas", { width: whole.width, height: whole.height });
  const pen = canvas.getContext("2d");
  const { left, top, width, height } = pixels(sides, canvas);
  pen.fillStyle = meanOf(whole);
  if (inside) pen.drawImage(whole, 0, 0);
  pen.fillRect(...(inside ? [left, top, width, height] : [0, 0, canvas.width, canvas.height]));
  if (!inside) pen.drawImage(whole, left, top, width, height, left, top, width, height);
  return canvas;
}

function meanOf(canvas) {
  const small = make("canvas", { width: 16, height: 16 });
  const pen = small.getContext("2d", { willReadFrequently: true });
  pen.imageSmoothingQuality = "high";
  pen.drawImage(canvas, 0, 0, 16, 16);
  const { data } = pen.getImageData(0, 0, 16, 16);
  const mean = [0, 1, 2].map((channel) => { let sum = 0; for (let at = channel; at < data.length; at += 4) sum += data[at]; return Math.round(4 * sum / data.length); });
  return `rgb(${mean.join(" ")})`;
}
