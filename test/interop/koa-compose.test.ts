/**
 * koa-compose itself, beside the connection pipeline: the same middleware leave the same trace, and end
 * the same way. The cases are those of koa-compose's own tests.
 */

import test, { type ExecutionContext } from 'ava'
import koaCompose from 'koa-compose'
import { setImmediate as turn } from 'node:timers/promises'
import { Cio, type Next } from '../../src/index.ts'
import { dial, readAll, serve } from '../support/serve.ts'

/** A middleware that leaves its trace, and asks nothing of its context. */
type Step = (ctx: object, next: Next) => unknown
/** Makes the middleware of a case. */
type Case = (trace: (word: unknown) => void) => Step[]

const around =
  (trace: (word: unknown) => void, before: number, after: number): Step =>
  async (_ctx, next) => {
    trace(before)
    await turn()
    await next()
    await turn()
    trace(after)
  }

const cases: Readonly<Record<string, Case>> = {
  'middleware run inwards, and outwards again': (trace) => [
    around(trace, 1, 6),
    around(trace, 2, 5),
    around(trace, 3, 4),
  ],
  'none is enough': () => [],
  'one that does not await is enough': (trace) => [(_ctx, next) => (trace(1), next())],
  'an error rejects': () => [
    () => {
      throw new Error('mistake')
    },
  ],
  'an error of a promise rejects': () => [() => Promise.reject(new Error('mistake'))],
  'an error is caught further out': (trace) => [
    async (_ctx, next) => {
      trace(1)
      try {
        trace(6)
        await next()
        trace(7)
      } catch {
        trace(2)
      }
      trace(3)
    },
    () => {
      trace(4)
      throw new Error('mistake')
    },
  ],
  'an error after next() rejects': (trace) => [
    async (_ctx, next) => {
      await next()
      trace(1)
      throw new Error('mistake')
    },
    around(trace, 2, 3),
  ],
  'a second next() rejects': (trace) => [
    async (_ctx, next) => {
      await next()
      trace(1)
      await next()
      trace(2)
    },
  ],
  'the context is kept': (trace) => {
    const seen: object[] = []
    const look = (): Step => async (ctx, next) => {
      seen.push(ctx)
      await next()
      trace(seen.slice(-3).every((one) => one === ctx))
    }
    return [look(), look(), look()]
  },
  'compositions are middleware': (trace) => [
    koaCompose([around(trace, 1, 8), around(trace, 2, 7)]) as Step,
    around(trace, 3, 6),
    koaCompose([around(trace, 4, 5)]) as Step,
  ],
  'one that returns stops': (trace) => [around(trace, 1, 3), () => trace(2), around(trace, 4, 5)],
}

async function byKoa(make: Case): Promise<unknown[]> {
  const trace: unknown[] = []
  const steps = make((word) => trace.push(word))
  await koaCompose(steps)({}).catch((error: Error) => trace.push(error.constructor.name))
  return trace
}

/** Twice, over two connections of one app. */
async function byCio(t: ExecutionContext, make: Case): Promise<unknown[][]> {
  const traces: unknown[][] = []
  let trace: unknown[] = []
  const app = new Cio()
  // Outside of all: how it ended, as koa-compose's promise says.
  app.useConnection(async (_ctx, next) => {
    trace = []
    traces.push(trace)
    await next().catch(() => trace.push('Error'))
  })
  for (const step of make((word) => trace.push(word))) app.useConnection(step)
  app.on('error', () => {})
  const server = await serve(t, app)
  for (let run = 0; run < 2; run++) {
    const client = await dial(t, server)
    client.end()
    await readAll(client).catch(() => '')
  }
  return traces
}

for (const [title, make] of Object.entries(cases)) {
  test(`${title}, with koa-compose and with Cio`, async (t) => {
    const expected = await byKoa(make)
    t.deepEqual(await byCio(t, make), [expected, expected])
  })
}
