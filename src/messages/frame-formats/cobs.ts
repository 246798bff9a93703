/** Consistent Overhead Byte Stuffing: no zero in a frame, and one after it. */

import { FrameFault } from './format.ts'
import type { Escaping } from './stuffing.ts'

const longestBlock = 254

export const cobs: Escaping = {
  flag: 0,
  opens: false,

  longest: (length) => length + Math.ceil((length + 1) / longestBlock) + 1,

  escape(content) {
    const escaped = Buffer.allocUnsafe(
      content.length + Math.ceil((content.length + 1) / longestBlock),
    )
    // Each block begins with the position of the zero after it.
    let block = 0
    let to = 1
    for (let at = 0; at < content.length; at++) {
      const byte = content[at]!
      if (byte !== 0) escaped[to++] = byte
      const isFull = to - block > longestBlock
      // A full block has no zero after it, and at the end there is no block after a full one.
      if (byte !== 0 && (!isFull || at === content.length - 1)) continue
      escaped[block] = to - block
      block = to++
    }
    escaped[block] = to - block
    return escaped.subarray(0, to)
  },

  unescape(bytes) {
    const content = Buffer.allocUnsafe(bytes.length)
    let to = 0
    for (let at = 0; at < bytes.length;) {
      const code = bytes[at]!
      const end = at + code
      if (end > bytes.length) return new FrameFault('escape', 'has a block that is longer than it')
      for (let from = at + 1; from < end; from++) content[to++] = bytes[from]!
      if (code <= longestBlock && end < bytes.length) content[to++] = 0
      at = end
    }
    return content.subarray(0, to)
  },
}
