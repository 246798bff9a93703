/** What does a middleware that awaits cost in Cio's pipeline, compared with koa-compose alone? */

import koaCompose from 'koa-compose'
import { parseArgs } from 'node:util'
import { compose } from '../src/pipeline/compose.ts'
import { median, middleOfPairs, record } from './results.ts'

interface Context {
  step: string
}

const target = 1.2
const steps = 10
const runsPerRound = 10_000
const warmUp = 5

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '51' } } })
const rounds = Number(values.rounds)

/** Middleware of its own for each side, so that V8 compiles each for its side. */
const middleware = (): ((ctx: Context, next: () => Promise<void>) => Promise<void>)[] =>
  Array.from({ length: steps }, () => async (_, next) => {
    await next()
  })
const done = async (): Promise<void> => {}

const koa = (): ((ctx: Context) => Promise<void>) => koaCompose([...middleware(), done])
const cio = (): ((ctx: Context) => Promise<void>) => {
  const all = middleware().map((one, index) => ({
    name: `step${index}`,
    repeats: false,
    middleware: one,
  }))
  return compose(all, done, (_, error) => {
    throw error
  })
}
const sides = { koa: koa(), cio: cio(), again: koa() }
const costs: Record<keyof typeof sides, number[]> = { koa: [], cio: [], again: [] }
const names = Object.keys(sides) as (keyof typeof sides)[]

for (let round = -warmUp; round < rounds; round++) {
  for (const name of round % 2 ? names : names.toReversed()) {
    const run = sides[name]
    const before = process.cpuUsage()
    for (let count = 0; count < runsPerRound; count++) await run({ step: '' })
    const { user, system } = process.cpuUsage(before)
    if (round >= 0) costs[name].push((1_000 * (user + system)) / runsPerRound / steps)
  }
}

const [base, own] = [median(costs.koa), median(costs.cio)]
const [low, high] = middleOfPairs(costs.cio, costs.koa)
record({
  what: 'a middleware that awaits `next()`',
  beside: 'koa-compose',
  unit: 'times',
  figure: own / base,
  low,
  high,
  target,
  self: middleOfPairs(costs.again, costs.koa),
})
console.log(
  `koa-compose ${base.toFixed(0)} ns, cio ${own.toFixed(0)} ns a middleware, ratio ${(own / base).toFixed(2)}; target ${target.toFixed(2)}: ${own / base <= target ? 'met' : 'missed'}`,
)
