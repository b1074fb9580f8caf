// What Python writes: see `encode` in course_lib/widgets/wire.py. No DOM here.

/**
 * The bytes that a text carries as base64.
 * @param {string} text
 */
export const decode = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
