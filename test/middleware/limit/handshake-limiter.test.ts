import test from 'ava'
import { PassThrough } from 'node:stream'
import { Cio } from '../../../src/index.ts'
import type { StreamContext } from '../../../src/lifecycle/stream-context.ts'
import { HandshakeLimiter } from '../../../middleware/limit/handshake-limiter.ts'

const app = new Cio()
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** As much of a connection as a handshake needs here; its peer sends nothing. */
function connection(): StreamContext {
  const transport = new PassThrough()
  return { app, transport, socket: { bytesRead: 0 } } as unknown as StreamContext
}

const enter = async (handshakes: HandshakeLimiter, ctx: StreamContext): Promise<string> =>
  handshakes.enter(ctx)

test('one handshake begins in each turn of the event loop, and all of the budget is used', async (t) => {
  const handshakes = new HandshakeLimiter(5, 100, 60_000)
  const begun: number[] = []
  const all = Array.from({ length: 8 }, connection)
  for (const [index, ctx] of all.entries()) {
    void enter(handshakes, ctx).then(() => begun.push(index))
  }
  for (let count = 1; count <= 5; count++) {
    t.is(handshakes.count, count)
    await turn()
  }
  await turn()
  t.is(handshakes.count, 5)
  t.is(handshakes.waiting, 3)
  // Three are done in one turn.
  for (const ctx of all.slice(0, 3)) handshakes.leave(ctx)
  for (const count of [2, 3, 4, 5]) {
    t.is(handshakes.count, count)
    await turn()
  }
  t.deepEqual(begun, [0, 1, 2, 3, 4, 5, 6, 7])
  for (const ctx of all) handshakes.leave(ctx)
  t.is(handshakes.count, 0)
})

test('who waits for the next turn alone is neither too many nor too late', async (t) => {
  const handshakes = new HandshakeLimiter(3, 0, 0)
  const endings = Array.from({ length: 4 }, () => enter(handshakes, connection()))
  // What a timer of no time would have ended.
  const until = performance.now() + 10
  while (performance.now() < until);
  t.deepEqual(await Promise.all(endings), ['turn', 'turn', 'turn', 'late'])
})

test('one that is gone while it waits leaves its turn to the next', async (t) => {
  const handshakes = new HandshakeLimiter(5, 100, 60_000)
  const [first, second, third] = [connection(), connection(), connection()] as const
  const endings = [first, second, third].map((ctx) => enter(handshakes, ctx))
  second.transport!.destroy()
  t.deepEqual(await Promise.all(endings), ['turn', 'gone', 'turn'])
  t.is(handshakes.count, 2)
})

test('peers that fall silent give way, one for each that waits, and the budget is full again', async (t) => {
  const handshakes = new HandshakeLimiter(10, 100, 60_000)
  const silent = Array.from({ length: 10 }, connection)
  await Promise.all(silent.map((ctx) => enter(handshakes, ctx)))
  const waiting = Array.from({ length: 4 }, connection)
  t.deepEqual(await Promise.all(waiting.map((ctx) => enter(handshakes, ctx))), [
    'turn',
    'turn',
    'turn',
    'turn',
  ])
  t.is(handshakes.count, 10)
  t.is(handshakes.waiting, 0)
  for (const ctx of [...silent, ...waiting]) handshakes.leave(ctx)
  t.is(handshakes.count, 0)
})
