import test from 'ava'
import { transform } from 'esbuild'
import { assert, property, string } from 'fast-check'
import { readFile } from 'node:fs/promises'
import { checkServerIdentity } from 'node:tls'
import { inspect } from 'node:util'
import { CioError, asError, describe, isCioError, quote } from '../src/errors.ts'
import { anyCharacter } from './support/characters.ts'

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
  const source = await readFile(new URL('../src/errors.ts', import.meta.url), 'utf8')
  const { code } = await transform(source, { loader: 'ts' })
  const copy = (await import(`data:text/javascript,${encodeURIComponent(code)}`)) as {
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
    property(string({ unit: anyCharacter, maxLength: 200 }), (text) => {
      const quoted = quote(text)
      return printable.test(quoted) && quoted.length <= 64 * 6 + 3
    }),
    { seed: 2_016, numRuns: 2_000 },
  )
  t.is(quote('a\nb\u0000\u001b[31m\u009b\u202e'), '"a\\nb\\u0000\\u001b[31m\\u009b\\u202e"')
})

test('a short text can be read back from its quote, and a long one is cut', (t) => {
  assert(
    property(
      string({ unit: anyCharacter, maxLength: 32 }),
      (text) => JSON.parse(quote(text)) === text,
    ),
    { seed: 2_016 },
  )
  t.is(quote('x'.repeat(65)), `"${'x'.repeat(64)}…"`)
  t.is(quote('x'.repeat(64)), `"${'x'.repeat(64)}"`)
})

for (const [what, character] of [
  ['the Arabic letter mark', '\u061c'],
  ['a soft hyphen', '\u00ad'],
  ['the Mongolian vowel separator', '\u180e'],
  ['an interlinear annotation', '\ufff9'],
  ['its end', '\ufffb'],
  ['a tag', '\u{e0041}'],
  ['the first tag', '\u{e0001}'],
  ['a variation selector', '\u{e0100}'],
  ['a right-to-left override', '\u202e'],
  ['an isolate', '\u2066'],
  ['a zero-width space', '\u200b'],
  ['a line separator', '\u2028'],
  ['an ideographic space', '\u3000'],
  ['a Hangul filler', '\u3164'],
  ['an escape', '\u001b'],
  ['a C1 control', '\u009b'],
  ['a line feed', '\n'],
  ['half a surrogate pair', '\ud800'],
] as const) {
  test(`${what} reaches no message, no quote and no cause as it is`, (t) => {
    const text = `a${character}b`
    const quoted = quote(text)
    t.false(quoted.includes(character))
    t.is(JSON.parse(quoted), text)

    const inner = new Error(text)
    const several = new AggregateError([new Error(text)], text)
    const middle = Object.assign(new Error(text, { cause: inner }), { reason: text })
    for (const cause of [middle, several]) {
      const error = new CioError('ERR_MINE', `it said ${text}`, { cause })
      t.is(error.cause, cause)
      t.false(error.message.includes(character))
      for (const one of [middle, inner, several, ...several.errors] as Error[]) {
        t.false(one === cause && one.message.includes(character))
      }
      // Line feeds of a stack are its own.
      if (character !== '\n') t.false(inspect(error).includes(character))
    }
    t.false(inner.message.includes(character))
    t.false(inner.stack!.split('\n    at ')[0]!.includes(character))
  })
}

test('letters of all languages, signs and emoji stay as they are', (t) => {
  const text = 'Ünïcödé 文字 кириллица 😀 – „x“'
  t.is(quote(text), `"${text}"`)
  t.is(new CioError('ERR_MINE', text).message, text)
})

test('a cause that cannot be read or changed stays as it is, and hurts nobody', (t) => {
  const throws = Object.defineProperty(new Error('x'), 'message', {
    get() {
      throw new Error('mine')
    },
  })
  const frozen = Object.freeze(new Error('a\u202eb'))
  const proxy = new Proxy(new Error('x'), {
    getPrototypeOf() {
      throw new Error('mine')
    },
  })
  const round = new Error('round')
  round.cause = round
  for (const cause of [throws, frozen, proxy, round, null, 'a text', 7]) {
    t.notThrows(() => new CioError('ERR_MINE', 'it broke', { cause }))
  }
})

test('what a certificate of a server or a proxy claims reaches no terminal raw', async (t) => {
  const cause = await new Promise<Error>((resolve) => {
    const subject = { CN: 'evil\u202e.test' }
    resolve(
      checkServerIdentity('localhost', {
        subject,
        subjectaltname: 'DNS:e\u202evil.test',
      } as never)!,
    )
  })
  const printed = inspect(new CioError('ERR_MINE', cause.message, { cause }))
  t.false(printed.includes('\u202e'))
  t.true(printed.includes('\\u202e'))
})

test('what a parser says of its input reaches no terminal raw', (t) => {
  let cause: unknown
  try {
    JSON.parse('{"a":\u202e\u001b[2J}')
  } catch (thrown) {
    cause = thrown
  }
  const printed = inspect(new CioError('ERR_MINE', 'not JSON', { cause }))
  for (const character of ['\u202e', '\u001b']) t.false(printed.includes(character))
})

test('errors that hold each other many times are a cause, each of them once', (t) => {
  const cause: Error & { errors?: unknown } = new Error('it\u001b fails')
  cause.cause = cause
  cause.errors = Array.from({ length: 100 }, () => cause)
  const error = new CioError('ERR_CIO_ODD', 'it fails', { cause })
  t.is((error.cause as Error).message, 'it\\u001b fails')
})
