// The same question again and again, each time about the picture of now: versions of one question, so that a conversation
// stays as long as it is, and of the older ones the last few.
// Knows the session; refuses to know where pictures come from, and how a while is waited for.

import { later } from "./i18n.mjs";
import { remove } from "./revising.mjs";
import * as trees from "./tree.mjs";

export const KEPT = 20; // versions that stay
const UNHEARD = later("It stopped: there is no connection to the server just now.");
const ELSEWHERE = later("It stopped: another conversation is shown.");
const BROKEN = later("It stopped, since the last answer wasn't finished.");

/** Asks until `signal` is aborted or something goes wrong; every `seconds`, or as soon as the last answer is there.
 * `shot` resolves to the picture of now, {blob, size}; `wait` to nothing after so many milliseconds, or once `signal` is
 * aborted; `heard` is called with each answer. Resolves to why it ended: a sentence; nothing where it was ended. */
export async function keepAsking(session, { text, seconds, shot, wait, signal, heard = () => {} }) {
  const conversation = session.conversation.id;
  const asked = []; // questions of this time, the oldest first
  while (!signal.aborted) {
    const began = session.now();
    await session.running?.over;
    const file = await kept(session, await shot());
    if (signal.aborted) break;
    if (session.conversation.id !== conversation) return ELSEWHERE;
    const editing = asked.findLast((id) => session.messages.has(id)) ?? null;
    const question = await stoppable(session, signal, () => session.askAside({ text, files: [file], editing }));
    if (signal.aborted) break;
    if (!question) return session.conversation.id === conversation ? UNHEARD : ELSEWHERE;
    asked.push(question.id);
    const answer = trees.newestLeaf(session.tree, question.id);
    if (!["end", "length"].includes(answer.finish)) return answer.error || BROKEN;
    heard(answer);
    if (asked.length > KEPT) await remove(session, asked.shift());
    await wait(Math.max(0, 1000 * seconds - (session.now() - began)), signal);
  }
  return "";
}

/** What `work` resolves to, whose answer ends with `signal`. */
async function stoppable(session, signal, work) {
  const stop = () => { session.stop(); };
  signal.addEventListener("abort", stop, { once: true });
  try {
    return await work();
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** A picture in this browser's store, as a question names it. */
async function kept(session, { blob, size }) {
  const hash = await session.files.digest(blob);
  await session.store.putFile({ hash, blob });
  return { hash, name: "camera.jpg", kind: "image", size };
}
