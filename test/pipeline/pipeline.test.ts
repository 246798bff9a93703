import test from 'ava'
import { fileURLToPath } from 'node:url'
import { Cio } from '../../src/cio.ts'
import { type Middleware, defineMiddleware } from '../../src/pipeline/middleware.ts'
import { Pipeline, type PipelineEntry } from '../../src/pipeline/pipeline.ts'

interface Trace {
  step: string
  readonly trace: string[]
}

const fixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url))

const pass: Middleware = (_ctx, next) => next()

function pipeline(): Pipeline<Trace> {
  return new Pipeline<Trace>('connection', async (ctx) => void ctx.trace.push('end'))
}

/** A middleware that leaves its name on the way in. */
function named(name: string): Middleware<Trace> {
  const middleware: Middleware<Trace> = (ctx, next) => {
    ctx.trace.push(name)
    return next()
  }
  return Object.defineProperty(middleware, 'name', { value: name })
}

async function trace(entries: Pipeline<Trace>): Promise<string[]> {
  const ctx = { step: '', trace: [] }
  await (
    await entries.compose()
  )(ctx)
  return ctx.trace
}

function entryOf(entries: Pipeline<Trace>, name: string): PipelineEntry | undefined {
  return [...entries].find((entry) => entry.name === name)
}

// Adding.

test('entries run in order of registration, then the far end', async (t) => {
  const entries = pipeline()
  for (const name of ['a', 'b', 'c']) entries.add(named(name))
  t.deepEqual(await trace(entries), ['a', 'b', 'c', 'end'])
  t.deepEqual(entries.names, ['a', 'b', 'c'])
})

test('an empty pipeline runs its far end', async (t) => {
  t.deepEqual(await trace(pipeline()), ['end'])
})

test('a name that is taken is refused, and the error tells where both were registered', (t) => {
  const entries = pipeline()
  entries.add(named('audit'), {}, { at: 'app.ts:1' })
  const error = t.throws(() => entries.add(named('audit'), {}, { at: 'app.ts:2' }), {
    code: 'ERR_CIO_DUPLICATE_NAME',
  })
  t.regex(error.message, /`audit`.*app\.ts:1.*app\.ts:2/)
  t.deepEqual(entries.names, ['audit'])
})

test('a name that its registration gives goes before the name of the function', (t) => {
  const entries = pipeline()
  entries.add(named('audit'))
  entries.add(named('audit'), { name: 'secondAudit' })
  t.deepEqual(entries.names, ['audit', 'secondAudit'])
})

test('functions without a name are anonymous, as many as there are', async (t) => {
  const entries = pipeline()
  entries.add((ctx, next) => (ctx.trace.push('one'), next()))
  entries.add((ctx, next) => (ctx.trace.push('two'), next()))
  t.deepEqual(entries.names, ['anonymous', 'anonymous'])
  t.deepEqual(await trace(entries), ['one', 'two', 'end'])
})

test('a default export without a name is anonymous too', (t) => {
  const entries = pipeline()
  // JavaScript names it so.
  entries.add(named('default'))
  entries.add(named('default'))
  t.deepEqual(entries.names, ['anonymous', 'anonymous'])
})

for (const value of [undefined, null, 1, {}, []]) {
  test(`${JSON.stringify(value) ?? 'undefined'} is refused as a middleware`, (t) => {
    t.throws(() => pipeline().add(value as Middleware<Trace>), { code: 'ERR_CIO_OPTION' })
  })
}

// Hints.

test('the hints of the publisher place an entry', async (t) => {
  const entries = pipeline()
  entries.add(named('a'))
  entries.add(defineMiddleware<Trace>({ before: 'a' }, named('b')))
  t.deepEqual(await trace(entries), ['b', 'a', 'end'])
})

test('a registration overrides the hints of the publisher that it gives, and no others', (t) => {
  const entries = pipeline()
  const hints = { name: 'mine', before: 'a', requires: 'a' }
  entries.add(named('a'))
  entries.add(defineMiddleware<Trace>(hints, named('b')), { before: [], name: 'yours' })
  t.deepEqual(entries.names, ['a', 'yours'])
  t.deepEqual(entryOf(entries, 'yours')?.requires, ['a'])
})

test('a hint that is undefined overrides nothing', (t) => {
  const entries = pipeline()
  const hints: object = { before: undefined, name: undefined }
  entries.add(named('a'))
  entries.add(defineMiddleware<Trace>({ before: 'a', name: 'b' }, named('x')), hints)
  t.deepEqual(entries.names, ['b', 'a'])
})

