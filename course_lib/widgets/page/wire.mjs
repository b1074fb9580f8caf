// What Python writes: see `encode` in course_lib/widgets/wire.py. No DOM here.

/**
 * The bytes that a text carries as base64.
 * @param {string} text
 */
export function decode(text) {
  const letters = atob(text);
  // Twenty times as fast as Uint8Array.from, which asks an iterator for every letter.
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes.buffer;
}
