import test from 'ava'
import { describeEnd } from '../../src/connection-end.ts'
import type { Middleware } from '../../src/pipeline/middleware.ts'
import { Pipeline } from '../../src/pipeline/pipeline.ts'
import { foldProbes } from '../../src/pipeline/probe.ts'

interface Trace {
  step: string
}

const end = describeEnd('handler', 'served', undefined)

function named(name: string, act: Middleware<Trace>): Middleware<Trace> {
  return Object.defineProperty(act, 'name', { value: name })
}

/** Holds the thread, so that a step has a time that is its own. */
function hold(milliseconds: number): void {
  const until = performance.now() + milliseconds
  while (performance.now() < until);
}

const pass = (name: string, held = 0): Middleware<Trace> =>
  named(name, async (_ctx, next) => {
    hold(held)
    await next()
  })

function pipeline(...steps: Middleware<Trace>[]): Pipeline<Trace> {
  const made = new Pipeline<Trace>('connection', async () => {})
  for (const step of steps) made.add(step)
  return made
}

async function passed(made: Pipeline<Trace>): Promise<[name: string, duration: number][]> {
  const steps: [string, number][] = []
  const remove = made.observe({ step: (_ctx, name, duration) => void steps.push([name, duration]) })
  await (
    await made.compose()
  )({ step: '' })
  remove()
  return steps
}

// With none it is today's function

test('without a probe the composed function stays the very same, before one and after it', (t) => {
  const made = pipeline(pass('a'), pass('b'))
  const without = made.compose()
  const remove = made.observe({ step() {} })
  const watched = made.compose()
  t.not(watched, without)
  remove()
  t.is(made.compose(), without)
  t.is(made.probe, undefined)
})

test('a probe without `step` leaves the composed function as it is', (t) => {
  const made = pipeline(pass('a'))
  const without = made.compose()
  made.observe({ begin() {}, end() {} })
  t.is(made.compose(), without)
})

// Times

test('the time of a step is its own, without that of the steps inside it', async (t) => {
  const made = pipeline(pass('quick'), pass('slow', 40), pass('last'))
  const steps = await passed(made)
  t.deepEqual(
    steps.map(([name]) => name),
    ['quick', 'slow', 'last'],
  )
  const own = new Map(steps)
  t.true(own.get('slow')! >= 40)
  // An onion's time of the outermost would contain those 40.
  t.true(own.get('quick')! < own.get('slow')!)
  t.true(own.get('last')! < own.get('slow')!)
})

test('a step that does not call next is not passed', async (t) => {
  const made = pipeline(
    pass('a'),
    named('handler', () => {}),
    pass('never'),
  )
  t.deepEqual(
    (await passed(made)).map(([name]) => name),
    ['a'],
  )
})

test('each pass of a repeating step measures what is inside it, and not itself', async (t) => {
  const made = pipeline(pass('a'))
  made.add(
    named('again', async (_ctx, next) => {
      await next()
      await next()
    }),
    { repeats: true },
  )
  made.add(pass('b'))
  t.deepEqual(
    (await passed(made)).map(([name]) => name),
    ['a', 'b', 'b'],
  )
})

test('a change of the pipeline holds for measured runs too', async (t) => {
  const made = pipeline(pass('a'))
  const names: string[] = []
  made.observe({ step: (_ctx, name) => void names.push(name) })
  const first = await made.compose()
  made.add(pass('b'))
  const second = await made.compose()
  await first({ step: '' })
  await second({ step: '' })
  t.deepEqual(names, ['a', 'a', 'b'])
})

// Several as one

test('several probes are folded into one, in the order in which they were added', (t) => {
  const calls: string[] = []
  const probe = (name: string) => ({
    begin: () => void calls.push(`${name} begin`),
    end: () => void calls.push(`${name} end`),
  })
  const folded = foldProbes<Trace>([probe('one'), {}, probe('two')], () => t.fail())!
  folded.begin({ step: '' })
  folded.end({ step: '' }, end)
  t.deepEqual(calls, ['one begin', 'two begin', 'one end', 'two end'])
  t.is(folded.step, undefined)
  t.is(
    foldProbes([], () => {}),
    undefined,
  )
})

test('a probe that throws is reported, and the others go on', (t) => {
  const thrown: unknown[] = []
  const bad = (): never => {
    throw new Error('mine')
  }
  let called = 0
  const good = (): void => void (called += 1)
  const folded = foldProbes<Trace>(
    [
      { begin: bad, step: bad, end: bad },
      { begin: good, step: good, end: good },
    ],
    (_ctx, error) => thrown.push(error),
  )!
  folded.begin({ step: '' })
  folded.step!({ step: '' }, 'a', 1)
  folded.end({ step: '' }, end)
  t.is(thrown.length, 3)
  t.is(called, 3)
})

test('a probe that was added twice is called twice, and each removal takes one away', (t) => {
  const made = pipeline()
  let begun = 0
  const probe = { begin: () => void (begun += 1) }
  const removals = [made.observe(probe), made.observe(probe)]
  made.probe?.begin({ step: '' })
  t.is(begun, 2)
  removals[0]!()
  removals[0]!()
  made.probe?.begin({ step: '' })
  t.is(begun, 3)
  removals[1]!()
  t.is(made.probe, undefined)
})

// Generations

test('the generation of a pipeline rises with each change, and not with a probe', (t) => {
  const made = pipeline()
  const first = made.generation
  made.add(pass('a'))
  t.is(made.generation, first + 1)
  made.disable('a')
  made.enable('a')
  made.replace('a', pass('a'))
  t.is(made.generation, first + 4)
  t.is(made.remove('none'), 0)
  made.observe({ step() {} })()
  void made.compose()
  t.is(made.generation, first + 4)
})

const call = { side: 'server', method: 'm', isKnown: true, id: 1, params: [] } as const

test('probes run a call inside one another, and once, also if they forget to or throw', (t) => {
  const seen: string[] = []
  const failures: unknown[] = []
  const folded = foldProbes<Trace>(
    [
      {
        call(_ctx, { method }, run) {
          seen.push(`outer ${method}`)
          run()
          run()
          seen.push('outer is over')
        },
      },
      { call: () => void seen.push('forgets') },
      {
        call() {
          throw new Error('careless')
        },
      },
    ],
    (_ctx, thrown) => void failures.push(thrown),
  )!
  const one = { ...call, code: undefined, error: undefined, duration: 0, params: [] }
  folded.call!({ step: '' }, one, () => void seen.push('runs'))
  t.deepEqual(seen, ['outer m', 'forgets', 'runs', 'outer is over'])
  t.deepEqual(
    failures.map((error) => (error as Error).message),
    ['careless'],
  )
})

test('calls are not watched where no probe asks for them', (t) => {
  t.is(foldProbes<Trace>([{ begin() {} }], () => {})!.call, undefined)
  t.not(foldProbes<Trace>([{ called() {} }], () => {})!.call, undefined)
})
