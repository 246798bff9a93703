/** Inputs of targets, and a stream that gives them out. */

import { Duplex } from 'node:stream'

export const text = (...inputs: readonly string[]): Buffer[] =>
  inputs.map((input) => Buffer.from(input))

export const hex = (...inputs: readonly string[]): Buffer[] =>
  inputs.map((input) => Buffer.from(input.replaceAll(' ', ''), 'hex'))

/** A stream that gives out pieces one by one, and then ends. */
export function giving(pieces: readonly Buffer[], written: Buffer[] = []): Duplex {
  const left = [...pieces]
  return new Duplex({
    highWaterMark: 1,
    read() {
      this.push(left.shift() ?? null)
    },
    write(chunk: Buffer, _encoding, done) {
      written.push(chunk)
      done()
    },
  })
}
