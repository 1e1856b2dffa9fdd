// SHA-256 of a file, as the server names it. Browsers have it for secure pages only, and a page on a home network isn't
// one; and they want the whole file at once, which a long clip shouldn't be.

const LARGE = 32 * 1024 * 1024;

/** @param {Blob} blob @returns {Promise<string>} in hex */
export async function digest(blob, { subtle = globalThis.crypto?.subtle } = {}) {
  if (subtle && blob.size <= LARGE) return hex(new Uint8Array(await subtle.digest("SHA-256", await blob.arrayBuffer())));
  const sum = new Sha256();
  for (let at = 0; at < blob.size; at += LARGE / 8) {
    sum.take(new Uint8Array(await blob.slice(at, at + LARGE / 8).arrayBuffer()));
  }
  return hex(sum.end());
}

function hex(bytes) {
  return Array.from(bytes, (one) => one.toString(16).padStart(2, "0")).join("");
}

// The first 32 bits of the fractions of the cube roots of the first 64 primes, and of the square roots of the first 8
// (FIPS 180-4).
const PRIMES = [];
for (let candidate = 2; PRIMES.length < 64; candidate++) if (PRIMES.every((prime) => candidate % prime)) PRIMES.push(candidate);
const fraction = (root) => ((root - Math.floor(root)) * 2 ** 32) >>> 0;
const K = Uint32Array.from(PRIMES, (prime) => fraction(Math.cbrt(prime)));
const START = Uint32Array.from(PRIMES.slice(0, 8), (prime) => fraction(Math.sqrt(prime)));

class Sha256 {
  #state = Uint32Array.from(START);
  #words = new Uint32Array(64);
  #rest = new Uint8Array(0);
  #length = 0;

  take(data) {
    this.#length += data.length;
    const all = new Uint8Array(this.#rest.length + data.length);
    all.set(this.#rest);
    all.set(data, this.#rest.length);
    let at = 0;
    for (; at + 64 <= all.length; at += 64) this.#block(all, at);
    this.#rest = all.slice(at);
  }

  end() {
    const bits = this.#length * 8;
    const tail = new Uint8Array((this.#rest.length < 56 ? 64 : 128) - this.#rest.length);
    tail[0] = 0x80;
    const view = new DataView(tail.buffer);
    view.setUint32(tail.length - 8, Math.floor(bits / 2 ** 32));
    view.setUint32(tail.length - 4, bits >>> 0);
    this.take(tail);
    const out = new DataView(new ArrayBuffer(32));
    this.#state.forEach((word, place) => out.setUint32(4 * place, word));
    return new Uint8Array(out.buffer);
  }

  #block(bytes, at) {
    const w = this.#words;
    for (let i = 0; i < 16; i++) {
      const j = at + 4 * i;
      w[i] = (bytes[j] << 24) | (bytes[j + 1] << 16) | (bytes[j + 2] << 8) | bytes[j + 3];
    }
    for (let i = 16; i < 64; i++) {
      const x = w[i - 15], y = w[i - 2];
      const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
      const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
      w[i] = (w[i - 16] + s0 + w[i - 7] + s1) | 0;
    }
    let [a, b, c, d, e, f, g, h] = this.#state;
    for (let i = 0; i < 64; i++) {
      const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
      const t1 = (h + s1 + ((e & f) ^ (~e & g)) + K[i] + w[i]) | 0;
      const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
      const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g; g = f; f = e; e = (d + t1) | 0; d = c; c = b; b = a; a = (t1 + t2) | 0;
    }
    [a, b, c, d, e, f, g, h].forEach((word, place) => { this.#state[place] += word; });
  }
}
