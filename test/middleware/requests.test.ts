import test, { type ExecutionContext } from 'ava'
import { expectTypeOf } from 'expect-type'
import { once } from 'node:events'
import {
  Cio,
  type CioError,
  type Messages,
  type Requests,
  type RequestsContext,
  type RequestsOptions,
  type StreamContext,
  codec,
  json,
  requests,
} from '../../src/index.ts'
import { contents } from '../support/certificates.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { closeAfter, serve } from '../support/serve.ts'
import { type Transport, deferred, open, optionsOf, transports } from '../support/transports.ts'
import { many } from '../support/long.ts'

interface Message {
  readonly id?: number
  readonly re?: number
  readonly text: string
  readonly more?: boolean
}

type Options = RequestsOptions<Message>

const byId = {
  idOf: ({ re }: Message) => re,
  withId: (request: Message, id: number): Message => ({ ...request, id }),
}

const upper = ({ id, text }: Message): Message => ({
  ...(id && { re: id }),
  text: text.toUpperCase(),
})

/** Two sides over one connection, each with its options. */
async function pair(
  t: ExecutionContext,
  near: Options,
  far: Options,
  transport: Transport = 'memory',
) {
  const side = (options: Options) =>
    new Cio().useConnection(json<Message>()).useConnection(requests<Message>(options))
  const begun = deferred<StreamContext & RequestsContext<Message>>()
  const app = side(near).useConnection(async (ctx, next) => {
    begun.resolve(ctx)
    await next()
  })
  const told = faults(app)
  const stream = await open(t, app, transport)
  const other = side(far)
  closeAfter(t, other)
  const theirs = other.handle(stream)
  const ours = await begun.promise
  return { near: ours.requests, far: theirs.requests, ours, theirs, told, farTold: faults(other) }
}

/** One side with `requests`, and the bare messages of the other. */
function bare(t: ExecutionContext, options: Options) {
  const app = new Cio().useConnection(json<Message>()).useConnection(requests<Message>(options))
  const other = new Cio()
    .useConnection(json<Message>())
    // It reads only what a test takes.
    .useConnection((ctx) => new Promise<void>((resolve) => ctx.stream.once('close', resolve)))
  closeAfter(t, app)
  closeAfter(t, other)
  const told = faults(app)
  faults(other)
  const [one, two] = duplexPair()
  const ctx = app.handle(one)
  const { messages } = other.handle(two) as unknown as { messages: Messages<Message, Message> }
  const next = async (): Promise<Message> => (await messages.next()).value as Message
  return { ctx, own: ctx.requests, messages, next, told }
}

function faults(app: Pick<Cio, 'on'>): [event: string, code: string][] {
  const told: [string, string][] = []
  for (const event of ['error', 'remoteError'] as const) {
    app.on(event, (error: Error) => told.push([event, (error as CioError).code]))
  }
  return told
}

const texts = (count: number): string[] => Array.from({ length: count }, (_, index) => `t${index}`)

for (const transport of transports) {
  test(`requests by id go both ways over ${transport}`, async (t) => {
    const { near, far } = await pair(
      t,
      { match: byId, serve: upper },
      { match: byId, serve: upper },
      transport,
    )
    const answers = await Promise.all(
      [near, far].flatMap((one) => texts(50).map((text) => one.call({ text }))),
    )
    const expected = texts(50).map((text) => text.toUpperCase())
    t.deepEqual(
      answers.map(({ text }) => text),
      [...expected, ...expected],
    )
  })

  test(`answers come in the order of the requests over ${transport}, whatever is ready first`, async (t) => {
    const first = deferred()
    const { far } = await pair(
      t,
      {
        match: 'order',
        async serve({ text }, { send }) {
          if (text === 't0') await first.promise
          if (text === 't1') await send({ text: 'part', more: true })
          if (text === 't9') first.resolve()
          return { text: text.toUpperCase() }
        },
      },
      { match: 'order', isLast: ({ more }) => more !== true },
      transport,
    )
    const answers = await Promise.all(texts(10).map((text) => far.call({ text })))
    t.deepEqual(
      answers.map(({ text }) => text),
      texts(10).map((text) => text.toUpperCase()),
    )
  })
}

/** Far more than a stream holds, also in the short form. */
const thousand = many(1_000, 120)

