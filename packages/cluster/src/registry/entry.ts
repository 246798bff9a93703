/** The row of a registered connection. */

import { CioError } from 'cio'
import type { Row } from '../engine.ts'
import { decodeName } from '../names.ts'

/** A registered connection, for all instances. */
export interface Entry<About = unknown> {
  readonly key: string
  /** The instance that has the connection. */
  readonly instance: string
  /** When it was registered, by the clock of that instance. */
  readonly since: Date
  /** The fencing token: it rises with each claim of the key. */
  readonly revision: number
  /** The value that the option `about` returned for it. */
  readonly about: About
}

/** The row, as this release reads it. */
export interface Claim {
  readonly instance: string
  /** The number of the connection in that instance. */
  readonly connection: string
  readonly since: number
  /** The revision of the claim, in a row that was written again since. */
  readonly claimed?: number | undefined
  readonly about: unknown
}

const longestAbout = 1_024

/**
 * Checks the data that `about` returned for a connection.
 *
 * @throws `ERR_CIO_ENCODE` (local): JSON cannot hold it, or it is longer than 1 KiB
 */
export function checkAbout(about: unknown): void {
  const text = JSON.stringify(about) as string | undefined
  if (text === undefined || Buffer.byteLength(text) <= longestAbout) return
  const message = `registry: \`about\` gave ${text.length} characters of JSON, more than 1 KiB`
  throw new CioError('ERR_CIO_ENCODE', message)
}

export function encodeClaim(claim: Claim): Buffer {
  return Buffer.from(JSON.stringify({ v: 1, ...claim }))
}

/** The claim in a row; undefined if the row is deleted, or not written by a registry. */
export function claimOf(row: Row | undefined): Claim | undefined {
  if (!row?.value) return undefined
  try {
    const found = JSON.parse(Buffer.from(row.value).toString()) as Partial<Claim> | null
    const { instance, connection, since, claimed, about } = found ?? {}
    if (typeof instance !== 'string' || typeof connection !== 'string') return undefined
    if (typeof since !== 'number') return undefined
    const isNumber = claimed === undefined || typeof claimed === 'number'
    return isNumber ? { instance, connection, since, claimed, about } : undefined
  } catch {
    return undefined
  }
}

/** The key of a row, which may have the number of a slot behind it. */
export function keyOf({ key }: Row): string | undefined {
  return decodeName(key.split('.')[0]!)
}

/** The entry of a row, or undefined. */
export function entryOf(row: Row): Entry | undefined {
  const key = keyOf(row)
  const claim = claimOf(row)
  if (key === undefined || !claim) return undefined
  const { instance, since, claimed = row.revision, about } = claim
  return { key, instance, since: new Date(since), revision: claimed, about }
}
