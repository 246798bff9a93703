import test from 'ava'
import fc from 'fast-check'
import { inspect } from 'node:util'
import { Cio, type ConnectionContext } from '../../src/index.ts'
import { OpenConnections } from '../../src/server/open-connections.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { dial, serve } from '../support/serve.ts'
import { nextEvent } from '../support/transports.ts'

const app = new Cio().useConnection((_, next) => next())

function made(count: number): ConnectionContext[] {
  return Array.from({ length: count }, () => app.handle(duplexPair()[0]))
}

test.after(() => app.close({ timeout: 0 }))

test('it has what a Set has, in the same order, whatever is added and deleted', (t) => {
  const all = made(8)
  const step = fc.tuple(fc.boolean(), fc.nat({ max: all.length - 1 }))
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const open = new OpenConnections()
      const set = new Set<ConnectionContext>()
      for (const [adds, at] of steps) {
        const ctx = all[at]!
        if (!adds) {
          open.delete(ctx)
          set.delete(ctx)
        } else if (!set.has(ctx)) {
          open.add(ctx)
          set.add(ctx)
        }
        t.is(open.size, set.size)
        for (const one of all) t.is(open.has(one), set.has(one))
        t.deepEqual(
          [...open].map(({ id }) => id),
          [...set].map(({ id }) => id),
        )
      }
      for (const ctx of set) open.delete(ctx)
    }),
    { numRuns: 50 },
  )
})

test('a loop sees what was open when it began, without what it has closed meanwhile', (t) => {
  const [one, two, three, four] = made(4)
  const open = new OpenConnections()
  for (const ctx of [one, two, three]) open.add(ctx!)
  const seen: number[] = []
  for (const { id } of open) {
    seen.push(id)
    if (id !== one!.id) continue
    open.delete(one!)
    open.delete(two!)
    open.add(four!)
  }
  t.deepEqual(seen, [one!.id, three!.id])
  t.deepEqual([...open.values()], [three, four])
})

test('it answers as a ReadonlySet', (t) => {
  const [one, two, other] = made(3)
  const open = new OpenConnections()
  open.add(one!)
  open.add(two!)
  t.deepEqual([...open.keys()], [one, two])
  t.deepEqual(
    [...open.entries()],
    [
      [one, one],
      [two, two],
    ],
  )
  const seen: unknown[] = []
  open.forEach(function (this: unknown, ctx, again, set) {
    seen.push([this, ctx, again, set])
  }, 'self')
  t.deepEqual(
    seen.map((each) => (each as unknown[])[1]),
    [one, two],
  )
  t.is((seen[0] as unknown[])[3], open)
  t.false(open.has(other!))
  t.false(open.has({}))
  t.false(open.has(undefined))
  t.is(new Set(open).size, 2)
  t.regex(inspect(open), /^Set\(2\)/)
  t.deepEqual([...open].length, 2)
})

test('it can be combined with other sets where Node can', (t) => {
  const [one, two] = made(2)
  const open = new OpenConnections() as OpenConnections & {
    union?(other: Set<unknown>): Set<unknown>
    isSubsetOf?(other: Set<unknown>): boolean
  }
  open.add(one!)
  t.is('union' in open, 'union' in Set.prototype)
  if (!('union' in open)) return
  t.deepEqual([...open.union(new Set([two]))], [one, two])
  t.true(open.isSubsetOf!(new Set([one, two])))
})

test('a server has each connection from accept to close, the oldest first', async (t) => {
  const app = new Cio().useConnection((_, next) => next())
  const server = await serve(t, app)
  const clients = []
  for (let count = 0; count < 3; count++) {
    const opened = nextEvent(app, 'connection')
    clients.push(await dial(t, server))
    await opened
  }
  const [first, second, third] = [...server.connections]
  t.true(first!.id < second!.id && second!.id < third!.id)
  const closed = nextEvent(app, 'close')
  second!.destroy()
  await closed
  t.deepEqual([...server.connections], [first, third])
  t.is(server.connections.size, 2)
  t.false(server.connections.has(second!))
})