for (const transport of ['memory', 'TLS 1.3'] as const) {
  for (const match of [byId, 'order'] as const) {
    const how = match === 'order' ? 'in order' : 'by id'
    test.serial(
      `${thousand} calls with answers of 200 kB each all arrive ${how} over ${transport}, with all defaults`,
      async (t) => {
        const big = 'x'.repeat(200_000)
        const serving: Options = {
          match,
          async serve({ id }) {
            await new Promise((resolve) => setImmediate(resolve))
            return { ...(id && { re: id }), text: big }
          },
        }
        // By id both sides call at once; in order one side calls and the other serves.
        const calling: Options = match === 'order' ? { match } : serving
        // The time that a busy machine needs is not under test.
        const both = await pair(t, serving, { ...calling, timeout: Infinity }, transport)
        const callers = match === 'order' ? [both.far] : [both.far, both.near]
        const calls = callers.flatMap((one) =>
          Array.from({ length: thousand }, () => one.call({ text: '' }, { timeout: Infinity })),
        )
        for (const call of calls) if ((await call).text !== big) t.fail()
        t.deepEqual(both.told, [])
      },
    )
  }
}

test('stream yields each part, call fulfils with the last, and a failure in between throws', async (t) => {
  const { far } = await pair(
    t,
    {
      match: byId,
      async serve({ id, text }, { send }) {
        for (const part of ['a', 'b']) await send({ re: id!, text: part, more: true })
        return { re: id!, text: text === 'fail' ? '-no' : 'c' }
      },
    },
    {
      match: byId,
      isLast: ({ more }) => more !== true,
      failure: ({ text }) => (text.startsWith('-') ? new Error(text.slice(1)) : undefined),
    },
  )
  const parts: string[] = []
  for await (const { text } of far.stream({ text: '' })) parts.push(text)
  t.deepEqual(parts, ['a', 'b', 'c'])
  t.is((await far.call({ text: '' })).text, 'c')
  const failed: string[] = []
  const error = await t.throwsAsync(
    async () => {
      for await (const { text } of far.stream({ text: 'fail' })) failed.push(text)
    },
    { code: 'ERR_CIO_ANSWER' },
  )
  t.deepEqual(failed, ['a', 'b'])
  t.is((error.cause as Error).message, 'no')
  t.is(far.pending, 0)
})

test('leaving the loop of a stream gives the call up, and cancels it', async (t) => {
  const { own, messages, next } = bare(t, {
    match: { ...byId, cancel: (id) => ({ text: `cancel ${id}` }) },
    isLast: ({ more }) => more !== true,
  })
  const left = (async () => {
    for await (const { text } of own.stream({ text: 'list' })) return text
    return undefined
  })()
  const { id } = await next()
  await messages.send({ re: id!, text: 'first', more: true })
  t.is(await left, 'first')
  t.deepEqual(await next(), { text: `cancel ${id}` })
  await messages.send({ re: id!, text: 'more', more: true })
  await messages.send({ re: id!, text: 'last' })
  const answer = own.call({ text: 'again' })
  await messages.send({ re: (await next()).id!, text: 'answer' })
  t.is((await answer).text, 'answer')
  t.is(own.late, 1)
})

test('while maxParts wait to be taken nothing more is read, and the timeout does not run', async (t) => {
  const { ctx, own, messages, next } = bare(t, {
    match: byId,
    isLast: ({ more }) => more !== true,
    maxParts: 2,
    timeout: 200,
  })
  const stream = own.stream({ text: 'list' })
  const first = stream.next()
  const { id } = await next()
  const all = texts(20)
  for (const text of all) await messages.send({ re: id!, text, more: true })
  await messages.send({ re: id!, text: 'last' })
  const seen = [(await first).value?.text]
  const other = own.call({ text: 'other' })
  // It times out, since its answer is not read; the stream does not.
  void next().then((request) => messages.send({ re: request.id!, text: 'unread' }))
  await t.throwsAsync(other, { code: 'ERR_CIO_CALL_TIMEOUT' })
  t.false(ctx.isClosed)
  for await (const { text } of stream) seen.push(text)
  t.deepEqual(seen, [...all, 'last'])
})

test('no answer reaches the wrong call in order, though calls time out and are aborted', async (t) => {
  const { far } = await pair(
    t,
    {
      match: 'order',
      async serve({ text }) {
        // Slower than the timeout of every third call.
        if (Number(text) % 7 === 0) await new Promise((resolve) => setTimeout(resolve, 15))
        return { text }
      },
    },
    { match: 'order' },
  )
  let late = 0
  const calls = Array.from({ length: 300 }, (_, index) => {
    const text = String(index)
    const aborting = new AbortController()
    const { signal } = aborting
    const given = [{ timeout: 10_000 }, { timeout: 5_000, signal }, {}][index % 3]!
    const call = far.call({ text }, given).then(
      (answer) => t.is(answer.text, text),
      () => late++,
    )
    if (index % 3 === 1) aborting.abort()
    return call
  })
  await Promise.all(calls)
  t.is(late, 100)
  t.is(far.late, 100)
})

