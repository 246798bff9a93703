/** Presence: the entries of live instances. */

import { CioError } from 'cio'
import { checkCount, checkOptionNames, checkSignal, optionError } from 'cio/kit'
import { type Row, downError } from '../engine.ts'
import { encodeName } from '../names.ts'
import type { Cluster } from '../cluster.ts'
import type { ClaimTable } from './claim-table.ts'
import { type Entry, entryOf, keyOf } from './entry.ts'

/** Options of `Registry.list()`. */
export interface ListOptions {
  /**
   * The beginning of the keys.
   *
   * @default ''
   */
  readonly prefix?: string
  /**
   * Maximum number of entries; more reject. `Infinity` sets no bound.
   *
   * @default 100_000
   */
  readonly maxEntries?: number
}

/** Options of `Registry.watch()`. */
export interface PresenceOptions {
  /** Ends the watch. */
  readonly signal: AbortSignal
  /**
   * Maximum number of changes that wait for their reader; more end the watch.
   *
   * @default 10_000
   */
  readonly maxBacklog?: number
}

/**
 * Checks the options of `list()`.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkListOptions(options: ListOptions): void {
  checkOptionNames('list', options, ['prefix', 'maxEntries'])
  const { prefix = '', maxEntries = 0 } = options
  if (typeof prefix !== 'string') throw optionError('list', 'prefix', 'a string', prefix)
  checkCount('list', 'maxEntries', maxEntries)
}

/**
 * Checks the options of `watch()`.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkPresenceOptions(options: PresenceOptions): void {
  checkOptionNames('watch', options, ['signal', 'maxBacklog'])
  const { signal, maxBacklog = 1 } = options
  // Without it, nothing would end the loop.
  checkSignal('watch', signal ?? null)
  checkCount('watch', 'maxBacklog', maxBacklog, 1)
}

/** A change of presence. */
export interface PresenceChange<About = unknown> {
  readonly key: string
  /** The new entry; null: the connection has ended. */
  readonly entry: Entry<About> | null
}

/** Reads entries. */
export async function find(
  cluster: Cluster,
  table: ClaimTable,
  key: string,
): Promise<Entry | undefined> {
  const { row } = await table.find(encodeName(key))
  const entry = row && entryOf(row)
  return entry && (await cluster.checkAlive(entry.instance)) ? entry : undefined
}

export async function* list(
  cluster: Cluster,
  table: ClaimTable,
  { prefix = '', maxEntries = 100_000 }: ListOptions,
): AsyncGenerator<Entry> {
  const found = new Map<string, Entry>()
  let isTooLong = false
  await table.snapshot((row) => {
    const entry = entryOf(row)
    if (!entry) found.delete(row.key)
    else if (entry.key.startsWith(prefix)) found.set(row.key, entry)
    // The rest is not kept.
    if (found.size > maxEntries) isTooLong = true
    if (isTooLong) found.clear()
  })
  if (isTooLong) {
    const message = `more than ${maxEntries} connections are registered; raise \`maxEntries\``
    throw new CioError('ERR_CIO_TOO_MANY_ENTRIES', message)
  }
  // The broker is asked about an instance once, and not for each of its connections.
  const dead = new Set<string>()
  for (const entry of found.values()) {
    if (dead.has(entry.instance)) continue
    if (await cluster.checkAlive(entry.instance)) yield entry
    else dead.add(entry.instance)
  }
}

export async function* watch(
  table: ClaimTable,
  { signal, maxBacklog = 10_000 }: PresenceOptions,
): AsyncGenerator<PresenceChange> {
  await table.untilWatching()
  let queue: PresenceChange[] = []
  let failure: CioError | undefined
  let wake = (): void => {}
  const stop = (error?: CioError): void => {
    failure ??= error
    wake()
  }
  const abort = (): void => wake()
  signal.addEventListener('abort', abort)
  const end = table.watch({
    take: (row) => {
      const change = changeOf(row)
      if (!change || failure) return
      if (queue.length < maxBacklog) queue.push(change)
      else stop(slowError(maxBacklog))
      wake()
    },
    lost: () => stop(downError('changes were missed; list the entries and watch again')),
  })
  try {
    while (!signal.aborted) {
      if (queue.length === 0) {
        if (failure) throw failure
        await new Promise<void>((resolve) => (wake = resolve))
        continue
      }
      const batch = queue
      queue = []
      for (const change of batch) {
        yield change
        if (signal.aborted) return
      }
    }
  } finally {
    end()
    signal.removeEventListener('abort', abort)
  }
}

function changeOf(row: Row): PresenceChange | undefined {
  const entry = entryOf(row)
  if (entry) return { key: entry.key, entry }
  if (row.value) return undefined
  const key = keyOf(row)
  return key === undefined ? undefined : { key, entry: null }
}

function slowError(maxBacklog: number): CioError {
  const message = `${maxBacklog} changes wait for the reader of \`watch()\`, as many as \`maxBacklog\` allows`
  return new CioError('ERR_CIO_SLOW_READER', message)
}
