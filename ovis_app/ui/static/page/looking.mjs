// Asks the server how its model sees a picture: of a question as it was asked, or of the box as it would be.
// Knows the session and the wire; refuses to know how it is drawn.

import { LACKING, TRIES } from "./asking.mjs";
import { detailOf, requestOf } from "./request.mjs";

/** Resolves to how a picture is seen (sight.mjs). `note` hears what is going on. Raises what the server says in a sentence,
 * and AbortError once `signal` is. @returns {Promise<import("./sight.mjs").Sight>} */
export async function looked(session, picture, { signal, note }) {
  const { facts, files: kept, wire, settings } = session;
  const question = picture.message === null ? null : session.messages.get(picture.message);
  const files = question ? question.files : session.draft.files.filter((one) => one.state === "ready");
  const detail = question ? question.detail : detailOf(settings, facts.model);
  const file = files.indexOf(picture.file);
  for (let tries = 1; ; tries += 1) {
    const places = await kept.placed(files, { signal, note });
    if (signal.aborted) throw new DOMException("stopped", "AbortError");
    const asked = requestOf([{ role: "user", text: "", files, wants: {} }], settings, facts.model, (one) => wire.address(places.get(one.hash)));
    asked.ovis.details = files.map(() => detail ?? {});
    const heard = {};
    await wire.ask({ session: facts.session, request: asked, file }, (frame) => {
      if (frame.kind === "waiting") note(frame.note);
      else heard[frame.kind] = frame;
    }, { signal, of: "sees" });
    if (heard.sight) return heard.sight;
    if (heard.failed) throw new Error(heard.failed.sentence);
    if (!heard.missing || tries === TRIES) throw new Error(LACKING);
    kept.forget(heard.missing.files.map((number) => files[number]?.hash).filter(Boolean));
  }
}
