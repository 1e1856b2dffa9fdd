// A file from an address: asked for in a small dialog, or offered where one was pasted. Loaded when first needed.
// Knows the box and small windows; that it is fetched, and whether it may be, is the server's.

import { addressIn, nameAt, namesFile } from "./addresses.mjs";
import { dialog } from "./dialogs.mjs";
import { make } from "./elements.mjs";
import { later, t } from "./i18n.mjs";
import { toast } from "./toast.mjs";

const NOT_HERE = later("Addresses aren't fetched here: download the file and attach it.");

/** Asks for an address. */
export function ask(session) {
  const field = make("input", { type: "url", required: true, placeholder: "https://…", maxLength: 8000, "aria-label": t("Address"), autocomplete: "off", spellcheck: false });
  const taken = (event) => {
    const address = addressIn(field.value);
    field.setCustomValidity(address ? "" : t("An address begins with https:// or http://."));
    if (!address) return field.reportValidity() || event.preventDefault();
    attach(session, address);
  };
  field.addEventListener("input", () => field.setCustomValidity(""));
  const note = make("p", {}, t("A picture, a clip or a PDF. This server fetches it, from the public internet only."));
  const shown = dialog(t("From an address"), [field, note], [[t("Attach it"), taken, "primary"], [t("Cancel"), () => {}]]);
  shown.querySelector(".buttons button:last-child").formNoValidate = true;
  field.focus();
}

/** What was just pasted is an address: where a file seems to lie there, it is offered to be attached in its place. */
export function offer(session, text) {
  const address = addressIn(text);
  if (!address || !namesFile(address)) return;
  if (!session.facts.fetches) return session.tell(NOT_HERE);
  toast(t("Attach the file at this address?"), { words: t("Attach it"), act: () => {
    session.type(session.draft.text.replace(text.trim(), "").trim());
    attach(session, address);
  } });
}

function attach(session, address) {
  session.attach([{ address, name: nameAt(address) }]);
}
