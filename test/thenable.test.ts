// oxlint-disable unicorn/no-thenable -- what it is about

import test from 'ava'
import { atOnce, awaited, isThenable, whenRejected } from '../src/thenable.ts'

const rejecting = (): Promise<never> => Promise.reject(new Error('late'))

test('an answer at once stays what it is, whatever it is', (t) => {
  for (const answer of [undefined, null, 0, true, 'text', { then: 1 }, () => {}]) {
    t.is(atOnce('owner', 'option', answer), answer)
  }
})

test('a promise in place of an answer is an error that names the option, and its rejection is handled', async (t) => {
  const thenable = { then: (_ok: unknown, failed: (error: Error) => void) => failed(new Error()) }
  for (const make of [rejecting, () => Promise.resolve(true), () => thenable]) {
    t.throws(() => atOnce('owner', 'isIt', make()), {
      code: 'ERR_CIO_OPTION',
      message: /owner: expected `isIt` to be a function that answers at once/,
    })
  }
  await new Promise(setImmediate)
})

test('what a function returns whose answer does not count is heard only if it rejects', async (t) => {
  const failures: unknown[] = []
  const failed = (thrown: unknown): void => void failures.push(thrown)
  for (const returned of [undefined, null, 1, {}, Promise.resolve(2)]) {
    whenRejected(returned, failed)
  }
  whenRejected(rejecting(), failed)
  await new Promise(setImmediate)
  t.is((failures[0] as Error).message, 'late')
  t.is(failures.length, 1)
})

test('a value whose `then` throws is awaited as a rejection', async (t) => {
  const odd = Object.defineProperty({}, 'then', {
    get() {
      throw new Error('read')
    },
  })
  await t.throwsAsync(async () => awaited(odd), { message: 'read' })
  t.false(isThenable(1))
  t.true(isThenable(Promise.resolve()))
  t.is(awaited(1), undefined)
})
