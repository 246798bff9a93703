import test from 'ava'
import {
  type Arbitrary,
  array,
  assert,
  constantFrom,
  property,
  record,
  uniqueArray,
} from 'fast-check'
import { type CioError, isCioError } from '../../src/errors.ts'
import { type Orderable, order } from '../../src/pipeline/order.ts'

const letters = ['a', 'b', 'c', 'd', 'e', 'f', 'g']
// One seed, so that a run tests what the last one tested.
const runs = { numRuns: 1_000, seed: 2_016 }

/** `entry('c', { before: 'a' })`; several names are separated by spaces. */
function entry(name: string, hints: { before?: string; after?: string } = {}): Orderable {
  const list = (names = ''): string[] => names.split(' ').filter(Boolean)
  return { name, before: list(hints.before), after: list(hints.after) }
}

function names(entries: readonly Orderable[]): string[] {
  return order(entries).map(({ index }) => entries[index]!.name)
}

/** Why an entry stands where it stands. */
function why(entries: readonly Orderable[], name: string): string {
  return order(entries).find(({ index }) => entries[index]!.name === name)!.why
}

// The oracle: all permutations, and the rules put down as plainly as they can be.

/** The index of each entry in a permutation of indexes. */
type Positions = readonly number[]

const permutationsOf = new Map<number, readonly Positions[]>()

/** All permutations of so many indexes, made once. */
function allPermutations(size: number): readonly Positions[] {
  const all = permutationsOf.get(size) ?? [...permutations(size)]
  permutationsOf.set(size, all)
  return all
}

function* permutations(size: number, chosen: number[] = []): Generator<Positions> {
  if (chosen.length === size) {
    const positions: number[] = []
    for (const [position, index] of chosen.entries()) positions[index] = position
    yield positions
  }
  for (let index = 0; index < size; index++) {
    if (!chosen.includes(index)) yield* permutations(size, [...chosen, index])
  }
}

function some(entries: readonly Orderable[], holds: (at: Positions) => boolean): boolean {
  return allPermutations(entries.length).some(holds)
}

/** All pairs of which the first is hinted to come before the second. */
function pairsByName(entries: readonly Orderable[]): [number, number][] {
  // One that names itself is before itself: no order has that.
  const own = [...entries.keys()].map((index): [number, number] => [index, index])
  return [...allPairs(entries), ...own].filter(
    ([a, b]) =>
      entries[a]!.before.includes(entries[b]!.name) || entries[b]!.after.includes(entries[a]!.name),
  )
}

/** All pairs of which `'*'` says that the first comes before the second. */
function pairsByStar(entries: readonly Orderable[]): [number, number][] {
  return allPairs(entries).filter(([a, b]) => {
    const [first, second] = [entries[a]!, entries[b]!]
    const before = first.before.includes('*') && !second.before.includes('*')
    const after = second.after.includes('*') && !first.after.includes('*')
    return before || after
  })
}

function allPairs(entries: readonly Orderable[]): [number, number][] {
  return entries.flatMap((_, a) =>
    entries.flatMap((_, b): [number, number][] => (a === b ? [] : [[a, b]])),
  )
}

function holdAll(pairs: readonly [number, number][], at: Positions): boolean {
  return pairs.every(([a, b]) => at[a]! < at[b]!)
}

function keepsOrder(indexes: readonly number[], at: Positions): boolean {
  return indexes.every((index, place) => place === 0 || at[indexes[place - 1]!]! < at[index]!)
}

function unhinted(entries: readonly Orderable[]): number[] {
  return [...entries.keys()].filter((index) => {
    const { before, after } = entries[index]!
    return before.length + after.length === 0
  })
}

/** Positions in the result, or undefined where the order refuses. */
function positions(entries: readonly Orderable[]): Positions | undefined {
  try {
    const at: number[] = []
    for (const [position, { index }] of order(entries).entries()) at[index] = position
    return at
  } catch (error) {
    if (isCioError(error, 'ERR_CIO_ORDER_CYCLE')) return undefined
    throw error
  }
}

const anyHints: Arbitrary<string[]> = array(constantFrom(...letters, 'absent', '*'), {
  maxLength: 2,
})
const rareHints: Arbitrary<string[]> = array(anyHints, { maxLength: 1 }).map((hints) =>
  hints.flat(),
)

/** Up to seven entries of different names with hints of any kind. */
function anyEntries(hints: Arbitrary<string[]> = rareHints): Arbitrary<Orderable[]> {
  return uniqueArray(record({ name: constantFrom(...letters), before: hints, after: hints }), {
    selector: ({ name }) => name,
    maxLength: 7,
  })
}

test('an order holds to every hint by name where that can be, and is refused where it cannot', (t) => {
  let refused = 0
  assert(
    property(anyEntries(), (entries) => {
      const laws = pairsByName(entries)
      const possible = some(entries, (at) => holdAll(laws, at))
      const at = positions(entries)
      if (!possible) refused++
      return possible ? at !== undefined && holdAll(laws, at) : at === undefined
    }),
    runs,
  )
  t.true(refused > 50 && refused < 950, `${refused} of 1,000 examples had no order`)
})

