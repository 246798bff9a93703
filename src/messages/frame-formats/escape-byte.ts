/** Byte stuffing with an escape, as in SLIP and HDLC. */

import { FrameFault } from './format.ts'
import { none } from './kinds.ts'
import type { OptionCheck } from './option-check.ts'
import type { Stuffing } from './options.ts'
import type { Escaping } from './stuffing.ts'

const known = ['flag', 'escape', 'xor', 'map', 'also']
const values = 256

/** Byte stuffing with an escape before each byte that must not appear in a frame. */
export class EscapeByte implements Escaping {
  readonly flag: number
  readonly opens = true
  readonly #escape: number
  /** The code of each byte, and the byte of each code; -1 for none. */
  readonly #codes = new Int16Array(values).fill(-1)
  readonly #bytes = new Int16Array(values).fill(-1)

  /** @throws `ERR_CIO_OPTION` */
  constructor(check: OptionCheck, options: Stuffing, start: Buffer = none) {
    const { flag, escape, xor, map, also } = options
    check.names(options, known)
    check.whole('flag', flag, 0, values - 1)
    check.whole('escape', escape, 0, values - 1)
    if (flag === escape) throw check.refused('`flag` and `escape` must differ')
    if (start.includes(flag)) throw check.refused('`start` has the `flag`, which ends the frame')
    if ((xor === undefined) === (map === undefined))
      throw check.refused('give one of `xor` and `map`')
    this.flag = flag
    this.#escape = escape
    if (map) this.#useMap(check, options, map)
    // So a start of one byte is found, and nothing else.
    else this.#useXor(check, options, xor!, start.length === 1 ? [...(also ?? []), ...start] : also)
  }

  longest(length: number): number {
    return 2 * length
  }

  escape(content: Uint8Array): Buffer {
    const codes = this.#codes
    let count = 0
    for (const byte of content) if (codes[byte]! >= 0) count += 1
    const escaped = Buffer.allocUnsafe(content.length + count)
    let at = 0
    for (const byte of content) {
      const code = codes[byte]!
      if (code >= 0) escaped[at++] = this.#escape
      escaped[at++] = code >= 0 ? code : byte
    }
    return escaped
  }

  unescape(bytes: Buffer): Buffer | FrameFault {
    const escape = this.#escape
    if (!bytes.includes(escape)) return bytes
    // Copied: Cio never writes to a received chunk.
    const content = Buffer.allocUnsafe(bytes.length - 1)
    let to = 0
    for (let at = 0; at < bytes.length; at++) {
      let byte = bytes[at]!
      if (byte === escape) {
        at += 1
        byte = at < bytes.length ? this.#bytes[bytes[at]!]! : -1
        if (byte < 0) return new FrameFault('escape', 'has an escape that stands for no byte')
      }
      content[to++] = byte
    }
    return content.subarray(0, to)
  }

  #useMap(check: OptionCheck, { flag, escape, also }: Stuffing, map: object): void {
    check.object('map', map, 'an object of bytes')
    if (also !== undefined) throw check.refused('`also` is for `xor`; put the bytes into `map`')
    for (const [key, code] of Object.entries(map) as [string, unknown][]) {
      const byte = Number(key)
      check.whole('map', byte, 0, values - 1)
      check.whole(`map[${key}]`, code, 0, values - 1)
      this.#stand(check, byte, code as number)
    }
    for (const byte of [flag, escape]) {
      if (this.#codes[byte]! < 0) throw check.refused(`\`map\` has no code for ${byte}`)
    }
  }

  #useXor(
    check: OptionCheck,
    { flag, escape }: Stuffing,
    xor: number,
    also: readonly number[] = [],
  ): void {
    check.whole('xor', xor, 1, values - 1)
    if (!Array.isArray(also)) throw check.wrong('also', 'an array of bytes', also)
    for (const byte of also) check.whole('also', byte, 0, values - 1)
    for (const byte of new Set([flag, escape, ...also])) this.#stand(check, byte, byte ^ xor)
    // A sender may escape any other byte.
    for (let code = 0; code < values; code++) if (code !== flag) this.#bytes[code] = code ^ xor
  }

  #stand(check: OptionCheck, byte: number, code: number): void {
    if (code === this.flag)
      throw check.refused(`${byte} is escaped as the flag, which ends the frame`)
    if (this.#bytes[code]! >= 0) throw check.refused(`two bytes are escaped as ${code}`)
    this.#codes[byte] = code
    this.#bytes[code] = byte
  }
}
