import test from 'ava'
import { assert, property, string } from 'fast-check'
import { inspect } from 'node:util'
import { CioError, asError, describe, isCioError, quote } from '../src/errors.ts'

test('an error has its code, its message and the fault of the application', (t) => {
  const error = new CioError('ERR_MINE', 'it broke')
  t.true(error instanceof Error)
  t.is(error.name, 'CioError')
  t.is(error.code, 'ERR_MINE')
  t.is(error.message, 'it broke')
  t.is(error.fault, 'local')
  t.false('cause' in error)
})

test('an error has the fault and the cause that it was given', (t) => {
  const cause = new Error('inner')
  const error = new CioError('ERR_MINE', 'it broke', { fault: 'remote', cause })
  t.is(error.fault, 'remote')
  t.is(error.cause, cause)
})

test('an error prints its name, code and message', (t) => {
  const printed = inspect(new CioError('ERR_MINE', 'it broke'))
  t.regex(printed, /^CioError: it broke/)
  t.regex(printed, /ERR_MINE/)
})

test('an error of Cio is known by its name, and by its code where one is given', (t) => {
  const error: unknown = new CioError('ERR_MINE', 'it broke')
  t.true(isCioError(error))
  t.true(isCioError(error, 'ERR_MINE'))
  t.false(isCioError(error, 'ERR_OTHER'))
  for (const other of [new Error('it broke'), { name: 'CioError' }, null, undefined, 'CioError']) {
    t.false(isCioError(other))
  }
})

test('an error that another copy of Cio made is known too', async (t) => {
  const copy = (await import(new URL('../src/errors.ts?copy', import.meta.url).href)) as {
    CioError: typeof CioError
  }
  t.not(copy.CioError, CioError)
  t.true(isCioError(new copy.CioError('ERR_MINE', 'it broke'), 'ERR_MINE'))
})

test('what was thrown and is no error becomes one that says what it was', (t) => {
  const error = new Error('mine')
  t.is(asError(error), error)
  for (const thrown of ['a text', undefined, null, 7, Symbol('s'), { a: 1 }, () => {}]) {
    const made = asError(thrown)
    t.true(isCioError(made, 'ERR_CIO_NOT_AN_ERROR'))
    t.true(made.message.includes(describe(thrown)))
  }
})

for (const [value, text] of [
  ['a', '"a" (string)'],
  [1, '1 (number)'],
  [Number.NaN, 'NaN (number)'],
  [10n, '10 (bigint)'],
  [true, 'true (boolean)'],
  [Symbol('s'), 'Symbol(s) (symbol)'],
  [null, 'null'],
  [undefined, 'undefined'],
  [[1], 'an array'],
  [{}, 'an object (Object)'],
  [new Map(), 'an object (Map)'],
  [function audit() {}, 'a function (audit)'],
  [() => {}, 'a function (anonymous)'],
] as const) {
  test(`${text} describes a value of that kind`, (t) => {
    t.is(describe(value), text)
  })
}

test('an object without a prototype is described as an object', (t) => {
  t.is(describe(Object.create(null)), 'an object (Object)')
})

test('a quoted text is on one line, bounded, and has nothing in it that drives a terminal', (t) => {
  const printable = /^[^\p{Cc}\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]*$/u
  assert(
    property(string({ unit: 'binary', maxLength: 200 }), (text) => {
      const quoted = quote(text)
      return printable.test(quoted) && quoted.length <= 64 * 6 + 3
    }),
    { seed: 2_016, numRuns: 2_000 },
  )
  t.is(quote('a\nb\u0000\u001b[31m\u009b\u202e'), '"a\\nb\\u0000\\u001b[31m\\u009b\\u202e"')
})

test('a short text can be read back from its quote, and a long one is cut', (t) => {
  assert(
    property(string({ unit: 'binary', maxLength: 32 }), (text) => JSON.parse(quote(text)) === text),
    { seed: 2_016 },
  )
  t.is(quote('x'.repeat(65)), `"${'x'.repeat(64)}…"`)
  t.is(quote('x'.repeat(64)), `"${'x'.repeat(64)}"`)
})
