// Asks the server about pictures beside the conversation: how its model sees one, of a question as it was asked, or of the
// box as it would be; or anything else that takes a question and says no answer.
// Knows the session and the wire; refuses to know how it is drawn.

import { LACKING, TRIES } from "./asking.mjs";
import { detailOf, requestOf } from "./request.mjs";

/** Resolves to how a picture is seen (sight.mjs). `note` hears what is going on. Raises what the server says in a sentence,
 * and AbortError once `signal` is. @returns {Promise<import("./sight.mjs").Sight>} */
export async function looked(session, picture, { signal, note }) {
  const question = picture.message === null ? null : session.messages.get(picture.message);
  const files = question ? question.files : session.draft.files.filter((one) => one.state === "ready");
  const detail = question ? question.detail : detailOf(session.settings, session.facts.model);
  const file = files.indexOf(picture.file);
  const { sight } = await told(session, files, { of: "sees", detail: detail ?? {}, more: { file }, signal, note });
  if (!sight) throw new Error(LACKING);
  return sight;
}

/** What the endpoint `of` tells of these files, by the kinds of its frames; `hear` gets each as it comes. Files that the
 * server lacks are sent again. Raises as `looked` does. */
export async function told(session, files, { of, detail, more = {}, signal, note, hear = () => {} }) {
  const { facts, files: kept, wire, settings } = session;
  for (let tries = 1; ; tries += 1) {
    const places = await kept.placed(files, { signal, note });
    if (signal.aborted) throw new DOMException("stopped", "AbortError");
    const request = requestOf([{ role: "user", text: "", files, wants: {} }], settings, facts.model, (one) => wire.address(places.get(one.hash)));
    request.ovis.details = files.map(() => detail);
    const heard = {};
    await wire.ask({ session: facts.session, request, ...more }, (frame) => {
      if (frame.kind === "waiting") note(frame.note);
      else heard[frame.kind] = frame;
      hear(frame);
    }, { signal, of });
    if (heard.failed) throw new Error(heard.failed.sentence);
    if (!heard.missing) return heard;
    if (tries === TRIES) throw new Error(LACKING);
    kept.forget(heard.missing.files.map((number) => files[number]?.hash).filter(Boolean));
  }
}
