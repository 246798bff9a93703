import test from 'ava'
import fc from 'fast-check'
import { anyCharacter } from '../../../test/support/characters.ts'
import { decodeName, encodeName } from '../src/index.ts'

test('plain names stay as they are, and all others become one word', (t) => {
  t.is(encodeName('sensor-7_B'), 'sensor-7_B')
  t.is(encodeName(''), '=')
  for (const name of ['*', '>', 'a.b', '', '\0', '=', '=abc', 'ü', ' ', '\ud800', '\u{1f600}']) {
    t.regex(encodeName(name), /^[\w=-]+$/, JSON.stringify(name))
    t.is(decodeName(encodeName(name)), name)
  }
})

test('every name comes back, and no two names have one code', (t) => {
  const names = fc.string({ unit: anyCharacter, maxLength: 200 })
  fc.assert(fc.property(names, (name) => decodeName(encodeName(name)) === name))
  fc.assert(fc.property(names, names, (a, b) => a === b || encodeName(a) !== encodeName(b)))
  t.not(encodeName('\ud800'), encodeName('\ud801'))
})

test('a code that encodeName does not make has no name', (t) => {
  for (const code of ['a.b', '*', '=!', '=YQ', '=YS4qA', '==', '']) {
    t.is(decodeName(code), undefined, code)
  }
})

test('a name of more than 1000 bytes is rejected, by the fault of its sender', (t) => {
  t.is(encodeName('n'.repeat(1_000)).length, 1_000)
  const error = t.throws(() => encodeName('ü'.repeat(501), 'remote'), {
    code: 'ERR_CIO_NAME_LENGTH',
  })
  t.is((error as { fault?: string }).fault, 'remote')
})

test('a name that is no string is refused, and not taken for one', (t) => {
  for (const name of [undefined, null, 7, ['a'], Buffer.from('a'), {}] as unknown[]) {
    t.throws(() => encodeName(name as string), { code: 'ERR_CIO_OPTION', message: /a string/ })
  }
})