test('an order has every entry once', (t) => {
  assert(
    property(anyEntries(), (entries) => {
      const at = positions(entries)
      return !at || [...at].toSorted((a, b) => a - b).every((position, index) => position === index)
    }),
    runs,
  )
  t.pass()
})

test('the order of registration stays where it satisfies every hint', (t) => {
  let met = 0
  assert(
    property(anyEntries(), (entries) => {
      const registered = [...entries.keys()]
      const hints = [...pairsByName(entries), ...pairsByStar(entries)]
      if (!holdAll(hints, registered)) return true
      if (hints.length > 0) met++
      return (
        positions(entries)?.every((position, index) => position === index) ?? entries.length < 1
      )
    }),
    { ...runs, numRuns: 3_000 },
  )
  t.true(met > 50, `${met} examples had hints that hold already`)
})

test('entries without hints keep the order of registration where the hints leave room', (t) => {
  let met = 0
  assert(
    property(anyEntries(), (entries) => {
      const hints = [...pairsByName(entries), ...pairsByStar(entries)]
      const free = unhinted(entries)
      if (!some(entries, (at) => holdAll(hints, at) && keepsOrder(free, at))) return true
      if (free.length > 1 && hints.length > 0) met++
      const at = positions(entries)
      return at !== undefined && holdAll(hints, at) && keepsOrder(free, at)
    }),
    runs,
  )
  t.true(met > 50, `${met} examples had hints and entries without`)
})

test('a star holds against all that do not say otherwise, where hints by name leave room', (t) => {
  let met = 0
  assert(
    property(anyEntries(), (entries) => {
      const laws = pairsByName(entries)
      const stars = pairsByStar(entries)
      if (!some(entries, (at) => holdAll(laws, at) && holdAll(stars, at))) return true
      if (stars.length > 0 && laws.length > 0) met++
      const at = positions(entries)
      return at !== undefined && holdAll(laws, at) && holdAll(stars, at)
    }),
    runs,
  )
  t.true(met > 50, `${met} examples had stars and hints by name`)
})

test('one hinted entry leaves the others in order and stands as near to its place as it may', (t) => {
  let moved = 0
  const lone = record({
    size: constantFrom(2, 3, 4, 5, 6, 7),
    place: constantFrom(...letters.keys()),
    before: anyHints,
    after: anyHints,
  })
  assert(
    property(lone, ({ size, place, before, after }) => {
      const hinted = place % size
      const entries = letters
        .slice(0, size)
        .map((name, index) => (index === hinted ? { name, before, after } : entry(name)))
      const others = unhinted(entries).filter((index) => index !== hinted)
      const hints = [...pairsByName(entries), ...pairsByStar(entries)]
      const distances: number[] = []
      for (const at of allPermutations(size)) {
        if (!holdAll(hints, at) || !keepsOrder(others, at)) continue
        distances.push(Math.abs(at[hinted]! - hinted))
      }
      if (distances.length === 0) return true
      const nearest = Math.min(...distances)
      if (nearest > 0) moved++
      const at = positions(entries)
      return (
        at !== undefined && keepsOrder(others, at) && Math.abs(at[hinted]! - hinted) === nearest
      )
    }),
    runs,
  )
  t.true(moved > 50, `${moved} examples had an entry that must move`)
})

test('the same entries have the same order each time', (t) => {
  assert(
    property(anyEntries(), (entries) => {
      return JSON.stringify(positions(entries)) === JSON.stringify(positions(entries))
    }),
    runs,
  )
  t.pass()
})

// Examples.

test('nothing is an order of nothing', (t) => {
  t.deepEqual(order([]), [])
})

test('an entry that says before the first moves to the front, and nothing else moves', (t) => {
  t.deepEqual(names([entry('a'), entry('b'), entry('c', { before: 'a' })]), ['c', 'a', 'b'])
})

test('an entry that says after the last moves to the end, and nothing else moves', (t) => {
  t.deepEqual(names([entry('a', { after: 'c' }), entry('b'), entry('c')]), ['b', 'c', 'a'])
})

test('an entry between two that it names stays between them', (t) => {
  const between = entry('x', { after: 'a', before: 'b' })
  t.deepEqual(names([entry('a'), entry('b'), entry('c'), between]), ['a', 'x', 'b', 'c'])
})

test('a hint that names something absent moves nothing', (t) => {
  const hinted = entry('b', { before: 'nobody', after: 'nothing' })
  t.deepEqual(names([entry('a'), hinted, entry('c')]), ['a', 'b', 'c'])
})

test('two stars of the same kind keep their order', (t) => {
  const entries = [entry('a'), entry('b', { before: '*' }), entry('c', { before: '*' })]
  t.deepEqual(names(entries), ['b', 'c', 'a'])
})

