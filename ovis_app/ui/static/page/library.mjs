// The list of conversations: which belong together, and which hold what somebody looks for.
// Pure. Knows titles, times and words; refuses to know the DOM and the store.

import { titleOf } from "./schema.mjs";

export const GROUPS = ["Pinned", "Today", "Yesterday", "Previous 7 days", "Older"];
const AROUND = 36; // characters before what was found

/** What a conversation is called in the list; one that was never asked is what stands in its box. */
export function nameOf(conversation) {
  return conversation.title || titleOf(conversation.draft.text, conversation.draft.files);
}

/** Conversations by when they were last changed, as days go where the reader is.
 * @returns {{name: string, conversations: any[]}[]} groups that have any, the newest first in each */
export function grouped(conversations, now) {
  const midnight = (days) => { const day = new Date(now); return new Date(day.getFullYear(), day.getMonth(), day.getDate() - days).getTime(); };
  const since = [midnight(0), midnight(1), midnight(7)];
  const groups = GROUPS.map((name) => ({ name, conversations: [] }));
  for (const one of [...conversations].sort((one, other) => other.changed - one.changed)) {
    const age = since.findIndex((begins) => one.changed >= begins);
    groups[one.pinned ? 0 : age < 0 ? 4 : age + 1].conversations.push(one);
  }
  return groups.filter((group) => group.conversations.length);
}

/** Letters as they are compared: whatever their width, their case and how they are composed. */
export function folded(text) {
  return text.normalize("NFKC").toLowerCase();
}

/** A message with its text as it is compared: made once, since all of them are gone through at each letter. */
export function searchable(message) {
  return { ...message, folded: folded(message.text) };
}

/**
 * Conversations that hold every word of a query, in their titles or in what was said. Chinese has no spaces: a word is
 * whatever stands between two, anywhere in a text.
 * @param {string} query @param {{conversation: any, messages: {id: string, text: string, folded: string}[]}[]} library with `searchable` messages
 * @returns {{conversation: any, message: string | null, around: string}[]} with the message that holds the first word that
 * the title doesn't, and the words around it
 */
export function search(query, library) {
  const words = folded(query).split(/\s+/).filter(Boolean);
  const found = [];
  for (const { conversation, messages } of library) {
    const title = folded(nameOf(conversation));
    const missing = words.filter((one) => !title.includes(one));
    const texts = missing.length ? messages : [];
    if (!missing.every((word) => texts.some((one) => one.folded.includes(word)))) continue;
    const hit = texts.find((one) => missing.every((word) => one.folded.includes(word))) ?? texts.find((one) => one.folded.includes(missing[0]));
    found.push({ conversation, message: hit?.id ?? null, around: hit ? around(hit.text, missing[0]) : "" });
  }
  return found.sort((one, other) => Number(other.conversation.pinned) - Number(one.conversation.pinned) || other.conversation.changed - one.conversation.changed);
}

function around(text, word) {
  const at = Math.max(text.toLowerCase().indexOf(word), 0);
  const from = Math.max(at - AROUND, 0);
  const words = text.slice(from, at + word.length + 3 * AROUND).replace(/\s+/g, " ").trim();
  return from ? `…${words}` : words;
}