test('an entry tells its hints as lists, and why it stands where it stands', (t) => {
  const entries = pipeline()
  entries.add(named('a'))
  entries.add(
    named('b'),
    { before: 'a', after: ['c'], requires: 'a', repeats: true },
    { at: 'x:1' },
  )
  t.deepEqual(entryOf(entries, 'b'), {
    name: 'b',
    step: false,
    enabled: true,
    at: 'x:1',
    before: ['a'],
    after: ['c'],
    requires: ['a'],
    repeats: true,
    why: 'before `a`; after `c`, which is absent',
  })
})

test('hints that contradict each other fail when it is composed', async (t) => {
  const entries = pipeline()
  entries.add(named('a'), { after: 'b' })
  entries.add(named('b'), { after: 'a' })
  t.throws(() => entries.compose(), { code: 'ERR_CIO_ORDER_CYCLE' })
  t.throws(() => [...entries], { code: 'ERR_CIO_ORDER_CYCLE' })
  entries.remove('b')
  t.deepEqual(await trace(entries), ['a', 'end'])
})

// Requirements.

test('what is required and there lets it be composed', async (t) => {
  const entries = pipeline()
  entries.add(named('a'), { requires: ['b', 'c'] })
  entries.add(named('b'))
  entries.add(named('c'))
  t.deepEqual(await trace(entries), ['a', 'b', 'c', 'end'])
})

test('what is required and missing is named when it is composed', (t) => {
  const entries = pipeline()
  entries.add(named('a'), { requires: ['b', 'c'] }, { at: 'app.ts:7' })
  entries.add(named('b'))
  const error = t.throws(() => entries.compose(), { code: 'ERR_CIO_REQUIRES' })
  t.regex(error.message, /`a` requires `c`.*app\.ts:7/)
})

test('what is required and disabled is missing', (t) => {
  const entries = pipeline()
  entries.add(named('a'), { requires: 'b' })
  entries.add(named('b'))
  entries.disable('b')
  t.throws(() => entries.compose(), { code: 'ERR_CIO_REQUIRES' })
})

test('what is disabled requires nothing', async (t) => {
  const entries = pipeline()
  entries.add(named('a'), { requires: 'b' })
  entries.disable('a')
  t.deepEqual(await trace(entries), ['end'])
})

// Steps.

test('a name that a step has replaces the step in its place', async (t) => {
  const entries = pipeline()
  entries.add(named('certs'), {}, { step: true })
  entries.add(named('listen'), { after: '*' }, { step: true })
  entries.add(named('a'))
  const mine: Middleware<Trace> = (ctx, next) => (ctx.trace.push('my certs'), next())
  entries.add(mine, { name: 'certs' })
  t.deepEqual(await trace(entries), ['my certs', 'a', 'listen', 'end'])
  t.false(entryOf(entries, 'certs')?.step)
})

test('a step that was replaced cannot be replaced by its name again', (t) => {
  const entries = pipeline()
  entries.add(named('certs'), {}, { step: true })
  entries.add(named('certs'), { name: 'certs' })
  t.throws(() => entries.add(named('certs')), { code: 'ERR_CIO_DUPLICATE_NAME' })
})

test('a function that is called as a step is by chance does not replace it', async (t) => {
  const entries = pipeline()
  entries.add(named('secure'), {}, { step: true })
  const error = t.throws(() => entries.add(named('secure'), {}, { at: 'app.ts:7' }), {
    code: 'ERR_CIO_DUPLICATE_NAME',
  })
  t.regex(error.message, /app\.ts:7 .*`\{ name: 'secure' \}`/)
  t.deepEqual(await trace(entries), ['secure', 'end'])
  t.true(entryOf(entries, 'secure')?.step)
})

test('what replaces a step keeps its hints, unless it has others', async (t) => {
  const entries = pipeline()
  entries.add(named('listen'), { after: '*' }, { step: true })
  entries.add(named('listen'), { name: 'listen' })
  entries.add(named('a'))
  t.deepEqual(await trace(entries), ['a', 'listen', 'end'])

  const others = pipeline()
  others.add(named('listen'), { after: '*' }, { step: true })
  others.add(defineMiddleware<Trace>({ name: 'listen', after: 'a' }, named('listen')))
  for (const name of ['a', 'b']) others.add(named(name))
  t.deepEqual(await trace(others), ['a', 'listen', 'b', 'end'])
})

for (const kind of ['server', 'connection', 'client'] as const) {
  test(`the ${kind} pipeline of an app has its steps, and each can be replaced by name`, (t) => {
    const app = new Cio()
    const entries = app.pipelines[kind]
    const steps = [...entries].filter(({ step }) => step).map(({ name }) => name)
    t.deepEqual(
      steps,
      {
        server: ['certs', 'listen'],
        connection: ['secure'],
        client: ['certs', 'connect', 'secure'],
      }[kind],
    )
    for (const name of steps) app.pipelines[kind].add(pass, { name })
    t.deepEqual(entries.names, steps)
    t.true([...entries].every(({ step }) => !step))
  })
}