test('ids of 4 bits wrap, and no late answer reaches a new call', async (t) => {
  const { own, messages, next } = bare(t, { match: { ...byId, maxId: 15 } })
  const held: Message[] = []
  for (let index = 0; index < 200; index++) {
    const text = `${index}`
    const gone = new AbortController()
    const call = own.call({ text }, index % 4 === 0 ? { signal: gone.signal } : {})
    const request = await next()
    t.false(held.some(({ id }) => id === request.id))
    if (index % 4 === 0) {
      gone.abort()
      await t.throwsAsync(call, { any: true, name: 'AbortError' })
      held.push(request)
    } else {
      await messages.send({ re: request.id!, text })
      t.is((await call).text, text)
    }
    // Each is answered late, after up to ten others.
    if (held.length > 10) await messages.send({ re: held.shift()!.id!, text: 'late' })
  }
})

for (const [what, options, message] of [
  ['an answer by an id that was never used', { match: byId }, { re: 7, text: '' }],
  ['an answer in order to no request', { match: 'order' }, { text: '' }],
  ['a request by id without serve', { match: byId }, { text: '' }],
  [
    'a push in order without serve',
    { match: 'order', isAnswer: ({ text }: Message) => text !== 'push' },
    { text: 'push' },
  ],
  ['a message that idOf throws for', { match: { ...byId, idOf: () => fail() } }, { text: '' }],
] as const) {
  test(`${what} ends the connection`, async (t) => {
    const { ctx, own, messages, told } = bare(t, options)
    const call = what.includes('to no request') ? undefined : own.call({ text: 'lost' })
    await messages.send(message)
    if (call) await t.throwsAsync(call, { code: 'ERR_CIO_ANSWER_LOST' })
    await ctx.closed
    t.deepEqual(told, [['remoteError', 'ERR_CIO_SYNTAX']])
  })
}

function fail(): never {
  throw new TypeError('no such field')
}

test('pushes go to serve, and are not answered', async (t) => {
  const seen: string[] = []
  const { own, messages, next } = bare(t, {
    match: 'order',
    isAnswer: ({ text }) => !text.startsWith('>'),
    serve: ({ text }) => void seen.push(text),
  })
  const calls = ['a', 'b'].map((text) => own.call({ text }))
  await messages.send({ text: '>one' })
  await messages.send({ text: 'A' })
  await messages.send({ text: '>two' })
  await messages.send({ text: 'B' })
  t.deepEqual(
    (await Promise.all(calls)).map(({ text }) => text),
    ['A', 'B'],
  )
  t.deepEqual(seen, ['>one', '>two'])
  t.deepEqual([await next(), await next()], [{ text: 'a' }, { text: 'b' }])
})

test('an error of serve ends the connection, and no later answer takes the place of the missing one', async (t) => {
  const { ctx, messages, next, told } = bare(t, {
    match: 'order',
    async serve({ text }) {
      if (text === 'bad') throw new Error('bad')
      return { text }
    },
  })
  await messages.send({ text: 'good' })
  t.deepEqual(await next(), { text: 'good' })
  for (const text of ['bad', 'later']) await messages.send({ text })
  t.is(await next(), undefined as never)
  await ctx.closed
  t.deepEqual(
    told.map(([event]) => event),
    ['error'],
  )
})

test('the signal of a request aborts when its caller is gone, and a part after the answer is refused', async (t) => {
  const seen = deferred<AbortSignal>()
  const late = deferred<unknown>()
  const { messages, ctx } = bare(t, {
    match: byId,
    async serve({ id, text }, request) {
      if (text === 'quick') {
        setImmediate(() => void request.send({ re: id!, text: 'late' }).catch(late.resolve))
        return { re: id!, text }
      }
      seen.resolve(request.signal)
      await once(request.signal, 'abort')
      return undefined
    },
  })
  await messages.send({ id: 1, text: 'quick' })
  t.is(((await late.promise) as CioError).code, 'ERR_CIO_CLOSED')
  await messages.send({ id: 2, text: 'slow' })
  const signal = await seen.promise
  ctx.stream.destroy()
  if (!signal.aborted) await once(signal, 'abort')
  t.is((signal.reason as CioError).code, 'ERR_CIO_CLOSED')
  await ctx.closed
})

