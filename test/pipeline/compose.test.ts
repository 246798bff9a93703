/**
 * What koa-compose promises and Cio leans on, through the real pipeline of each kind, and `next()`
 * that runs again. `test/cases/compose-in-production.test.ts` runs all of it under NODE_ENV=production.
 */

import test from 'ava'
import { PassThrough } from 'node:stream'
import { Cio } from '../../src/cio.ts'
import type { Run } from '../../src/pipeline/compose.ts'
import { type Middleware, type Next, defineMiddleware } from '../../src/pipeline/middleware.ts'
import { Pipeline } from '../../src/pipeline/pipeline.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { serve } from '../support/serve.ts'
import { deferred } from '../support/transports.ts'

type Kind = 'server' | 'connection' | 'client'
type Step = (ctx: object, next: Next) => unknown

/** One of an app's pipelines, to be run over any object. */
class Bench {
  readonly said: string[] = []
  readonly errors: Error[] = []
  readonly app = new Cio()
  readonly #kind: Kind

  constructor(kind: Kind) {
    this.#kind = kind
    this.app.on('error', (error) => this.errors.push(error))
    // Steps and far ends want sockets; the tests at the end have those.
    this.entries.remove(({ step }) => step)
    this.entries.add(() => this.say('end'), { name: 'end', after: '*' })
  }

