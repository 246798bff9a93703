import test from 'ava'
import { Cio } from '../../src/index.ts'
import { type Hints, type Middleware, defineMiddleware } from '../../src/pipeline/middleware.ts'

test('defineMiddleware gives back the function, with its name, and its hints on it', (t) => {
  async function audit(): Promise<void> {}
  const middleware = defineMiddleware({ before: 'users' }, audit)
  t.is<unknown, unknown>(middleware, audit)
  t.is(middleware.name, 'audit')
  t.deepEqual(middleware.hints, { before: 'users' })
})

test('hints are a copy that does not change', (t) => {
  const given: { before: string; name?: string } = { before: 'users' }
  const { hints } = defineMiddleware(given, () => {})
  given.before = 'lines'
  t.deepEqual(hints, { before: 'users' })
  t.throws(() => Object.assign(hints!, { before: 'lines' }), { instanceOf: TypeError })
})

test('hints may have all fields or none', (t) => {
  const all: Hints = { name: 'a', before: ['b'], after: '*', requires: 'c', repeats: true }
  t.deepEqual(defineMiddleware(all, () => {}).hints, all)
  t.deepEqual(defineMiddleware({}, () => {}).hints, {})
})

test('a hint of no kind that is known is refused', (t) => {
  const hints: object = { befor: 'secure' }
  const expected = { code: 'ERR_CIO_OPTION', message: /`befor` is not an option/ }
  t.throws(() => defineMiddleware(hints, () => {}), expected)
  t.throws(() => new Cio().useConnection(() => {}, hints), expected)
})

test('a function with hints of its own is a middleware without defineMiddleware', (t) => {
  const plain: Middleware = Object.assign(() => {}, { hints: { before: 'users' } })
  t.deepEqual(plain.hints, { before: 'users' })
})
