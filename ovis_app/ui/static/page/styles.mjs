// Sheets that load when first needed. Knows that they lie beside the modules; refuses to know what they are for.

const asked = new Map();

/** Resolves once the sheet of this name applies; where it can't be had, what it is for works without. @param {string} name */
export function styled(name) {
  if (!asked.has(name)) {
    const sheet = document.createElement("link");
    Object.assign(sheet, { rel: "stylesheet", href: new URL(name, import.meta.url).href });
    const loaded = new Promise((resolve) => {
      sheet.onload = resolve;
      sheet.onerror = () => { sheet.remove(); asked.delete(name); resolve(); };
    });
    document.head.append(sheet);
    asked.set(name, loaded);
  }
  return asked.get(name);
}
