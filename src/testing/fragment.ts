/** The ways in which a network may fragment sent bytes. */

import { checkCount, checkOptionNames, optionError } from '../options.ts'
import { seeded } from './random.ts'

/** Options of {@link fragment}. */
export interface FragmentOptions {
  /**
   * Number of random fragmentations, besides the regular ones.
   *
   * @default 20
   */
  readonly random?: number
  /**
   * The seed: the same seed gives the same fragmentations.
   *
   * @default 1
   */
  readonly seed?: number
}

/**
 * Every way to receive bytes that matters to a parser: whole; cut in two, at each place; byte by
 * byte; and cut at random.
 *
 * The pieces are views of the bytes, not copies.
 *
 * @throws `ERR_CIO_OPTION`: an option is out of its range
 *
 * @example
 * import { fragment } from 'cio/testing'
 *
 * for (const pieces of fragment('one\ntwo\n')) {
 *   console.log(pieces.map((piece) => piece.length).join(' '))
 * }
 */
export function fragment(
  bytes: Uint8Array | string,
  options: FragmentOptions = {},
): Generator<Buffer[]> {
  checkOptionNames('fragment', options, ['random', 'seed'])
  const { random: ways = 20, seed = 1 } = options
  checkCount('fragment', 'random', ways)
  if (!Number.isInteger(seed)) throw optionError('fragment', 'seed', 'a whole number', seed)
  if (typeof bytes !== 'string' && !(bytes instanceof Uint8Array)) {
    throw optionError('fragment', 'bytes', 'bytes or a string', bytes)
  }
  return fragments(typeof bytes === 'string' ? Buffer.from(bytes) : viewOf(bytes), ways, seed)
}

// Apart, since a generator would check its options only when it is first asked.
function* fragments(whole: Buffer, ways: number, seed: number): Generator<Buffer[]> {
  yield [whole]
  if (whole.length < 2) return
  for (let at = 1; at < whole.length; at++) yield [whole.subarray(0, at), whole.subarray(at)]
  yield Array.from(whole, (_, at) => whole.subarray(at, at + 1))
  const next = seeded(seed)
  for (let way = 0; way < ways; way++) {
    // Some of them have few pieces, some have many.
    const share = next()
    yield cut(whole, () => next() < share)
  }
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength)
}

function cut(whole: Buffer, here: () => boolean): Buffer[] {
  const pieces: Buffer[] = []
  let from = 0
  for (let at = 1; at < whole.length; at++) {
    if (!here()) continue
    pieces.push(whole.subarray(from, at))
    from = at
  }
  return [...pieces, whole.subarray(from)]
}
