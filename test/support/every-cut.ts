/** Ways to cut an input. */

import { many } from './long.ts'

/** The long ones repeat themselves. */
const mostCuts = 20

const mostPieces = 300

const step = many(1, 7)

/**
 * The input whole, cut in two at every byte from `from` on (in the short form, at every seventh), and byte by
 * byte unless it is long.
 */
export function* everyCut(bytes: Buffer, from = 1): Generator<Buffer[]> {
  yield [bytes]
  const last = Math.min(bytes.length, from + mostCuts)
  for (let cut = from; cut < last; cut += step) yield [bytes.subarray(0, cut), bytes.subarray(cut)]
  const size = Math.ceil(bytes.length / mostPieces)
  yield Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
    bytes.subarray(index * size, (index + 1) * size),
  )
}