test('a part that waits for an answer before it rejects when the connection is lost', async (t) => {
  const parts = deferred<unknown>()
  const begun = deferred()
  const { messages, ctx } = bare(t, {
    match: 'order',
    async serve({ text }, request) {
      if (text === 'endless') return new Promise<never>(() => {})
      const sent = request.send({ text: 'part' })
      begun.resolve()
      await sent.then(parts.resolve, parts.resolve)
      return undefined
    },
  })
  ctx.app.removeAllListeners('error').on('error', () => {})
  await messages.send({ text: 'endless' })
  await messages.send({ text: 'behind it' })
  await begun.promise
  ctx.stream.destroy()
  t.is(((await parts.promise) as CioError).code, 'ERR_CIO_CLOSED')
})

test('in order, a side that serves cannot call without isAnswer', async (t) => {
  const { own } = bare(t, { match: 'order', serve: (message) => message })
  await t.throwsAsync(own.call({ text: '' }), { code: 'ERR_CIO_OPTION', message: /isAnswer/ })
})

test('close() of a client waits for its calls, and a draining server finishes those that it serves', async (t) => {
  const gate = deferred()
  const begun = deferred()
  const app = new Cio()
    .useConnection(json<Message>())
    .useConnection(
      requests<Message>({
        match: byId,
        async serve(message) {
          begun.resolve()
          await gate.promise
          return upper(message)
        },
      }),
    )
    .useClient(json<Message>())
    .useClient(requests<Message>({ match: byId }))
  const server = await serve(t, app)
  const client = await app.connect(server.port)
  const call = client.requests.call({ text: 'late' })
  await begun.promise
  const closed = [server.close({ timeout: Infinity }), client.close({ timeout: Infinity })]
  gate.resolve()
  t.is((await call).text, 'LATE')
  t.deepEqual(await Promise.all(closed), [{ forced: 0 }, { forced: 0 }])
})

for (const transport of ['tcp', 'TLS 1.3'] as const) {
  test(`a binary protocol with ids of 16 bits is a codec and two functions, over ${transport}`, async (t) => {
    interface Frame {
      readonly id: number
      readonly isAnswer: boolean
      readonly body: Buffer
    }
    const wire = () =>
      codec<Frame>({
        length: 2,
        encode: ({ id, isAnswer, body }) =>
          Buffer.concat([Buffer.from([id >> 8, id, isAnswer ? 1 : 0]), body]),
        decode: (frame) => ({
          id: frame.readUInt16BE(0),
          isAnswer: frame[2] === 1,
          body: frame.subarray(3),
        }),
      })
    const match = {
      idOf: ({ id, isAnswer }: Frame) => (isAnswer ? id : undefined),
      withId: (frame: Frame, id: number): Frame => ({ ...frame, id }),
      maxId: 0xffff,
    }
    const app = new Cio()
      .useConnection(wire())
      .useConnection(requests<Frame>({ match, serve: (frame) => ({ ...frame, isAnswer: true }) }))
      .useClient(wire())
      .useClient(requests<Frame>({ match }))
    const { port } = await serve(t, app, optionsOf(t, transport))
    const ca = transport === 'tcp' ? {} : { ca: contents('root.crt') }
    const client = await app.connect({ host: '127.0.0.1', port, ...ca })
    const body = Buffer.from([1, 2, 3])
    const answers = await Promise.all(
      Array.from({ length: 500 }, () => client.requests.call({ id: 0, isAnswer: false, body })),
    )
    t.true(answers.every((answer) => answer.isAnswer && answer.body.equals(body)))
    t.is(answers.at(-1)?.id, 500)
  })
}

test('options that are unknown or out of range are refused', (t) => {
  for (const options of [
    undefined,
    {},
    { match: 'ids' },
    { match: {} },
    { match: { idOf: 1, withId: 1 } },
    { match: { ...byId, maxId: 0 } },
    { match: { ...byId, cancel: 1 } },
    { match: { ...byId, max: 1 } },
    { match: byId, isAnswer: () => true },
    { match: 'order', serve: 1 },
    { match: 'order', timeout: -1 },
    { match: 'order', maxCalls: 0 },
    { match: 'order', maxServed: 0 },
    { match: 'order', maxParts: 0 },
    { match: 'order', maxPart: 1 },
  ]) {
    t.throws(() => requests(options as never), { code: 'ERR_CIO_OPTION' }, JSON.stringify(options))
  }
})

test('requests and answers have the types of the codec', (t) => {
  const typed = (own: Requests<Message, string>): void => {
    expectTypeOf(own.call('x')).toEqualTypeOf<Promise<Message>>()
    expectTypeOf(own.stream('x')).toExtend<AsyncIterable<Message>>()
    // @ts-expect-error: not a request
    void own.call(1)
    // @ts-expect-error: without `match`
    requests({})
    // @ts-expect-error: there is no codec before it
    new Cio().useConnection(requests<Message>({ match: 'order' }))
  }
  t.is(typeof typed, 'function')
})
