/**
 * From hints to an order, and the reason for each place. Pure.
 *
 * 1. Hints that name something are law. If they contradict each other there is no order.
 * 2. `'*'` means "all that do not say otherwise": it holds wherever 1 leaves room.
 * 3. What has no hint keeps the order of registration, wherever 1 and 2 leave room.
 * 4. So does everything else.
 *
 * Each rule adds its wishes, pair by pair, to those already granted, and passes over what would
 * contradict them. In the end each pair is decided, which is an order; and an entry has moved
 * only where a hint has moved it.
 */

import { CioError } from '../errors.ts'

/** What is to be ordered. */
export interface Orderable {
  readonly name: string
  readonly before: readonly string[]
  readonly after: readonly string[]
}

/** An entry's place: `index` of the given list, and why it stands there. */
export interface Place {
  readonly index: number
  readonly why: string
}

/** A hint that became law: the entry at `from` runs before the one at `to`. */
interface Law {
  readonly from: number
  readonly to: number
  /** For the reader: `` `audit` says after `lines` ``. */
  readonly says: string
}

/**
 * Orders a list by its hints.
 *
 * @throws `ERR_CIO_ORDER_CYCLE`: the hints contradict each other
 */
export function order(entries: readonly Orderable[]): Place[] {
  const laws = entries.flatMap((entry, index) => lawsOf(entry, index, entries))
  const granted = new Relation(entries.length)

  for (const law of laws) {
    if (!granted.grant(law.from, law.to)) throw cycle(law, laws, entries)
  }
  for (const wish of [...wildcards(entries), ...pairs(entries, isFree), ...pairs(entries)]) {
    granted.grant(...wish)
  }

  return entries
    .map((_, index) => index)
    .toSorted((a, b) => granted.countBefore(a) - granted.countBefore(b))
    .map((index) => ({ index, why: reason(index, entries, laws, granted) }))
}

/** Which entries come before which, closed over chains: a before b before c makes a before c. */
class Relation {
  readonly #after: boolean[][]

  constructor(size: number) {
    this.#after = Array.from({ length: size }, () => Array<boolean>(size).fill(false))
  }

  has(from: number, to: number): boolean {
    return this.#after[from]![to]!
  }

  countBefore(index: number): number {
    return this.#after.filter((row) => row[index]).length
  }

  /** Makes `from` come before `to`; false, and nothing done, if that contradicts what is there. */
  grant(from: number, to: number): boolean {
    if (from === to || this.has(to, from)) return false
    if (this.has(from, to)) return true
    for (const [index, row] of this.#after.entries()) {
      if (index !== from && !row[from]) continue
      row[to] = true
      for (const [later, follows] of this.#after[to]!.entries()) if (follows) row[later] = true
    }
    return true
  }
}

function isFree({ before, after }: Orderable): boolean {
  return before.length === 0 && after.length === 0
}

function lawsOf(entry: Orderable, index: number, entries: readonly Orderable[]): Law[] {
  const named = (names: readonly string[]): [string, number][] =>
    entries.flatMap(({ name }, at) =>
      names.includes(name) ? [[name, at] as [string, number]] : [],
    )

  return [
    ...named(entry.before).map(([name, to]) => {
      return { from: index, to, says: `\`${entry.name}\` says before \`${name}\`` }
    }),
    ...named(entry.after).map(([name, from]) => {
      return { from, to: index, says: `\`${entry.name}\` says after \`${name}\`` }
    }),
  ]
}

function* wildcards(entries: readonly Orderable[]): Generator<[number, number]> {
  for (const [index, entry] of entries.entries()) {
    for (const [other, { before, after }] of entries.entries()) {
      if (entry.before.includes('*') && !before.includes('*')) yield [index, other]
      if (entry.after.includes('*') && !after.includes('*')) yield [other, index]
    }
  }
}

/** The order of registration, pair by pair, neighbours first: they imply most of the others. */
function* pairs(
  entries: readonly Orderable[],
  which: (entry: Orderable) => boolean = () => true,
): Generator<[number, number]> {
  const chosen = [...entries.keys()].filter((index) => which(entries[index]!))
  for (let distance = 1; distance < chosen.length; distance++) {
    for (let at = distance; at < chosen.length; at++) yield [chosen[at - distance]!, chosen[at]!]
  }
}

function reason(
  index: number,
  entries: readonly Orderable[],
  laws: readonly Law[],
  granted: Relation,
): string {
  const entry = entries[index]!
  const present = (name: string): boolean =>
    name === '*' || entries.some((other) => other.name === name)
  const own = tell(entry, present)
  const vain = tell(entry, (name) => !present(name))

  const place = own.length > 0 ? own : moved(index, entries, laws, granted)
  return [...place, ...vain.map((hint) => `${hint}, which is absent`)].join('; ')
}

/** An entry's hints in words, as far as `which` selects their names. */
function tell(entry: Orderable, which: (name: string) => boolean): string[] {
  return (['before', 'after'] as const).flatMap((word) => {
    const names = entry[word].filter(which).map((name) => (name === '*' ? 'all' : `\`${name}\``))
    return names.length > 0 ? [`${word} ${names.join(' and ')}`] : []
  })
}

/** Whose hints moved an entry that has none itself, if it stands where it was not registered. */
function moved(
  index: number,
  entries: readonly Orderable[],
  laws: readonly Law[],
  granted: Relation,
): string[] {
  const overtaken = entries.some((other, at) => {
    if (!isFree(other) || at === index) return false
    return at < index ? granted.has(index, at) : granted.has(at, index)
  })
  const movers = overtaken ? laws.filter((law) => law.from === index || law.to === index) : []
  return movers.length > 0 ? movers.map(({ says }) => says) : ['in order of registration']
}

/** Tells the way round: from where the refused law ends back to where it starts. */
function cycle(refused: Law, laws: readonly Law[], entries: readonly Orderable[]): CioError {
  const way = path(refused.to, refused.from, laws) ?? []
  const round = [refused, ...way]
  const members = round.map(({ from }) => `\`${entries[from]!.name}\``)
  const story = `${[...members, members[0]].join(' → ')} (${round.map(({ says }) => says).join(', ')})`
  return new CioError(
    'ERR_CIO_ORDER_CYCLE',
    `middleware order has a cycle: ${story}; remove one of these hints`,
  )
}

function path(from: number, to: number, laws: readonly Law[]): Law[] | undefined {
  const ways: Law[][] = [[]]
  const seen = new Set([from])
  for (const way of ways) {
    const end = way.at(-1)?.to ?? from
    if (end === to) return way
    for (const law of laws) {
      if (law.from !== end || seen.has(law.to)) continue
      seen.add(law.to)
      ways.push([...way, law])
    }
  }
  return undefined
}
