/** What every codec keeps to; called by the test of each. */

import type { ExecutionContext, TestFn } from 'ava'
import fc from 'fast-check'
import { Cio, type Middleware, type MessagesContext, type StreamContext } from '../../src/index.ts'
import { type Received, receive } from '../support/receive.ts'
import { serve } from '../support/serve.ts'

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
}

/** Any message of JSON. */
export const jsonValues: fc.Arbitrary<unknown> = fc
  .jsonValue({ maxDepth: 2, noUnicodeString: false })
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
      { numRuns: 25 },
    )
  })

  test('messages are the same wherever the input is cut', async (t) => {
    const bytes = join(some.slice(0, 3))
    for (const way of ['iterate', 'each'] as const) {
      for (let cut = 0; cut <= bytes.length; cut++) {
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

  test('input that ends within a message does not vanish in silence', async (t) => {
    const bytes = join([some[0]!, ofLength(30)])
    const { messages, error } = await received(t, [bytes.subarray(0, -3)])
    t.is(error?.code, sample.truncated)
    t.is(messages.length, sample.truncated === undefined ? 2 : 1)
  })
}
