/** Values that a person writes by mistake: of environment variables, of JSON files, without `await`. */

import test from 'ava'
import { Cio } from 'cio'
import { page, watch } from '../src/index.ts'

const noText = [null, 5, true, [], {}, Promise.resolve('')] as never[]
const noBound = [null, '5', '', Number.NaN, -1, true, [5]] as never[]
const noObject = [null, '', 'false', 0, true, [], Promise.resolve({}), { typo: 1 }] as never[]
const refused = { code: 'ERR_CIO_OPTION' }

test('each question refuses a wrong value, and none takes it for another meaning', (t) => {
  using watching = watch(new Cio())
  for (const value of noObject) {
    t.throws(() => watching.metrics(value), refused)
    t.throws(() => watching.connections(value), refused)
    t.throws(() => watching.closed(value), refused)
    t.throws(() => watching.explain(value === 0 ? (null as never) : value), refused)
    t.throws(() => page(value), refused)
  }
  // The names were in the text that was meant to be without.
  for (const names of [null, 'false', '', 0, Number.NaN] as never[]) {
    t.throws(() => watching.metrics({ names }), refused)
  }
  for (const value of noBound) {
    t.throws(() => watching.closed({ limit: value }), refused)
    t.throws(() => watching.connections({ limit: value }), refused)
    t.throws(() => watching.connections({ after: value }), refused)
  }
  for (const value of noText) {
    t.throws(() => watching.closed({ reason: value }), refused)
    t.throws(() => watching.connections({ filter: value }), refused)
    t.throws(() => watching.connections({ step: value }), refused)
    t.throws(() => watching.explain({ name: value }), refused)
    t.throws(() => watching.history(value), refused)
    if (typeof value !== 'number') t.throws(() => watching.connection(value), refused)
  }
  t.throws(() => watch([]), refused)
})

test('what is no function is not called once a second: that ended the process', (t) => {
  using watching = watch(new Cio())
  for (const tick of [null, '', 'x', 0, 5, true, {}, []] as never[]) {
    t.throws(() => watching.look(tick), refused)
  }
  t.notThrows(() => watching.look()())
})
