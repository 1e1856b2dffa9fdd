// A conversation that is in memory only: begun, and kept after all.
// Knows session and store; refuses to know how either is drawn.

import { t } from "./i18n.mjs";

/** Begins one. What stands in the box of nothing yet goes along. */
export async function begin(session) {
  if (!session.empty) await session.newChat();
  await session.store.hold(session.conversation.id, session.draft.files.flatMap((one) => [one.hash, one.source?.hash]).filter(Boolean));
  for (const key of ["conversation", "draft"]) session.tab.set(key, null);
  session.lines.set("temporary", t("This chat isn't kept: it is gone once you leave it or close the tab."));
  session.changed();
}

/** Keeps it after all, with all that was said. */
export async function keep(session) {
  await session.store.keep();
  session.lines.delete("temporary");
  session.tab.set("conversation", session.conversation.id);
  await session.saveDraft();
  session.changed();
}
