// What was said, changed by hand: removed and brought back, an answer in other words, a chat that goes on elsewhere, what
// somebody thinks of an answer.
// Knows the session and its tree; refuses to know how anybody asks for it. Loaded when first needed.

import * as schema from "./schema.mjs";
import * as trees from "./tree.mjs";

/** Removes a message and all that was said after it; what stands beside it is shown instead. Resolves to what brings all
 * of it back, or null where there was nothing. */
export async function remove(session, id) {
  const message = session.messages.get(id);
  if (!message) return null;
  const gone = new Set(trees.below(session.tree, id));
  if (session.running && gone.has(session.running.id)) await session.stop();
  const messages = [...gone].map((one) => session.messages.get(one));
  const before = session.record;
  const beside = trees.versions(session.tree, id).filter((one) => one.id !== id).at(-1);
  session.tree = trees.build([...session.messages.values()].filter((one) => !gone.has(one.id)));
  const stands = beside ? trees.newestLeaf(session.tree, beside.id).id : session.messages.has(message.parent) ? message.parent : null;
  session.stand(trees.standing(session.tree, stands));
  if (session.draft.editing && gone.has(session.draft.editing)) session.leaveEdit();
  await session.store.removeMessages([...gone]);
  if (session.empty) await session.store.removeConversation(session.conversation.id);
  else await session.write([]);
  session.changed();
  return () => bringBack(session, before, messages);
}

async function bringBack(session, conversation, messages) {
  const { id, leaf, title } = conversation;
  const here = session.conversation.id === id;
  for (const one of messages) await session.store.putMessage(one);
  if (here) {
    session.conversation.title ||= title;
    session.say(messages, leaf);
    await session.write([]);
  } else {
    await session.store.putConversation(await session.store.conversation(id).then((found) => ({ ...conversation, ...found?.conversation, title })));
    await session.open(id, { leaf });
  }
}

/** Another version of an answer, in the words of whoever reads it. */
export async function reword(session, id, text) {
  const answer = session.messages.get(id);
  if (!answer || session.running || !text.trim() || text === answer.text) return;
  const edited = session.made("assistant", answer.parent, { text, edited: true, finish: "end" });
  session.say([edited], edited.id);
  await session.write([edited]);
}

/** A new chat that begins with what was said up to an answer; up to before a question, which then stands in the box. */
export async function branch(session, id) {
  const path = trees.path(session.tree, id);
  const last = path.at(-1);
  if (!last) return;
  const { title, settings } = session.record;
  const asks = last.role === "user";
  await session.newChat({ settings });
  const said = [];
  for (const one of asks ? path.slice(0, -1) : path) {
    const parent = said.at(-1)?.id ?? null;
    said.push(session.made(one.role, parent, { ...schema.message({ ...one, conversation: session.conversation.id }), id: session.newId(), parent, created: session.now() }));
  }
  session.conversation.title = title;
  if (said.length) {
    session.say(said, said.at(-1).id);
    await session.write(said);
  }
  if (asks) Object.assign(session.draft, { text: last.text, pasted: last.pasted, files: last.files.map((one) => ({ ...one, state: "ready" })) });
  await session.saveDraft();
  session.changed();
}

/** What somebody thinks of an answer: {good, reason}, or null for nothing any more. It stays in this browser. */
export async function rate(session, id, feedback) {
  const answer = session.messages.get(id);
  if (!answer) return;
  session.replace({ ...answer, feedback });
  await session.write([session.messages.get(id)]);
  session.changed(id);
}
