import test, { type ExecutionContext } from 'ava'
import { RetryBudget, type RetryBudgetOptions } from '../../src/kit.ts'

// A test at a time: they share a clock, which goes when it is told to.
let now = 1_000
performance.now = () => now

function withdrawAll(budget: RetryBudget): number {
  let count = 0
  while (budget.withdraw()) count += 1
  return count
}

function budgetOf(t: ExecutionContext, options: RetryBudgetOptions, deposits = 0): RetryBudget {
  const budget = new RetryBudget(options)
  for (let deposit = 0; deposit < deposits; deposit++) budget.deposit()
  t.true(budget.balance >= 0)
  return budget
}

test.serial('without a deposit it allows minPerSecond over the whole of ttl', (t) => {
  t.is(withdrawAll(budgetOf(t, {})), 100)
  t.is(withdrawAll(budgetOf(t, { ttl: 2_000, minPerSecond: 3 })), 6)
  t.is(withdrawAll(budgetOf(t, { ttl: 100, minPerSecond: 3 })), 0)
})

test.serial('each deposit allows a share of a retry', (t) => {
  t.is(withdrawAll(budgetOf(t, { minPerSecond: 0, ratio: 0.2 }, 4)), 0)
  t.is(withdrawAll(budgetOf(t, { minPerSecond: 0, ratio: 0.2 }, 5)), 1)
  t.is(withdrawAll(budgetOf(t, { minPerSecond: 0, ratio: 0.1 }, 1_000)), 100)
  t.is(withdrawAll(budgetOf(t, { minPerSecond: 0, ratio: 2 }, 3)), 6)
})

test.serial('a withdrawal that is refused takes nothing', (t) => {
  const budget = budgetOf(t, { minPerSecond: 0, ratio: 0.5 }, 1)
  t.false(budget.withdraw())
  budget.deposit()
  t.true(budget.withdraw())
  t.false(budget.withdraw())
})

test.serial('deposits are forgotten after ttl', (t) => {
  const budget = budgetOf(t, { ttl: 1_000, minPerSecond: 0, ratio: 1 }, 5)
  now += 899
  t.is(budget.balance, 5)
  now += 201
  t.is(budget.balance, 0)
})

test.serial('withdrawals are forgotten after ttl', (t) => {
  const budget = budgetOf(t, { ttl: 1_000, minPerSecond: 5 })
  t.is(withdrawAll(budget), 5)
  now += 899
  t.is(withdrawAll(budget), 0)
  now += 201
  t.is(withdrawAll(budget), 5)
})

test.serial(
  'in any ttl no more is taken out than reserve and deposits, whatever the rhythm',
  (t) => {
    const [ttl, minPerSecond, ratio] = [1_000, 4, 0.5]
    const budget = budgetOf(t, { ttl, minPerSecond, ratio })
    const taken: number[] = []
    const given: number[] = []
    for (let step = 0; step < 2_000; step++) {
      now += (step * 7) % 50
      if (step % 3 === 0) {
        budget.deposit()
        given.push(now)
      }
      if (budget.withdraw()) taken.push(now)
    }
    t.true(taken.length > 100)
    for (const begin of taken) {
      const within = (moment: number): boolean => moment >= begin && moment < begin + ttl * 0.9
      // A deposit counts for what is taken up to a ttl after it.
      const lately = (moment: number): boolean => moment >= begin - ttl && moment < begin + ttl
      const most = (minPerSecond * ttl) / 1_000 + ratio * given.filter(lately).length
      t.true(taken.filter(within).length <= most)
    }
  },
)

test.serial('a long time without a call costs no more than a short one', (t) => {
  const budget = budgetOf(t, { ttl: 10, minPerSecond: 1_000 }, 3)
  now += 1e12
  t.is(withdrawAll(budget), 10)
})

for (const options of [
  { ttl: 0 },
  { ttl: Infinity },
  { ttl: -1 },
  { minPerSecond: -1 },
  { minPerSecond: Infinity },
  { ratio: -0.1 },
  { ratio: Number.NaN },
  { percent: 20 },
]) {
  const [[option, value]] = Object.entries(options) as [[string, number]]
  test(`${option} of ${value} is refused`, (t) => {
    t.throws(() => new RetryBudget(options), { code: 'ERR_CIO_OPTION' })
  })
}
