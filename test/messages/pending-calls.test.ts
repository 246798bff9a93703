import test, { type ExecutionContext } from 'ava'
import {
  Cio,
  type CioError,
  type Messages,
  type Middleware,
  type StreamContext,
  json,
} from '../../src/index.ts'
import { PendingCalls, type PendingCallsOptions, Pump, SendQueue, provide } from '../../src/kit.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { closeAfter } from '../support/serve.ts'

/** A request is `[id, text]`, and its answer too. */
type Numbered = [id: number, text: string]
type Calls = PendingCalls<string>

/** A middleware of one's own on the two building blocks. */
function calling(
  given: Partial<PendingCallsOptions> = {},
  unknown: (id: number) => void = () => {},
): Middleware<StreamContext & { messages: Messages<unknown> }, { calls: Calls }> {
  const options = { timeout: 30_000, maxCalls: 1_000, ...given }
  return async function calling(ctx, next) {
    const pump = new Pump(ctx, {
      owner: 'calling',
      maxRunning: Infinity,
      take(message) {
        const [id, text] = message as Numbered
        const call = options.match === 'order' ? calls.answeredInOrder() : calls.answered(id)
        if (call) call.resolve(text)
        else if (!calls.isLate(id)) unknown(id)
      },
      expects: () => calls.pending > 0,
      ended: () => calls.close(),
      closed: () => calls.close(),
    })
    const queue = new SendQueue(ctx, pump, Infinity)
    const calls: Calls = new PendingCalls<string>(ctx, pump, queue, options)
    await provide(ctx, 'calls', calls, () => {
      pump.start()
      return pump.run(next)
    })
  }
}

/** A caller, and the bare messages of its other side. */
function pair(t: ExecutionContext, options?: Partial<PendingCallsOptions>) {
  const strangers: number[] = []
  const app = new Cio()
    .useConnection(json())
    .useConnection(calling(options, (id) => strangers.push(id)))
  const other = new Cio()
    .useConnection(json<Numbered>())
    // It reads only what a test takes.
    .useConnection((ctx) => new Promise<void>((resolve) => ctx.stream.once('close', resolve)))
  const errors: CioError[] = []
  for (const one of [app, other]) {
    closeAfter(t, one)
    one.on('remoteError', (error) => errors.push(error as CioError))
  }
  const [near, far] = duplexPair()
  const ctx = app.handle(near) as unknown as StreamContext & { calls: Calls }
  const { messages } = other.handle(far) as unknown as { messages: Messages<Numbered, Numbered> }
  const { calls } = ctx
  const call = (text: string, given = {}): Promise<string> =>
    calls.call(text, (id) => [id, text], given)
  const next = async (): Promise<Numbered> => (await messages.next()).value as Numbered
  return { ctx, calls, call, messages, next, far, strangers, errors }
}

test('an answer settles the call with its id, whatever the order', async (t) => {
  const { call, messages, next } = pair(t)
  const both = [call('a'), call('b')]
  t.deepEqual(await next(), [1, 'a'])
  t.deepEqual(await next(), [2, 'b'])
  await messages.send([2, 'B'])
  await messages.send([1, 'A'])
  t.deepEqual(await Promise.all(both), ['A', 'B'])
})

test('a late, a second and a foreign answer are told apart', async (t) => {
  const { calls, call, messages, next, strangers } = pair(t)
  const gone = new AbortController()
  const late = call('late', { signal: gone.signal })
  const first = call('first')
  await next()
  await next()
  gone.abort()
  await t.throwsAsync(late, { any: true, name: 'AbortError' })
  for (const id of [1, 2, 2, 3, -1, 1.5]) await messages.send([id, 'x'])
  t.is(await first, 'x')
  const last = call('last')
  await messages.send([3, 'last'])
  t.is(await last, 'last')
  t.deepEqual(strangers, [3, -1, 1.5])
  t.is(calls.late, 2)
})

