import test from 'ava'
import {
  checkCount,
  checkDuration,
  checkOptionNames,
  maxTimerDelay,
  optionError,
} from '../src/options.ts'

const refused = { code: 'ERR_CIO_OPTION' }

test('the error of an option names its owner, the option, the rule, the value and its type', (t) => {
  const error = optionError('idle', 'timeout', 'a number', 'soon')
  t.is(error.code, 'ERR_CIO_OPTION')
  t.is(error.fault, 'local')
  t.is(error.message, 'idle: expected `timeout` to be a number, got "soon" (string)')
})

for (const value of [0, 1, 0.5, 60_000, maxTimerDelay, Infinity]) {
  test(`${value} is a duration`, (t) => {
    t.notThrows(() => checkDuration('owner', 'timeout', value))
  })
}

for (const value of [-1, maxTimerDelay + 1, Number.NaN, -Infinity, '1', null, undefined, 1n]) {
  test(`${typeof value} ${value} is no duration`, (t) => {
    t.throws(() => checkDuration('owner', 'timeout', value), refused)
  })
}

for (const value of [0, 1, 1e9, Infinity]) {
  test(`${value} is a count`, (t) => {
    t.notThrows(() => checkCount('owner', 'max', value))
  })
}

for (const value of [-1, 0.5, Number.NaN, -Infinity, '1', null, undefined, 1n]) {
  test(`${typeof value} ${value} is no count`, (t) => {
    t.throws(() => checkCount('owner', 'max', value), refused)
  })
}

test('a count may have a least value of its own', (t) => {
  t.notThrows(() => checkCount('owner', 'max', 1, 1))
  const error = t.throws(() => checkCount('owner', 'max', 0, 1), refused)
  t.regex(error.message, /at least 1/)
})

test('an option that nobody reads is refused, and those that there are, are named', (t) => {
  t.notThrows(() => checkOptionNames('owner', {}, ['a', 'b']))
  t.notThrows(() => checkOptionNames('owner', { a: 1, b: undefined }, ['a', 'b']))
  const error = t.throws(() => checkOptionNames('owner', { a: 1, c: 2 }, ['a', 'b']), refused)
  t.regex(error.message, /^owner: `c`.*`a`, `b`/)
})

test('the longest timer is the longest that Node keeps', async (t) => {
  const warned: Error[] = []
  const listen = (warning: Error): void => void warned.push(warning)
  process.on('warning', listen)
  clearTimeout(setTimeout(() => {}, maxTimerDelay))
  clearTimeout(setTimeout(() => {}, maxTimerDelay + 1))
  await new Promise((resolve) => setImmediate(resolve))
  process.off('warning', listen)
  t.deepEqual(
    warned.map(({ name }) => name),
    ['TimeoutOverflowWarning'],
  )
})