  get entries(): Cio['pipelines'][Kind] {
    return this.app.pipelines[this.#kind]
  }

  say(word: string): void {
    this.said.push(word)
  }

  use(...steps: Step[]): this {
    for (const step of steps) this.entries.add(step)
    return this
  }

  repeat(step: Step): this {
    this.entries.add(step, { repeats: true })
    return this
  }

  /** A middleware that says when it is entered and when it is left. */
  around(name: string): Step {
    return async (_ctx, next) => {
      this.say(name)
      await next()
      this.say(name.toUpperCase())
    }
  }

  run(ctx: object = {}): Promise<void> {
    const run = this.entries.compose() as Run<never>
    return run(Object.assign(ctx, { app: this.app }) as never)
  }
}

for (const kind of ['server', 'connection', 'client'] as const) {
  const on = (title: string): string => `${title}, on the ${kind} pipeline`

  // What koa-compose promises.

  test(on('middleware run inwards in order and outwards in reverse'), async (t) => {
    const bench = new Bench(kind)
    await bench.use(bench.around('a'), bench.around('b'), bench.around('c')).run()
    t.deepEqual(bench.said, ['a', 'b', 'c', 'end', 'C', 'B', 'A'])
  })

  test(on('a hundred middleware run in order'), async (t) => {
    const bench = new Bench(kind)
    const names = Array.from({ length: 100 }, (_, index) => `m${index}`)
    for (const name of names) bench.use(bench.around(name))
    await bench.run()
    const back = names.toReversed().map((name) => name.toUpperCase())
    t.deepEqual(bench.said, [...names, 'end', ...back])
  })

  test(on('the context that every middleware gets is the one of the run'), async (t) => {
    const ctx = {}
    const seen: object[] = []
    const look: Step = (given, next) => {
      seen.push(given)
      return next()
    }
    await new Bench(kind)
      .use(look)
      .repeat((given, next) => look(given, next))
      .use((given, next) => look(given, next))
      .run(ctx)
    t.is(seen.length, 3)
    t.true(seen.every((given) => given === ctx))
  })

  test(on('next() is a promise that settles when all inside is done'), async (t) => {
    const bench = new Bench(kind)
    await bench
      .use(async (_ctx, next) => {
        const promise = next()
        t.true(promise instanceof Promise)
        bench.say('before')
        await promise
        bench.say('after')
      })
      .use(async () => {
        await Promise.resolve()
        bench.say('inside')
      })
      .run()
    t.deepEqual(bench.said, ['before', 'inside', 'after'])
  })

  test(
    on('what throws, sync or async, rejects the run and the next() of those outside'),
    async (t) => {
      const failures: Step[] = [
        () => {
          throw new Error('sync')
        },
        async () => {
          throw new Error('async')
        },
        () => Promise.reject(new Error('rejected')),
      ]
      for (const failure of failures) {
        const caught: unknown[] = []
        const bench = new Bench(kind).use(
          async (_ctx, next) => {
            await next().catch((error: unknown) => {
              caught.push(error)
              throw error
            })
          },
          (_ctx, next) => next(),
          failure,
        )
        const error = await t.throwsAsync(bench.run())
        t.deepEqual(caught, [error])
        t.deepEqual(bench.said, [])
      }
    },
  )

  test(on('an error that is caught outside does not reject the run'), async (t) => {
    const bench = new Bench(kind)
    await bench
      .use(
        async (_ctx, next) => {
          await t.throwsAsync(next(), { message: 'inner' })
        },
        async () => {
          throw new Error('inner')
        },
      )
      .run()
    t.pass()
  })

  test(on('an error after next() rejects the run'), async (t) => {
    const bench = new Bench(kind).use(async (_ctx, next) => {
      await next()
      throw new Error('late')
    })
    await t.throwsAsync(bench.run(), { message: 'late' })
    t.deepEqual(bench.said, ['end'])
  })

  test(on('a second next() is rejected, awaited or not, and runs nothing again'), async (t) => {
    for (const twice of [
      async (_ctx: object, next: Next): Promise<void> => {
        await next()
        await next()
      },
      async (_ctx: object, next: Next): Promise<void> => {
        await Promise.all([next(), next()])
      },
    ]) {
      const bench = new Bench(kind).use(twice)
      await t.throwsAsync(bench.run(), { message: /next\(\) called multiple times/ })
      t.deepEqual(bench.said, ['end'])
    }
  })

  // A `next()` that nothing awaits.

  const forgets: Record<string, Step> = {
    'returns at once': (_ctx, next) => void next(),
    'is async': async (_ctx, next) => void next(),
    'awaits something else': async (_ctx, next) => {
      void next()
      await Promise.resolve()
    },
    'handles its rejection': (_ctx, next) => void next().catch(() => {}),
    'chains to it': (_ctx, next) => void next().then(() => {}),
    'cleans up after it': (_ctx, next) => void next().finally(() => {}),
    'throws its error again': (_ctx, next) =>
      void next()
        .finally(() => {})
        .catch((error: Error) => {
          throw error
        }),
    'returns a stream': (_ctx, next) => {
      void next()
      return new PassThrough()
    },
  }

  for (const [how, forget] of Object.entries(forgets)) {
    test(
      on(`one that ${how} and does not await next() is named, and what is inside is waited for`),
      async (t) => {
        const bench = new Bench(kind)
        const inside = deferred()
        bench.use(bench.around('a'))
        bench.entries.add(forget, { name: 'forgets' }, { at: 'app.ts:7' })
        bench.use(bench.around('b'), async () => {
          await inside.promise
          bench.say('inside')
        })
        const running = bench.run()
        await new Promise(setImmediate)
        t.deepEqual(bench.said, ['a', 'b'])
        t.is(bench.errors.length, 1)
        t.like(bench.errors[0], { code: 'ERR_CIO_NOT_AWAITED', fault: 'local' })
        t.regex(bench.errors[0]!.message, /^`forgets` \(at app\.ts:7\)/)
        inside.resolve()
        await running
        t.deepEqual(bench.said, ['a', 'b', 'inside', 'B', 'A'])
        t.is(bench.errors.length, 1)
      },
    )

    test(
      on(`what fails inside one that ${how} and does not await next() rejects the run`),
      async (t) => {
        // What has failed before the middleware returns may have been caught by it.
        for (const late of how === 'awaits something else' ? [true] : [false, true]) {
          const bench = new Bench(kind).use(forget, async () => {
            if (late) await new Promise(setImmediate)
            throw new Error('inside')
          })
          await t.throwsAsync(bench.run(), { message: 'inside' })
          t.is(bench.errors.length, 1)
        }
      },
    )
  }

  test(on('what throws inside one that forgets next(), sync, rejects the run'), async (t) => {
    const bench = new Bench(kind).use(
      (_ctx, next) => void next(),
      () => {
        throw new Error('inside')
      },
    )
    await t.throwsAsync(bench.run(), { message: 'inside' })
  })

  test(on('each that does not await next() is named, once in a run'), async (t) => {
    const bench = new Bench(kind).repeat(async (_ctx, next) => {
      await next()
      await next()
    })
    for (const name of ['outer', 'inner']) {
      bench.entries.add((_ctx: object, next: Next) => void next(), { name })
    }
    bench.use(() => new Promise((done) => setImmediate(done)))
    await bench.run()
    t.deepEqual(
      bench.errors.map(({ message }) => /^`(\w+)`/.exec(message)?.[1]),
      ['inner', 'outer'],
    )
  })

  test(on('one that repeats and does not await next() is named'), async (t) => {
    const bench = new Bench(kind).repeat(function retry(_ctx, next) {
      void next()
    })
    bench.use(async () => {
      await new Promise(setImmediate)
      bench.say('inside')
    })
    await bench.run()
    t.deepEqual(bench.said, ['inside'])
    t.like(bench.errors, [{ code: 'ERR_CIO_NOT_AWAITED' }])
  })

  test(
    on('one that rejects before its next() has settled ends the run, and is not blamed'),
    async (t) => {
      for (const repeats of [false, true]) {
        const bench = new Bench(kind)
        const inside = deferred()
        const race: Step = async (_ctx, next) => {
          await Promise.race([next(), Promise.reject(new Error('too late'))])
        }
        bench.entries.add(race, { repeats })
        bench.use(() => inside.promise)
        await t.throwsAsync(bench.run(), { message: 'too late' })
        // It has a handler: AVA fails a test whose process sees an unhandled rejection.
        inside.reject(new Error('inside'))
        await new Promise(setImmediate)
        t.deepEqual(bench.errors, [])
      }
    },
  )

  test(on('a rejection of next() that is caught in time, or later, is not reported'), async (t) => {
    const fail: Step = async () => {
      await Promise.resolve()
      throw new Error('inside')
    }
    const patient: Step[] = [
      (_ctx, next) => next().catch(() => {}),
      async (_ctx, next) => next().catch(() => {}),
      async (_ctx, next) => {
        const inside = next()
        await new Promise(setImmediate)
        await t.throwsAsync(inside, { message: 'inside' })
      },
      async (_ctx, next) => void (await Promise.allSettled([next()])),
    ]
    for (const step of patient) {
      const bench = new Bench(kind).use(step, fail)
      await bench.run()
      t.deepEqual(bench.errors, [])
    }
  })

  test(
    on('a first next() after its middleware has returned rejects, runs nothing and is named'),
    async (t) => {
      const late: Record<string, (ctx: object, next: Next, called: () => void) => unknown> = {
        'by a callback': (_ctx, next, called) => {
          setImmediate(() => void next().then(called, called))
        },
        'without a look at it': (_ctx, next, called) => {
          setImmediate(() => {
            void next()
            called()
          })
        },
        'after it was async': async (_ctx, next, called) => {
          setImmediate(() => void next().then(called, called))
        },
      }
      for (const [how, step] of Object.entries(late)) {
        for (const repeats of [false, true]) {
          const bench = new Bench(kind)
          const called = deferred<unknown>()
          bench.entries.add(
            (ctx: object, next: Next) =>
              step(ctx, next, (...[error]: unknown[]) => called.resolve(error)),
            { name: 'callback', repeats },
          )
          await bench.run()
          const error = await called.promise
          if (how !== 'without a look at it') t.like(error, { code: 'ERR_CIO_NOT_AWAITED' })
          t.deepEqual(bench.said, [], how)
          t.is(bench.errors.length, 1, how)
          t.regex(bench.errors[0]!.message, /^`callback`/)
        }
      }
    },
  )

  test(
    on('a first next() after its middleware has rejected rejects, and is not reported'),
    async (t) => {
      const called = deferred<unknown>()
      const bench = new Bench(kind).use((_ctx, next) => {
        setImmediate(() => void next().catch(called.resolve))
        throw new Error('failed')
      })
      await t.throwsAsync(bench.run(), { message: 'failed' })
      t.like(await called.promise, { code: 'ERR_CIO_NOT_AWAITED' })
      t.deepEqual([bench.said, bench.errors], [[], []])
    },
  )

  test(on('one that repeats may retry at once what failed later'), async (t) => {
    let runs = 0
    const bench = new Bench(kind)
      .repeat(async (_ctx, next) => {
        for (;;) {
          try {
            return await next()
          } catch {
            bench.say('retry')
          }
        }
      })
      .use(
        (_ctx, next) => next(),
        async () => {
          await new Promise(setImmediate)
          if (++runs < 3) throw new Error('not yet')
        },
      )
    await bench.run()
    t.deepEqual(bench.said, ['retry', 'retry'])
  })

  // A factory in place of what it makes.

  test(on('a factory that was not called is named'), async (t) => {
    const factories = { sync: () => () => {}, async: async () => () => {} }
    for (const [name, factory] of Object.entries(factories)) {
      const bench = new Bench(kind)
      bench.entries.add(factory, { name })
      const error = await t.throwsAsync(bench.run(), { code: 'ERR_CIO_NOT_CALLED' })
      t.true(error.message.includes(`\`${name}()\``))
      t.deepEqual(bench.said, [])
    }
  })

  test(on('runs at the same time do not disturb each other'), async (t) => {
    const bench = new Bench(kind)
    bench
      .use(async (_ctx, next) => {
        await next()
      })
      .repeat(async (_ctx, next) => {
        await next()
        await next()
      })
    await Promise.all([bench.run(), bench.run(), bench.run()])
    t.is(bench.said.length, 6)
  })

  test(on('a run notes the innermost middleware that it has entered'), async (t) => {
    const ctx = { step: '' }
    const bench = new Bench(kind).use(
      function outer(_ctx, next) {
        return next()
      },
      function inner() {},
      function never() {},
    )
    await bench.run(ctx)
    t.is(ctx.step, 'inner')
  })

  // What chain-builder of 2016 could do.

  test(on('a middleware stops by returning without next()'), async (t) => {
    const bench = new Bench(kind)
    await bench.use(bench.around('a'), () => bench.say('stop'), bench.around('b')).run()
    t.deepEqual(bench.said, ['a', 'stop', 'A'])
  })

  test(on('a middleware pauses by awaiting'), async (t) => {
    const bench = new Bench(kind)
    let resume = (): void => {}
    const resumed = new Promise<void>((resolve) => (resume = resolve))
    const running = bench
      .use(async (_ctx, next) => {
        bench.say('pause')
        await resumed
        await next()
      })
      .run()
    t.deepEqual(bench.said, ['pause'])
    resume()
    await running
    t.deepEqual(bench.said, ['pause', 'end'])
  })

  test(on('middleware are disabled, enabled and removed between runs'), async (t) => {
    const bench = new Bench(kind)
    bench.use(
      function a(ctx, next) {
        return bench.around('a')(ctx, next)
      },
      function b(ctx, next) {
        return bench.around('b')(ctx, next)
      },
    )
    bench.entries.disable('a')
    await bench.run()
    bench.entries.enable('a')
    bench.entries.remove('b')
    await bench.run()
    t.deepEqual(bench.said, ['b', 'end', 'B', 'a', 'end', 'A'])
  })

  // Repeating.

  test(on('next() of one that repeats runs all inside it afresh'), async (t) => {
    const bench = new Bench(kind)
    await bench
      .use(bench.around('a'))
      .repeat(async (_ctx, next) => {
        for (let run = 0; run < 3; run++) await next()
      })
      .use(bench.around('b'))
      .run()
    const inside = ['b', 'end', 'B']
    t.deepEqual(bench.said, ['a', ...inside, ...inside, ...inside, 'A'])
  })

  test(
    on('those inside one that repeats may call next() once in each pass, and no more'),
    async (t) => {
      const bench = new Bench(kind)
        .repeat(async (_ctx, next) => {
          await next()
          await next()
        })
        .use(async (_ctx, next) => {
          await next()
          await next()
        })
      await t.throwsAsync(bench.run(), { message: /next\(\) called multiple times/ })
      t.deepEqual(bench.said, ['end'])
    },
  )

  test(on('one that repeats may stand inside another'), async (t) => {
    const bench = new Bench(kind)
    const twice =
      (name: string): Step =>
      async (_ctx, next) => {
        for (let run = 0; run < 2; run++) {
          bench.say(name)
          await next()
        }
      }
    await bench.repeat(twice('outer')).use(bench.around('a')).repeat(twice('inner')).run()
    const pass = ['outer', 'a', 'inner', 'end', 'inner', 'end', 'A']
    t.deepEqual(bench.said, [...pass, ...pass])
  })

  test(on('next() of one that repeats is refused while the last is running'), async (t) => {
    const bench = new Bench(kind).repeat(async function retry(_ctx, next) {
      await Promise.all([next(), next()])
    })
    const error = await t.throwsAsync(bench.run(), { code: 'ERR_CIO_NEXT_TWICE' })
    t.regex(error.message, /`retry`/)
    t.deepEqual(bench.said, ['end'])
  })

  test(on('one that repeats sees each error, and the last of them may pass'), async (t) => {
    const errors: string[] = []
    let runs = 0
    const bench = new Bench(kind)
      .repeat(async (_ctx, next) => {
        for (let retry = 0; ; retry++) {
          try {
            return await next()
          } catch (error) {
            errors.push((error as Error).message)
            if (retry === 2) throw error
          }
        }
      })
      // Sync: it has to reject next() all the same.
      .use(() => {
        throw new Error(`failure ${++runs}`)
      })
    await t.throwsAsync(bench.run(), { message: 'failure 3' })
    t.deepEqual(errors, ['failure 1', 'failure 2', 'failure 3'])
  })

  test(on('one that repeats runs nothing again after it has returned its next()'), async (t) => {
    const called = deferred<unknown>()
    const bench = new Bench(kind).repeat((_ctx, next) => {
      setImmediate(() => void next().then(called.resolve, called.resolve))
      return next()
    })
    await bench.run()
    t.like(await called.promise, { code: 'ERR_CIO_NOT_AWAITED' })
    t.deepEqual(bench.said, ['end'])
    t.is(bench.errors.length, 1)
  })

  test(on('one that repeats may stop, and may throw before next()'), async (t) => {
    const bench = new Bench(kind).repeat(() => bench.say('stop'))
    await bench.run()
    t.deepEqual(bench.said, ['stop'])

    const failing = new Bench(kind).repeat(() => {
      throw new Error('sync')
    })
    await t.throwsAsync(failing.run(), { message: 'sync' })
  })

  test(on('the registration may let a middleware repeat, and its publisher may'), async (t) => {
    const twice: Step = async (_ctx, next) => {
      await next()
      await next()
    }
    const registered = new Bench(kind)
    registered.entries.add(twice, { repeats: true })
    await registered.run()
    t.deepEqual(registered.said, ['end', 'end'])

    const published = new Bench(kind).use(defineMiddleware({ repeats: true }, twice))
    await published.run()
    t.deepEqual(published.said, ['end', 'end'])
  })
}

// Past the last middleware.

test('next() past the last middleware runs the far end, once for each pass', async (t) => {
  let ends = 0
  const entries = new Pipeline<{ step: string }>('client', async () => void ends++)
  entries.add((_ctx, next) => next())
  await (
    await entries.compose()
  )({ step: '' })
  t.is(ends, 1)

  entries.add(
    async (_ctx, next) => {
      await next()
      await next()
    },
    { repeats: true },
  )
  await (
    await entries.compose()
  )({ step: '' })
  t.is(ends, 3)
})

test('an error of the far end rejects next()', async (t) => {
  const entries = new Pipeline<{ step: string }>('client', () => Promise.reject(new Error('end')))
  entries.add(async (_ctx, next) => {
    await t.throwsAsync(next(), { message: 'end' })
  })
  await (
    await entries.compose()
  )({ step: '' })
})

test('the work after next() is done when the run is over, on sockets', async (t) => {
  const said: string[] = []
  const around =
    (name: string): Middleware =>
    async (_ctx, next) => {
      said.push(name)
      await next()
      said.push(name.toUpperCase())
    }
  const app = new Cio()
    .useServer(around('server'))
    .useConnection(around('connection'))
    .useClient(around('client'))
  const server = await serve(t, app)
  t.deepEqual(said, ['server'])

  const accepted = new Promise<void>((resolve) => app.once('connection', () => resolve()))
  const client = await app.connect({ port: server.port, host: '127.0.0.1' })
  await accepted
  t.deepEqual(said.slice(1).toSorted(), ['client', 'connection'])
  await client.close()
  await server.close()
  t.is(said.at(-1), 'SERVER')
  t.deepEqual(said.slice(3, -1).toSorted(), ['CLIENT', 'CONNECTION'])
})

test('the work after next() is done when the run is over, on a stream', async (t) => {
  const said: string[] = []
  const app = new Cio().useConnection(async (_ctx, next) => {
    said.push('in')
    await next()
    said.push('out')
  })
  const [near, far] = duplexPair()
  const ctx = app.handle(near)
  far.end()
  far.resume()
  await ctx.closed
  t.deepEqual(said, ['in', 'out'])
})

test('a second next() is an error of the application, told by its event', async (t) => {
  const app = new Cio().useConnection(async (ctx, next) => {
    ctx.destroy()
    await next()
    await next()
  })
  const told = new Promise<Error>((resolve) => app.once('error', resolve))
  const [near, far] = duplexPair()
  far.on('error', () => {})
  app.handle(near)
  t.regex((await told).message, /next\(\) called multiple times/)
})