test('what is registered on an app without a hint runs before listen and after secure', (t) => {
  const app = new Cio()
    .useServer(function database(_ctx, next) {
      return next()
    })
    .useConnection(function handler() {})
    .useClient(function handler() {})
  t.deepEqual(app.pipelines.server.names, ['certs', 'database', 'listen'])
  t.deepEqual(app.pipelines.connection.names, ['secure', 'handler'])
  t.deepEqual(app.pipelines.client.names, ['certs', 'connect', 'secure', 'handler'])
})

// Changing.

test('entries are removed by name and by predicate', async (t) => {
  const entries = pipeline()
  for (const name of ['a', 'b', 'c', 'd']) entries.add(named(name))
  t.is(entries.remove('b'), 1)
  t.is(entries.remove('b'), 0)
  t.is(
    entries.remove(({ name }) => name > 'b'),
    2,
  )
  t.deepEqual(await trace(entries), ['a', 'end'])
})

test('a predicate sees whether an entry is a step, and where it was registered', (t) => {
  const entries = pipeline()
  entries.add(named('a'), {}, { step: true, at: 'cio' })
  entries.add(named('b'), {}, { at: 'app.ts:2' })
  t.is(
    entries.remove(({ step, at }) => !step && at === 'app.ts:2'),
    1,
  )
  t.deepEqual(entries.names, ['a'])
})

test('a disabled entry is listed and not run, and comes back in its place', async (t) => {
  const entries = pipeline()
  for (const name of ['a', 'b', 'c']) entries.add(named(name))
  t.is(entries.disable('b'), 1)
  t.deepEqual(await trace(entries), ['a', 'c', 'end'])
  t.deepEqual(entries.names, ['a', 'c'])
  t.false(entries.has('b'))
  t.is(entryOf(entries, 'b')?.enabled, false)

  t.is(
    entries.enable(({ name }) => name === 'b'),
    1,
  )
  t.deepEqual(await trace(entries), ['a', 'b', 'c', 'end'])
  t.true(entries.has('b'))
})

test('a name that a disabled entry has is taken', (t) => {
  const entries = pipeline()
  entries.add(named('a'))
  entries.disable('a')
  t.throws(() => entries.add(named('a')), { code: 'ERR_CIO_DUPLICATE_NAME' })
})

test('an entry is replaced in its place, under its name and with its hints', async (t) => {
  const entries = pipeline()
  entries.add(named('a'))
  entries.add(named('b'), { before: 'a' }, { at: 'app.ts:2' })
  entries.replace('b', named('better'))
  t.deepEqual(entries.names, ['b', 'a'])
  t.deepEqual(await trace(entries), ['better', 'a', 'end'])
  t.is(entryOf(entries, 'b')?.at, 'app.ts:2')
})

test('hints that are given to replace() take the place of the old ones', (t) => {
  const entries = pipeline()
  entries.add(named('a'))
  entries.add(named('b'), { before: 'a' })
  entries.replace('b', named('better'), { after: 'a' })
  t.deepEqual(entries.names, ['a', 'b'])
})

test('what replaces a disabled entry is disabled', async (t) => {
  const entries = pipeline()
  entries.add(named('a'))
  entries.disable('a')
  entries.replace('a', named('better'))
  t.deepEqual(await trace(entries), ['end'])
})

test('an entry that is not there cannot be replaced; the error lists those that are', (t) => {
  const entries = pipeline()
  entries.add(named('a'))
  const error = t.throws(() => entries.replace('b', named('c')), { code: 'ERR_CIO_UNKNOWN_NAME' })
  t.regex(error.message, /`b`.*`a`/)
})

// Composing.

test('it is composed once, and again only after a change', (t) => {
  const entries = pipeline()
  entries.add(named('a'))
  const changes: [string, () => void, boolean][] = [
    ['nothing', () => {}, false],
    ['a listing', () => void [...entries], false],
    ['add', () => entries.add(named('b')), true],
    ['disable', () => entries.disable('b'), true],
    ['enable', () => entries.enable('b'), true],
    ['replace', () => entries.replace('b', named('c')), true],
    ['remove', () => entries.remove('b'), true],
    ['remove of nothing', () => entries.remove('b'), false],
    ['disable of nothing', () => entries.disable('b'), false],
  ]
  for (const [title, change, changed] of changes) {
    const before = entries.compose()
    change()
    t.is(entries.compose() !== before, changed, title)
    t.is(entries.compose(), entries.compose(), title)
  }
})

test('a run that is under way keeps its order after a change', async (t) => {
  const entries = pipeline()
  let resume = (): void => {}
  const resumed = new Promise<void>((resolve) => (resume = resolve))
  entries.add(async function pause(ctx, next) {
    ctx.trace.push('pause')
    await resumed
    await next()
  })
  entries.add(named('a'))

  const running = trace(entries)
  entries.remove('a')
  entries.add(named('b'))
  resume()
  t.deepEqual(await running, ['pause', 'a', 'end'])
  t.deepEqual(await trace(entries), ['pause', 'b', 'end'])
})

