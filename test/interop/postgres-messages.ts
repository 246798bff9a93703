/** The messages of PostgreSQL: a type, a length that counts itself, and a body. */

import type { MessagesContext, Middleware, StreamContext } from '../../src/index.ts'
import { FrameDecoder, type Framing, messages } from '../../src/kit.ts'

/** A message; what a client sends first has no type. */
export interface PostgresMessage {
  readonly type?: string
  readonly body: Buffer
}

/** What a client sends first, to ask for TLS. */
export const sslRequest = 80_877_103

const lengthSize = 4

/** `beginning` is how many bytes the type has: none, until a client has said that it begins. */
class PostgresFraming implements Framing<PostgresMessage> {
  #beginning: boolean
  readonly #types: boolean[] = []

  constructor(beginning: boolean) {
    this.#beginning = beginning
  }

  end(bytes: Buffer, start: number): number {
    const from = start + (this.#beginning ? 0 : 1)
    if (bytes.length < from + lengthSize + 4 * Number(this.#beginning)) return from + lengthSize + 4
    const end = from + bytes.readInt32BE(from)
    if (end > bytes.length) return end
    this.#types.push(!this.#beginning)
    if (this.#beginning && bytes.readInt32BE(from + lengthSize) !== sslRequest) {
      this.#beginning = false
    }
    return end
  }

  open(bytes: Buffer, ends: readonly number[], into: PostgresMessage[]): void {
    let start = 0
    for (const end of ends) {
      const typed = this.#types.shift()
      const body = bytes.subarray(start + lengthSize + (typed ? 1 : 0), end)
      into.push(typed ? { type: bytes.toString('latin1', start, start + 1), body } : { body })
      start = end
    }
  }
}

/** The bytes of a message. */
export function encoded({ type = '', body }: PostgresMessage): Buffer {
  const head = Buffer.alloc(type.length + lengthSize)
  head.write(type, 'latin1')
  head.writeInt32BE(body.length + lengthSize, type.length)
  return Buffer.concat([head, body])
}

/** The messages of a server, whose client begins, or of a client. Bytes are sent as they are. */
export function postgres(
  side: 'server' | 'client',
): Middleware<StreamContext, MessagesContext<PostgresMessage, PostgresMessage | Buffer>> {
  return messages<PostgresMessage, PostgresMessage | Buffer>({
    name: 'postgres',
    encoder: () => (message) => (Buffer.isBuffer(message) ? message : encoded(message)),
    decoder: () => new FrameDecoder('postgres', new PostgresFraming(side === 'server')),
  })
}

/** Strings, each with a zero after it. */
export function strings(...texts: string[]): Buffer {
  return Buffer.from(texts.map((text) => `${text}\0`).join(''))
}

/** A row of texts. */
export function row(...texts: string[]): PostgresMessage {
  const count = Buffer.alloc(2)
  count.writeInt16BE(texts.length)
  const values = texts.map((text) => {
    const value = Buffer.from(text)
    const length = Buffer.alloc(4)
    length.writeInt32BE(value.length)
    return Buffer.concat([length, value])
  })
  return { type: 'D', body: Buffer.concat([count, ...values]) }
}

/** The texts of a row. */
export function textsOf({ body }: PostgresMessage): string[] {
  const texts: string[] = []
  for (let at = 2; at < body.length;) {
    const length = body.readInt32BE(at)
    texts.push(body.toString('utf8', at + 4, at + 4 + length))
    at += 4 + length
  }
  return texts
}
