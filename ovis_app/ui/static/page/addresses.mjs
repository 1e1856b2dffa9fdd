// Addresses on the web as people paste them: whether a text is one, what lies there, what it is called.
// Pure. Refuses to know how anything is fetched: the server decides whether it may be.

const LONGEST = 8000; // characters
const FILES = /\.(?:png|jpe?g|gif|webp|bmp|tiff?|avif|hei[cf]|jp2|mp4|m4v|mov|webm|mkv|avi|mpe?g|ogv|wmv|flv|pdf)$/i;

/** The address that a text is, and nothing else; null where it is none. @param {string} text */
export function addressIn(text) {
  const one = text.trim();
  if (!/^https?:\/\/\S+$/i.test(one) || one.length > LONGEST) return null;
  try {
    return new URL(one).href;
  } catch {
    return null;
  }
}

/** Whether a file seems to lie there, by how its path ends; many do without that. @param {string} address */
export function namesFile(address) {
  return FILES.test(new URL(address).pathname);
}

/** What is there, to people, until the server says: the last part of its path, else its host. @param {string} address */
export function nameAt(address) {
  const { pathname, hostname } = new URL(address);
  const last = pathname.split("/").filter(Boolean).at(-1) ?? hostname;
  try {
    return decodeURIComponent(last);
  } catch {
    return last;
  }
}