test('a hint by name goes before a star', (t) => {
  const entries = [
    entry('listen', { after: '*' }),
    entry('a'),
    entry('late', { after: 'listen' }),
    entry('relisten', { before: 'listen', after: '*' }),
  ]
  t.deepEqual(names(entries), ['a', 'relisten', 'listen', 'late'])
})

test('a star goes before the order of registration', (t) => {
  const entries = [entry('a'), entry('b'), entry('c', { before: 'a', after: '*' })]
  t.deepEqual(names(entries), ['b', 'c', 'a'])
})

test('the examples of the ordering package of 2016 have the results that its page gives', (t) => {
  const [f1, f2, f3, f4] = [
    entry('f1', { before: '*' }),
    entry('f2', { after: 'f3 f4' }),
    entry('f3', { before: 'f4', after: 'f1' }),
    entry('f4'),
  ] as const
  t.deepEqual(names([f4, f2, f3, f1]), ['f1', 'f3', 'f4', 'f2'])

  const f5 = entry('f5', { before: 'f3' })
  const f6 = entry('f6', { before: 'f4', after: 'f5' })
  t.deepEqual(names([f4, f2, f3, f1, f5, f6]), ['f1', 'f5', 'f3', 'f6', 'f4', 'f2'])
})

// Cycles.

function refusal(entries: readonly Orderable[]): CioError {
  try {
    order(entries)
  } catch (error) {
    if (isCioError(error, 'ERR_CIO_ORDER_CYCLE')) return error
    throw error
  }
  throw new Error('there is an order')
}

test('a cycle names every member and every hint, and no one else', (t) => {
  const { message } = refusal([
    entry('outsider', { before: 'audit' }),
    entry('audit', { after: 'lines' }),
    entry('users', { after: 'audit' }),
    entry('lines', { after: 'users' }),
  ])
  for (const member of ['audit', 'users', 'lines']) t.regex(message, new RegExp(`\`${member}\` →`))
  t.regex(message, /`audit` says after `lines`/)
  t.regex(message, /`users` says after `audit`/)
  t.regex(message, /`lines` says after `users`/)
  t.notRegex(message, /outsider/)
})

test('a cycle is told from the hint of the one that stands first in it', (t) => {
  const { message } = refusal([entry('a', { after: 'b' }), entry('b', { after: 'a' })])
  t.regex(message, /`a` → `b` → `a`/)
})

test('an entry that names itself is a cycle of its own', (t) => {
  const { message } = refusal([entry('a'), entry('b', { before: 'b' })])
  t.regex(message, /`b` → `b` \(`b` says before `b`\)/)
})

test('the shortest way round is told of several', (t) => {
  const { message } = refusal([
    entry('a', { before: 'b c' }),
    entry('b', { before: 'c' }),
    entry('c', { before: 'a' }),
  ])
  t.notRegex(message, /`b`/)
})

test('a cycle told is made of hints that are there, each from one member to the next', (t) => {
  let cycles = 0
  assert(
    property(anyEntries(anyHints), (entries) => {
      if (positions(entries)) return true
      cycles++
      const { message } = refusal(entries)
      const members = /cycle: (.*?) \(/.exec(message)![1]!.replaceAll('`', '').split(' → ')
      const laws = pairsByName(entries).map(([a, b]) => `${entries[a]!.name}${entries[b]!.name}`)
      return members.slice(1).every((to, at) => laws.includes(`${members[at]}${to}`))
    }),
    runs,
  )
  t.true(cycles > 50)
})

// Reasons.

test('what has no hint and what stayed in its place stand in order of registration', (t) => {
  const entries = [entry('a'), entry('b'), entry('c', { before: 'a' })]
  t.is(why(entries, 'a'), 'in order of registration')
  t.is(why(entries, 'b'), 'in order of registration')
})

test('the reason of a hinted entry is its hints', (t) => {
  const entries = [entry('a'), entry('b'), entry('c', { before: 'a b', after: 'd' }), entry('d')]
  t.is(why(entries, 'c'), 'before `a` and `b`; after `d`')
})

test('a reason says which names are absent', (t) => {
  const entries = [entry('a'), entry('b', { before: 'a', after: 'nobody' })]
  t.is(why(entries, 'b'), 'before `a`; after `nobody`, which is absent')
})

test('an entry whose hints name only what is absent stands in order of registration', (t) => {
  const entries = [entry('a'), entry('b', { after: 'nobody' })]
  t.is(why(entries, 'b'), 'in order of registration; after `nobody`, which is absent')
})

test('the reason of a star is that it stands before or after all', (t) => {
  const entries = [entry('a'), entry('b', { before: '*' }), entry('c', { after: '*' })]
  t.is(why(entries, 'b'), 'before all')
  t.is(why(entries, 'c'), 'after all')
})

test('an entry without hints that another moved tells whose hint it was', (t) => {
  const entries = [entry('a'), entry('b'), entry('c', { after: 'b', before: 'a' })]
  t.deepEqual(names(entries), ['b', 'c', 'a'])
  t.is(why(entries, 'a'), '`c` says before `a`')
  t.is(why(entries, 'b'), '`c` says after `b`')
})
