import test from 'ava'
import fc from 'fast-check'
import { isTooDeep, maxJsonDepth } from '../../src/messages/json-nesting.ts'

/** How deep a value is, level by level. */
function depthOf(value: unknown): number {
  let depth = 0
  let level = [value]
  for (;;) {
    level = level.filter((one) => typeof one === 'object' && one !== null)
    if (level.length === 0) return depth
    level = level.flatMap((one) => Object.values(one as object) as unknown[])
    depth++
  }
}

const isDeep = (text: string): boolean => isTooDeep(text, JSON.parse(text))

test('the depth of a value is found wherever it is', (t) => {
  const around = fc.integer({ min: maxJsonDepth - 4, max: maxJsonDepth + 4 })
  const inside = fc.jsonValue({ maxDepth: 3 })
  const key = JSON.stringify('\\"]}[{')
  const property = fc.property(around, inside, fc.boolean(), (levels, value, isArray) => {
    const [open, close] = isArray ? [`[${key},`, ',[{}]]'] : [`{${key}:`, '}']
    const text = `${open.repeat(levels)}${JSON.stringify(value)}${close.repeat(levels)}`
    return isDeep(text) === depthOf(JSON.parse(text)) > maxJsonDepth
  })
  t.notThrows(() => fc.assert(property, { numRuns: 50 }))
})

test('a key named `__proto__` is one as any other', (t) => {
  const nested = (levels: number): string =>
    `${'{"__proto__":'.repeat(levels)}1${'}'.repeat(levels)}`
  t.false(isDeep(nested(maxJsonDepth)))
  t.true(isDeep(nested(maxJsonDepth + 1)))
})
