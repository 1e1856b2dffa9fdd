// What a file is by its first bytes, whatever its name and its sender say: the pictures and clips that can be attached.
// Pure. ovis_app/media/file_types.py is the server's, and the judge; this one keeps everything else out of the page.

const ascii = (head, from, to) => String.fromCharCode(...head.slice(from, to));
const starts = (...bytes) => (head) => bytes.every((one, place) => head[place] === one);
const riff = (form) => (head) => ascii(head, 0, 4) === "RIFF" && ascii(head, 8, 12) === form;
const word = (text, at = 0) => (head) => ascii(head, at, at + text.length) === text;
const brand = (...brands) => (head) => ascii(head, 4, 8) === "ftyp" && brands.includes(ascii(head, 8, 12));

const KINDS = [
  [starts(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a), "image", "image/png", "png"],
  [starts(0xff, 0xd8, 0xff), "image", "image/jpeg", "jpg"],
  [word("GIF8"), "image", "image/gif", "gif"],
  [riff("WEBP"), "image", "image/webp", "webp"],
  [word("BM"), "image", "image/bmp", "bmp"],
  [(head) => word("II*\0")(head) || word("MM\0*")(head) || word("II+\0")(head) || word("MM\0+")(head), "image", "image/tiff", "tiff"],
  [brand("avif", "avis"), "image", "image/avif", "avif"],
  [brand("heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs", "mif1", "msf1"), "image", "image/heic", "heic"],
  [(head) => word("jP  ", 4)(head) || starts(0xff, 0x4f, 0xff, 0x51)(head), "image", "image/jp2", "jp2"],
  [word("8BPS"), "image", "image/vnd.adobe.photoshop", "psd"],
  [word("DDS "), "image", "image/vnd.ms-dds", "dds"],
  [starts(0, 0, 1, 0), "image", "image/x-icon", "ico"],
  [(head) => /^P[1-6f]\s/.test(ascii(head, 0, 3)), "image", "image/x-portable-anymap", "pnm"],
  [brand("M4A ", "M4B "), null],
  [(head) => ["ftyp", "moov", "mdat", "wide", "free", "skip", "pnot"].includes(ascii(head, 4, 8)), "video", "video/mp4", "mp4"],
  [starts(0x1a, 0x45, 0xdf, 0xa3), "video", "video/webm", "webm"],
  [riff("AVI "), "video", "video/x-msvideo", "avi"],
  [(head) => head[0] === 0x47 && head[188] === 0x47, "video", "video/mp2t", "ts"],
  [starts(0, 0, 1, 0xba), "video", "video/mpeg", "mpg"],
  [word("FLV\x01"), "video", "video/x-flv", "flv"],
  [word("OggS"), "video", "video/ogg", "ogv"],
  [starts(0x30, 0x26, 0xb2, 0x75, 0x8e, 0x66, 0xcf, 0x11), "video", "video/x-ms-asf", "wmv"],
];

/** @param {Blob} blob @returns {Promise<{kind: "image" | "video", type: string, ending: string} | null>} null for all else */
export async function mediaType(blob) {
  const head = new Uint8Array(await blob.slice(0, 200).arrayBuffer());
  const [, kind, type, ending] = KINDS.find(([matches]) => matches(head)) ?? [];
  return kind ? { kind, type, ending } : null;
}

/** Whether it is a PDF, which isn't attached as it is: its pages are. @param {Blob} blob */
export async function isDocument(blob) {
  const head = new Uint8Array(await blob.slice(0, 1024).arrayBuffer());
  return /^(?:\xef\xbb\xbf|[\0 \t\r\n])*%PDF-/.test(ascii(head, 0, head.length));
}
