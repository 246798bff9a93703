/**
 * What every codec keeps to; called by the test of each.
 *
 * Beside the obvious it is the contract of its scanner, which stands between the peer and the
 * library that makes the messages. The library never sees what the scanner did not understand. The
 * cost is linear in the bytes received, however they are cut. What is kept of a message that has
 * begun is at most a stated multiple of its bytes. Each message is given out with its last byte.
 */

import type { ExecutionContext, TestFn } from 'ava'
import fc from 'fast-check'
import { Cio, type Middleware, type MessagesContext, type StreamContext } from '../../src/index.ts'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { anyCharacter } from '../support/characters.ts'
import { type Received, receive, receiveHere } from '../support/receive.ts'
import { serve } from '../support/serve.ts'
import { inLongForm, many } from '../support/long.ts'

/** A codec as its contract needs it. */
export interface CodecSample<Message extends Out, Out = Message> {
  readonly codec: (options?: {
    maxLength?: number
  }) => Middleware<StreamContext, MessagesContext<Message, Out>>
  /** Any message that the codec can carry, none longer than some 200 bytes. */
  readonly arbitrary: fc.Arbitrary<Message>
  /** A message whose encoded content is exactly so many bytes. */
  readonly ofLength: (bytes: number) => Message
  /** The obvious encoding of one message. */
  readonly encode: (message: Message) => Buffer
  /** The code for input that ends within a message; undefined if the rest is a message. */
  readonly truncated: string | undefined
  /** How many times its bytes is kept of a message that has begun, at most; 3 by default. */
  readonly keeps?: number
  /** Whether its framing has no room for a message of 500,000 bytes. */
  readonly isShort?: boolean
}

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Bytes that are in use, after those that are not have been collected. */
function inUse(): number {
  collect()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

function* byteByByte(bytes: Buffer): Generator<Buffer> {
  for (const byte of bytes) yield Buffer.of(byte)
}

/** Any message of JSON. */
export const jsonValues: fc.Arbitrary<unknown> = fc
  .jsonValue({ maxDepth: 2, stringUnit: anyCharacter })
  .map((value) => JSON.parse(JSON.stringify(value)) as unknown)

/** Registers the contract's tests. */
export function codecContract<Message extends Out, Out = Message>(
  test: TestFn,
  sample: CodecSample<Message, Out>,
): void {
  const { codec, arbitrary, ofLength, encode } = sample

  const received = (
    t: ExecutionContext,
    chunks: readonly Buffer[],
    options: { maxLength?: number } = {},
    way?: 'each' | 'iterate',
  ): Promise<Received<Message>> => receive(t, codec(options), chunks, way)

  const join = (messages: readonly Message[]): Buffer => Buffer.concat(messages.map(encode))
  // Of the places to cut at.
  const step = many(1, 7)
  const some = fc.sample(arbitrary, { numRuns: 6, seed: 1 })

  test('messages come through as they were sent', async (t) => {
    await fc.assert(
      fc.asyncProperty(fc.array(arbitrary, { maxLength: 20 }), async (messages) => {
        const app = new Cio()
          .useConnection(codec())
          .useConnection(async (ctx) => {
            for await (const message of ctx.messages) await ctx.messages.send(message)
          })
          .useClient(codec())
        const server = await serve(t, app)
        const client = await app.connect(server.port)
        await client.messages.sendMany(messages)
        await client.messages.end()
        const back: Message[] = []
        for await (const message of client.messages) back.push(message)
        await app.close({ timeout: 0 })
        t.deepEqual(back, messages)
      }),
      { numRuns: many(25, 8) },
    )
  })

  test('a message that is encoded once is received as one that is sent', async (t) => {
    const app = new Cio()
      .useConnection(codec())
      .useConnection(async (ctx) => {
        for (const message of some) {
          const encoded = ctx.messages.encode(message)
          await ctx.messages.sendEncoded(encoded)
          await ctx.messages.send(message)
          await ctx.messages.sendEncoded(encoded)
        }
      })
      .useClient(codec())
    const server = await serve(t, app)
    const client = await app.connect(server.port)
    const back: Message[] = []
    for await (const message of client.messages) back.push(message)
    t.deepEqual(
      back,
      some.flatMap((message) => [message, message, message]),
    )
  })

  test('messages are the same wherever the input is cut', async (t) => {
    const bytes = join(some.slice(0, 3))
    for (const way of ['iterate', 'each'] as const) {
      for (let cut = 0; cut <= bytes.length; cut += step) {
        const pieces = [bytes.subarray(0, cut), bytes.subarray(cut)]
        const { messages, error } = await received(t, pieces, {}, way)
        t.deepEqual(messages, some.slice(0, 3))
        t.is(error, undefined)
      }
    }
  })

  test('messages are the same byte by byte', async (t) => {
    const bytes = join(some)
    const pieces = Array.from(bytes, (byte) => Buffer.from([byte]))
    t.deepEqual((await received(t, pieces)).messages, some)
  })

  test('many messages in one chunk all arrive, in order', async (t) => {
    const many = Array.from({ length: 2_000 }, (_, index) => some[index % some.length]!)
    t.deepEqual((await received(t, [join(many)])).messages, many)
  })

  test('a message of exactly maxLength is taken, one byte more ends the connection', async (t) => {
    const maxLength = 100
    const fits = ofLength(maxLength)
    t.deepEqual(await received(t, [encode(fits)], { maxLength }), {
      messages: [fits],
      error: undefined,
    })
    const before = ofLength(20)
    const { messages, error } = await received(
      t,
      [Buffer.concat([encode(before), encode(ofLength(maxLength + 1))])],
      { maxLength },
    )
    t.deepEqual(messages, [before])
    t.is(error?.code, 'ERR_CIO_MESSAGE_TOO_LONG')
  })

  test('an endless message ends the connection at the bound', async (t) => {
    const endless = encode(ofLength(300_000)).subarray(0, 250_000)
    const { messages, error } = await received(t, [endless], { maxLength: 10_000 })
    t.deepEqual(messages, [])
    t.is(error?.code, 'ERR_CIO_MESSAGE_TOO_LONG')
  })

  test('each message is given out with its last byte, though nothing more comes', async (t) => {
    for (const message of some) {
      const bytes = encode(message)
      for (let cut = 0; cut < bytes.length; cut += step) {
        const pieces = [bytes.subarray(0, cut), bytes.subarray(cut)]
        const { messages, error } = await receiveHere(codec(), pieces, { open: 1 })
        t.is(error, undefined)
        t.deepEqual(messages, [message])
      }
    }
  })

  test('damaged input ends alike wherever it is cut', async (t) => {
    const damage = fc.record({
      messages: fc.array(arbitrary, { minLength: 1, maxLength: 4 }),
      at: fc.nat(),
      put: fc.uint8Array({ maxLength: 3 }),
      remove: fc.nat(3),
      cuts: fc.array(fc.nat(30), { maxLength: 5 }),
    })
    await fc.assert(
      fc.asyncProperty(damage, async ({ messages, at, put, remove, cuts }) => {
        const sound = join(messages)
        const place = at % (sound.length + 1)
        const bytes = Buffer.concat([sound.subarray(0, place), put, sound.subarray(place + remove)])
        const pieces: Buffer[] = []
        let rest = bytes
        for (const cut of cuts) {
          pieces.push(rest.subarray(0, cut))
          rest = rest.subarray(cut)
        }
        const options = { maxLength: 60 }
        const whole = await receiveHere(codec(options), [bytes])
        const cutUp = await receiveHere(codec(options), [...pieces, rest])
        if (whole.error) t.is(whole.error.fault, 'remote')
        t.is(cutUp.error?.code, whole.error?.code)
        t.deepEqual(cutUp.messages, whole.messages)
      }),
      { numRuns: many(60, 15) },
    )
  })

  if (!sample.isShort) inLongForm(costs)

  test('input that ends within a message does not vanish in silence', async (t) => {
    const bytes = join([some[0]!, ofLength(30)])
    const { messages, error } = await received(t, [bytes.subarray(0, -3)])
    t.is(error?.code, sample.truncated)
    t.is(messages.length, sample.truncated === undefined ? 2 : 1)
  })

  function costs(): void {
    // Before the others, which would be measured with them.
    test.serial('the cost of a message is linear in its bytes, also byte by byte', async (t) => {
      const timeOf = async (length: number): Promise<number> => {
        const bytes = encode(ofLength(length))
        let least = Infinity
        for (let run = 0; run < 3; run++) {
          const before = process.cpuUsage()
          const { error } = await receiveHere(codec(), byteByByte(bytes))
          t.is(error, undefined)
          const { user, system } = process.cpuUsage(before)
          least = Math.min(least, user + system)
        }
        return least
      }
      await timeOf(10_000)
      const [short, long] = [await timeOf(10_000), await timeOf(160_000)]
      // Linear is 16 times; what grows with the square is 256 times.
      t.true(long < 100 * Math.max(short, 10_000), `${long} µs after ${short} µs`)
    })

    test.serial(
      'what is kept of a message that has begun is a multiple of its bytes',
      async (t) => {
        const { keeps = 3 } = sample
        const length = 500_000
        const bytes = encode(ofLength(length)).subarray(0, length)
        let kept = 0
        function* pieces(): Generator<Buffer> {
          const before = inUse()
          yield* byteByByte(bytes)
          kept = inUse() - before
        }
        await receiveHere(codec(), pieces())
        t.true(kept < keeps * length + 1_000_000, `${kept} bytes of ${length}`)
      },
    )
  }
}