test('a middleware may take itself out while it runs', async (t) => {
  const entries = pipeline()
  entries.add(function once(ctx, next) {
    ctx.trace.push('once')
    entries.remove('once')
    return next()
  })
  entries.add(named('a'))
  t.deepEqual(await trace(entries), ['once', 'a', 'end'])
  t.deepEqual(await trace(entries), ['a', 'end'])
})

// Modules.

test('a module given by name is loaded when it is first composed, and not again', async (t) => {
  const entries = pipeline()
  entries.add(fixture('handler.mjs'))
  const composed = entries.compose()
  t.true(composed instanceof Promise)
  await composed
  t.false(entries.compose() instanceof Promise)
  t.deepEqual(await trace(entries), ['handler'])
})

test('a module gets its options when it is loaded', async (t) => {
  const entries = pipeline()
  entries.add([fixture('factory-with-options.mjs'), { tokens: ['ann'] }])
  const ctx: Trace & { step: string; user?: string } = { step: '', trace: [] }
  const run = await entries.compose()
  await run(ctx)
  t.is(ctx.user, 'ann')
})

test('a module is called by its own name until it is loaded, and then by either', async (t) => {
  const entries = pipeline()
  const module = fixture('esm.mjs')
  entries.add(module)
  t.deepEqual(entries.names, [module])
  await entries.compose()
  t.deepEqual(entries.names, ['esm'])
  t.true(entries.has(module))
  t.is(entries.disable(module), 1)
  t.is(entries.enable('esm'), 1)
  entries.replace(module, named('other'))
  t.deepEqual(entries.names, ['esm'])
})

test('a module that gives its function no name keeps its own', async (t) => {
  const entries = pipeline()
  entries.add(fixture('nameless.mjs'))
  await entries.compose()
  t.deepEqual(entries.names, [fixture('nameless.mjs')])
})

test('the hints of a module hold once it is loaded, and its registration overrides them', async (t) => {
  const entries = pipeline()
  entries.add(named('first'))
  entries.add(fixture('hinted.mjs'))
  t.deepEqual(await trace(entries), ['hinted'])

  const overridden = pipeline()
  overridden.add(named('first'))
  overridden.add(fixture('hinted.mjs'), { before: [], name: 'last' })
  t.deepEqual(await trace(overridden), ['first', 'hinted'])
  t.deepEqual(overridden.names, ['first', 'last'])
})

test('a module that brings the name of a step replaces the step', async (t) => {
  const entries = pipeline()
  entries.add(named('hinted'), {}, { step: true })
  entries.add(named('a'))
  entries.add(fixture('hinted.mjs'), { before: [] })
  t.deepEqual(await trace(entries), ['hinted'])
  t.deepEqual(entries.names, ['hinted', 'a'])

  const byChance = pipeline()
  byChance.add(named('esm'), {}, { step: true })
  byChance.add(fixture('esm.mjs'))
  for (let compositions = 0; compositions < 2; compositions++) {
    await t.throwsAsync(async () => byChance.compose(), { code: 'ERR_CIO_DUPLICATE_NAME' })
  }
})

test('a module that brings a name that is taken fails each time it is composed', async (t) => {
  const entries = pipeline()
  entries.add(named('esm'))
  entries.add(fixture('esm.mjs'))
  const compose = async (): Promise<unknown> => entries.compose()
  await t.throwsAsync(compose, { code: 'ERR_CIO_DUPLICATE_NAME' })
  await t.throwsAsync(compose, { code: 'ERR_CIO_DUPLICATE_NAME' })
  entries.remove(fixture('esm.mjs'))
  t.deepEqual(await trace(entries), ['esm', 'end'])
})

test('a module that cannot be loaded fails when it is composed', async (t) => {
  const entries = pipeline()
  entries.add(fixture('missing.mjs'))
  await t.throwsAsync(async () => entries.compose(), { code: 'ERR_CIO_LOAD' })
})

test('a module that is disabled is not loaded', async (t) => {
  const entries = pipeline()
  entries.add(fixture('missing.mjs'))
  entries.disable(fixture('missing.mjs'))
  t.deepEqual(await trace(entries), ['end'])
})

test('a module that was removed while it was loaded does not run', async (t) => {
  const entries = pipeline()
  entries.add(fixture('handler.mjs'))
  const composed = entries.compose()
  entries.remove(fixture('handler.mjs'))
  const ctx = { step: '', trace: [] }
  await (
    await composed
  )(ctx)
  t.deepEqual(ctx.trace as string[], ['end'])
})