test('ids of 4 bits begin again, and no call gets the late answer of another one', async (t) => {
  const { calls, call, messages, next } = pair(t, { maxId: 15 })
  const unanswered: Numbered[] = []
  const settled: Promise<void>[] = []
  let late = 0
  for (let count = 0; count < 500; count++) {
    // Answers come out of order, and some only after many more calls.
    while (unanswered.length > 12) {
      const [answer] = unanswered.splice((count * 7) % unanswered.length, 1)
      await messages.send(answer!)
      await settled.at(-1)
    }
    const text = `${count}`
    if (count % 3 > 0) {
      const answered = call(text)
      settled.push(answered.then((answer) => t.is(answer, text)).then(() => {}))
      const request = await next()
      t.false(unanswered.some(([id]) => id === request[0]))
      await messages.send(request)
      await answered
      continue
    }
    const gone = new AbortController()
    const answer = call(text, { signal: gone.signal })
    unanswered.push(await next())
    gone.abort()
    await t.throwsAsync(answer, { any: true, name: 'AbortError' })
    late += 1
  }
  for (const answer of unanswered) await messages.send(answer)
  const last = call('last')
  await messages.send(await next())
  t.is(await last, 'last')
  await Promise.all(settled)
  t.is(calls.late, late)
})

test('a call is refused while all ids are taken, by given up calls too', async (t) => {
  const { call, messages, next } = pair(t, { maxId: 3 })
  const gone = new AbortController()
  const given = [call('a', { signal: gone.signal }), call('b'), call('c')]
  await t.throwsAsync(call('d'), { code: 'ERR_CIO_TOO_MANY_CALLS' })
  gone.abort()
  await t.throwsAsync(given[0]!, { any: true, name: 'AbortError' })
  await t.throwsAsync(call('d'), { code: 'ERR_CIO_TOO_MANY_CALLS' })
  const [id] = await next()
  await messages.send([id, 'late'])
  await next()
  await messages.send(await next())
  t.is(await given[2], 'c')
  const again = call('d')
  const [other] = await next()
  await messages.send([other, 'D'])
  t.is(await again, 'D')
})

test('in order, a call that was given up keeps its place, and its answer reaches no other', async (t) => {
  const { calls, call, messages } = pair(t, { match: 'order' })
  const gone = new AbortController()
  const first = call('first', { signal: gone.signal })
  const second = call('second')
  gone.abort()
  await t.throwsAsync(first, { any: true, name: 'AbortError' })
  t.is(calls.pending, 2)
  await messages.send([0, 'to the first'])
  await messages.send([0, 'to the second'])
  t.is(await second, 'to the second')
  t.is(calls.late, 1)
})

test('in order, a place that stays open for twice its timeout ends the connection', async (t) => {
  const { ctx, call, errors } = pair(t, { match: 'order' })
  const first = call('first', { timeout: 40 })
  const second = call('second')
  const late = await t.throwsAsync(first, { code: 'ERR_CIO_CALL_TIMEOUT' })
  t.is(late?.message, `${ctx.remote} did not answer \`first\` within 40 ms`)
  const lost = await t.throwsAsync(second, { code: 'ERR_CIO_ANSWER_LOST' })
  await ctx.closed
  t.true(
    errors.some(({ code, message }) => code === 'ERR_CIO_CALL_TIMEOUT' && /twice/.test(message)),
  )
  t.is((lost as CioError).fault, 'remote')
  t.true(lost?.message.startsWith(`the connection with ${ctx.remote} was lost`))
})

test('a call that waits for room times out without having been sent, and takes no place', async (t) => {
  for (const match of ['id', 'order'] as const) {
    const { calls, call, messages, next } = pair(t, { match })
    const big = 'x'.repeat(500_000)
    const sent = call(big)
    const aborting = new AbortController()
    const waiting = [call('late', { timeout: 1 }), call('gone', { signal: aborting.signal })]
    aborting.abort()
    await t.throwsAsync(waiting[0]!, { code: 'ERR_CIO_CALL_TIMEOUT' })
    await t.throwsAsync(waiting[1]!, { any: true, name: 'AbortError' })
    t.is(calls.pending, 1)
    const last = call('last')
    for (let count = 0; count < 2; count++) await messages.send(await next())
    t.is(await sent, big)
    t.is(await last, 'last')
    t.is(calls.late, 0)
  }
})

