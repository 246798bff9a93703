import test from 'ava'
import { compilePattern } from '../../src/access/pattern.ts'

for (const [pattern, text, holds] of [
  [/alice/, 'malice', true],
  [/alice/y, 'malice', false],
  [/alice/gy, 'malice', false],
  [/alice/g, 'malice', true],
  [/alice/y, 'alice', true],
  [/ALICE/i, 'alice', true],
  [/ALICE/iy, 'malice', false],
  [/^bob$/m, 'alice\nbob', true],
  [/a.b/s, 'a\nb', true],
  [/^.$/u, '☃', true],
  [/^.$/u, '💛', true],
  [/^.$/, '💛', false],
  // By the flag `v`, a class may be an intersection.
  [new RegExp(String.raw`^[\p{L}--[a-z]]+$`, 'v'), 'alice', false],
  [new RegExp(String.raw`^[\p{L}--[a-z]]+$`, 'v'), 'ÄÖ', true],
] as const) {
  test(`${String(pattern)} ${holds ? 'holds' : 'does not hold'} of ${JSON.stringify(text)}, each time`, (t) => {
    const test = compilePattern(pattern)
    for (let times = 0; times < 4; times++) t.is(test(text), holds)
  })
}

test('a pattern in any case keeps its other flags', (t) => {
  const test = compilePattern(/ALICE/y, true)
  t.true(test('alice'))
  t.false(test('malice'))
  t.true(compilePattern(/ALICE/i, true)('alice'))
})

test('what becomes of a pattern later does not matter', (t) => {
  const pattern = /alice/g
  const test = compilePattern(pattern)
  pattern.lastIndex = 3
  t.true(test('alice'))
})
