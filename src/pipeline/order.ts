/**
 * Orders a pipeline by its hints, with the reason for each place. Pure functions.
 *
 * 1. Hints that name a middleware always hold. If they contradict each other there is no order.
 * 2. `'*'` means "all without a hint to the contrary": it holds unless it contradicts 1.
 * 3. Middleware without hints keep the order of registration, unless it contradicts 1 or 2.
 * 4. So do all others.
 *
 * Each rule adds its constraints, pair by pair, and skips those that contradict earlier ones. In
 * the end each pair is decided, which is a total order. An entry has moved only if a hint moved it.
 */

import { CioError } from '../errors.ts'

/** An entry to be ordered. */
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

/** A constraint from a hint: the entry at `from` runs before the one at `to`. */
interface Law {
  readonly from: number
  readonly to: number
  /** In words: `` `audit` says after `lines` ``. */
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

/** The transitive closure of "before": a before b and b before c give a before c. */
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

  /** Puts `from` before `to`; returns false and changes nothing if that is a contradiction. */
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

/**
 * The order of registration, pair by pair. Neighbours come first, since they imply most of the
 * others.
 */
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

/** An entry's hints in words, for the names that `which` selects. */
function tell(entry: Orderable, which: (name: string) => boolean): string[] {
  return (['before', 'after'] as const).flatMap((word) => {
    const names = entry[word].filter(which).map((name) => (name === '*' ? 'all' : `\`${name}\``))
    return names.length > 0 ? [`${word} ${names.join(' and ')}`] : []
  })
}

/** The entries whose hints moved an entry without hints of its own. */
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

/** Describes the cycle: from the end of the refused constraint back to its start. */
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
