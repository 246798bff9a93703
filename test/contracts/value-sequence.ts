/** What codecs over `SelfDelimitingValues` keep to, with the records of cbor-x and msgpackr. */

import type { TestFn } from 'ava'
import fc from 'fast-check'
import type { Duplex } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { Cio, type MessagesContext, type Middleware, type StreamContext } from '../../src/index.ts'
import { many } from '../support/long.ts'
import { receive } from '../support/receive.ts'
import { dial, serve } from '../support/serve.ts'

/** A codec and its library, as the contract needs them. */
export interface ValuesSample {
  readonly codec: () => Middleware<StreamContext, MessagesContext<unknown, unknown>>
  /** The same, with all that it can be asked to read. */
  readonly readingAll: () => Middleware<StreamContext, MessagesContext<unknown, unknown>>
  /** The library's own way to encode values of one connection, with records. */
  readonly encoder: () => (value: unknown) => Uint8Array
  /** What each definition of a record begins with. */
  readonly definition: Buffer
  /** A record of one key, which is defined under the number of so many others. */
  readonly define: (key: string, number: number) => Buffer
  /** The library's own streams. */
  readonly writing: () => Duplex
  readonly reading: () => Duplex
  /** What has no form, within an object. */
  readonly formless: readonly object[]
  /** The numbers 1 and 2, the text `a`, and what is malformed. */
  readonly malformed: Buffer
  /** What is refused without harm, and by which code. */
  readonly hostile: Readonly<Record<string, readonly [bytes: Buffer, code: string]>>
}

/** Such as an array of 2^32 items: a token, and four bytes that say how many. */
export function counted(token: number, count: number): Buffer {
  const bytes = Buffer.from([token, 0, 0, 0, 0])
  bytes.writeUInt32BE(count, 1)
  return bytes
}

const objects = Array.from({ length: 40 }, (_, index) => ({
  kind: index % 3,
  nested: { at: index, [`own${index % 5}`]: [{ x: 1, y: null }] },
  text: 'é☃'.repeat(index),
}))

/** Registers the contract's tests. */
export function valuesContract(test: TestFn, sample: ValuesSample): void {
  const { codec, hostile } = sample
  const echo = (): Cio => {
    const app = new Cio()
    app.useConnection(codec()).useConnection(async ({ messages }) => {
      for await (const message of messages) await messages.send(message)
    })
    return app
  }

  test('records come through wherever they are cut', async (t) => {
    const encode = sample.encoder()
    const sent = objects.slice(0, 4)
    const bytes = Buffer.concat(sent.map((value) => Buffer.from(encode(value))))
    t.true(bytes.includes(sample.definition))
    for (let cut = 1; cut < bytes.length; cut++) {
      const pieces = [bytes.subarray(0, cut), bytes.subarray(cut)]
      t.deepEqual(await receive(t, codec(), pieces), { messages: sent, error: undefined })
    }
  })

  test('it talks with the streams of its library at the other end', async (t) => {
    const socket = await dial(t, await serve(t, echo()))
    const back: unknown[] = []
    const reading = pipeline(socket, sample.reading(), async (source) => {
      for await (const message of source) back.push(message)
    })
    await pipeline(objects, sample.writing(), socket, { end: true })
    await reading
    t.deepEqual(back, objects)
  })

  test('connections share no records', async (t) => {
    const app = echo().useClient(codec())
    const server = await serve(t, app)
    const clients = await Promise.all([1, 2, 3].map(() => app.connect(server.port)))
    for (const round of [1, 2, 3]) {
      for (const [index, client] of clients.entries()) {
        const message = { [`key${index}`]: round, [`also${index}`]: { round } }
        await client.messages.send(message)
        t.deepEqual(await client.messages.next(), { done: false, value: message })
      }
    }
  })

  test('a message that cannot be sent leaves the records of the connection whole', async (t) => {
    const sent = [
      { fresh: { keys: 1 }, other: 2 },
      { fresh: { keys: 3 }, other: 4 },
    ]
    const app = new Cio()
      .useConnection(codec())
      .useConnection(async ({ messages }) => {
        for (const bad of sample.formless) {
          await t.throwsAsync(messages.send(bad), { code: 'ERR_CIO_ENCODE' })
        }
        for (const message of sent) await messages.send(message)
      })
      .useClient(codec())
    const server = await serve(t, app)
    const client = await app.connect(server.port)
    const received: unknown[] = []
    await client.messages.each((message) => received.push(message))
    t.deepEqual(received, sent)
  })

  test('records without end do not fill the memory, whatever their numbers', async (t) => {
    const key = 'k'.repeat(30_000)
    const definitions = Array.from({ length: 60 }, (_, number) =>
      sample.define(key + number, number),
    )
    const { messages, error } = await receive(t, codec(), definitions)
    t.is(error?.code, 'ERR_CIO_MESSAGE_TOO_LONG')
    t.true(messages.length > 10 && messages.length < 60)
  })

  for (const [name, [bytes, code]] of Object.entries(hostile)) {
    test(`${name} is refused without harm`, async (t) => {
      const before = process.memoryUsage().heapUsed
      for (const cut of [0, 1, 3, bytes.length >> 1]) {
        const pieces = [bytes.subarray(0, cut), bytes.subarray(cut)]
        const { error } = await receive(t, codec(), pieces)
        t.is(error?.code, code)
        t.is(error?.fault, 'remote')
      }
      t.true(process.memoryUsage().heapUsed - before < 100_000_000)
    })
  }

  test('what comes before something malformed is delivered, and its offset told', async (t) => {
    const { messages, error } = await receive(t, codec(), sample.malformed)
    t.deepEqual(messages, [1, 2, 'a'])
    t.regex(error!.message, /at byte 4 /)
  })

  test('random bytes end in values or in an error of the peer, however they are cut', async (t) => {
    const boundaries = fc.array(fc.nat(40), { maxLength: 4 })
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 60 }), boundaries, async (array, cuts) => {
        const bytes = Buffer.from(array)
        const whole = await receive(t, sample.readingAll(), bytes)
        const pieces: Buffer[] = []
        let rest = bytes
        for (const cut of cuts) {
          pieces.push(rest.subarray(0, cut))
          rest = rest.subarray(cut)
        }
        const cutUp = await receive(t, sample.readingAll(), [...pieces, rest])
        if (whole.error) t.is(whole.error.fault, 'remote')
        t.is(cutUp.error?.code, whole.error?.code)
        t.deepEqual(cutUp.messages, whole.messages)
      }),
      { numRuns: many(150, 30) },
    )
  })
}