test('a request that cannot be encoded is refused, and the next takes its id', async (t) => {
  for (const match of ['id', 'order'] as const) {
    const { calls, call, messages, next } = pair(t, { match })
    await t.throwsAsync(
      calls.call('bad', () => 1n),
      { code: 'ERR_CIO_ENCODE' },
    )
    await t.throwsAsync(
      calls.call('bad', () => {
        throw new TypeError('bad')
      }),
      { name: 'TypeError' },
    )
    const good = call('good')
    t.deepEqual(await next(), [1, 'good'])
    await messages.send([1, 'GOOD'])
    t.is(await good, 'GOOD')
  }
})

test('parts begin the timeout of their call again', async (t) => {
  const { calls, call, messages, next } = pair(t)
  const answer = call('slow', { timeout: 2_000 })
  const other = call('other', { timeout: 2_100 })
  const [id] = await next()
  // As long as the other call takes to time out, which began after it.
  const ended = other.catch((error: CioError) => error.code)
  const parts = setInterval(() => calls.answered(id, false), 20)
  t.is(await ended, 'ERR_CIO_CALL_TIMEOUT')
  clearInterval(parts)
  await messages.send([id, 'at last'])
  t.is(await answer, 'at last')
})

test('each call settles once when connections are lost at random, and none that was seen counts as unsent', async (t) => {
  const rounds = Number(process.env['CIO_KILLS'] ?? 200)
  let seed = Number(process.env['CIO_SEED'] ?? Date.now() % 2 ** 31)
  t.log(`seed ${seed}`)
  const random = (below: number): number => {
    seed = (seed * 48_271) % 2_147_483_647
    return seed % below
  }
  const ends = { fulfilled: 0, ERR_CIO_CLOSED: 0, ERR_CIO_ANSWER_LOST: 0 }
  for (let round = 0; round < rounds; round++) {
    const { ctx, calls, far, messages, call } = pair(t, { match: round % 2 ? 'order' : 'id' })
    const count = 1 + random(40)
    const size = random(4) === 0 ? 20_000 : 10
    const seen = new Set<string>()
    const answering = random(count + 1)
    const killing = random(count + 1)
    const reading = messages.each(async ([id, text]) => {
      seen.add(text)
      if (seen.size <= answering) await messages.send([id, text])
      if (seen.size === killing) far.destroy()
    })
    const texts = Array.from({ length: count }, (_, index) => `${index}`.padEnd(size))
    const answers = texts.map((text) => call(text))
    const wait = random(6)
    for (let turn = 0; turn < wait; turn++) await new Promise((resolve) => setImmediate(resolve))
    if (random(2)) ctx.stream.destroy()
    else far.destroy()
    const results = await Promise.allSettled(answers)
    await reading.catch(() => {})
    results.forEach((result, index) => {
      if (result.status === 'fulfilled') {
        t.is(result.value, texts[index]!)
        ends.fulfilled += 1
        return
      }
      const { code } = result.reason as CioError<keyof typeof ends>
      ends[code] += 1
      if (code === 'ERR_CIO_CLOSED') t.false(seen.has(texts[index]!), `round ${round}`)
      else t.is(code, 'ERR_CIO_ANSWER_LOST')
    })
    t.is(calls.pending, 0)
  }
  for (const [end, count] of Object.entries(ends)) t.true(count > 0, `${end}: none`)
})

test('after the end of input no call is made, and one that was not sent says so', async (t) => {
  const { call, messages } = pair(t)
  const sent = call('x'.repeat(500_000))
  const waiting = call('waiting')
  await messages.end()
  await t.throwsAsync(waiting, { code: 'ERR_CIO_CLOSED' })
  await t.throwsAsync(sent, { code: 'ERR_CIO_ANSWER_LOST' })
  await t.throwsAsync(call('more'), { code: 'ERR_CIO_CLOSED' })
})
