import test from 'ava'
import type { ConnectionContext } from '../../../src/lifecycle/connection.ts'
import { UnsentBytes } from '../../../middleware/limit/unsent-bytes.ts'

/** As much of a connection as its queue needs. */
class Connection {
  readonly stream = { writableLength: 0, destroyed: false, _handle: { bytesWritten: 0 } }
  readonly transport = this.stream
  readonly socket = this.stream
  readonly server = null
  readonly name: string

  constructor(name: string) {
    this.name = name
  }

  get ctx(): ConnectionContext {
    return this as unknown as ConnectionContext
  }
}

/** A bound of 100 bytes, and which were closed, in their order. */
function bounded(): {
  queues: UnsentBytes
  closed: string[]
  until: (count: number) => Promise<void>
} {
  const closed: string[] = []
  let stir = (): void => {}
  const queues = new UnsentBytes(100, (ctx) => {
    closed.push((ctx as unknown as Connection).name)
    stir()
  })
  const until = async (count: number): Promise<void> => {
    while (closed.length < count) await new Promise<void>((resolve) => (stir = resolve))
  }
  return { queues, closed, until }
}

test('the slowest is closed first, which is not the one with the most, and no more than needed', async (t) => {
  const { queues, closed, until } = bounded()
  const [fast, stuck, slow] = ['fast', 'stuck', 'slow'].map((name) => new Connection(name))
  fast!.stream.writableLength = 60
  stuck!.stream.writableLength = 30
  slow!.stream.writableLength = 50
  // It reads on and on; the other one a byte now and then.
  const reading = setInterval(() => {
    fast!.stream._handle.bytesWritten += 1_000
    slow!.stream._handle.bytesWritten += 1
  }, 1)
  // What looks at them does not keep a process alive; this does.
  t.teardown(() => clearInterval(reading))
  for (const one of [fast, stuck, slow]) queues.enter(one!.ctx)
  await until(2)
  t.deepEqual(closed.toSorted(), ['slow', 'stuck'])
  t.is(queues.total, 60)
})

test('below the bound nothing is closed, and what is gone does not count', async (t) => {
  const { queues, closed, until } = bounded()
  const [gone, done, left] = ['gone', 'done', 'left'].map((name) => new Connection(name))
  gone!.stream.writableLength = 90
  done!.stream.writableLength = 0
  left!.stream.writableLength = 90
  const [first, second, third] = [gone, done, left].map((one) => queues.enter(one!.ctx))
  gone!.stream.destroyed = true
  for (const one of [first, second]) queues.leave(one!)
  const alive = setInterval(() => {}, 1_000)
  t.teardown(() => clearInterval(alive))
  while (queues.total !== 90) await new Promise(setImmediate)
  t.deepEqual(closed, [])
  // It has returned, and more than before is left to send.
  left!.stream.writableLength = 101
  queues.leave(third!)
  await until(1)
  t.deepEqual(closed, ['left'])
  t.is(queues.total, 0)
})
