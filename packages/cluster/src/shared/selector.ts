/** Lists as values: patterns become `{ pattern, flags }`. */

import { CioError, type PeerFields } from 'cio'
import { compilePeerMatcher, optionError } from 'cio/kit'
import { decodeValue, encodeValue } from '../wire/values.ts'

/** The parts of a shared list: everything that `allowList` takes, except functions. */
export type SharedPeers = readonly (string | RegExp | PeerFields)[]

type Plain = string | { readonly pattern: string; readonly flags: string }

/**
 * Encodes a list.
 *
 * @throws `ERR_CIO_OPTION`: a part has an unknown kind; a function cannot be shared
 */
export function encodePeers(owner: string, who: unknown): Uint8Array {
  const isList = Array.isArray(who) && !who.some((part) => typeof part === 'function')
  if (!isList) throw optionError(owner, 'who', 'an array of names, patterns or fields', who)
  compilePeerMatcher(owner, who as SharedPeers)
  return encodeValue((who as SharedPeers).map((part) => plainPart(part)))
}

/**
 * Decodes a list.
 *
 * @throws `ERR_CIO_SYNTAX`, `ERR_CIO_OPTION`
 */
export function decodePeers(owner: string, bytes: Uint8Array): SharedPeers {
  const parts = decodeValue(bytes)
  if (!Array.isArray(parts)) throw new CioError('ERR_CIO_SYNTAX', `${owner}: not a list`)
  const who = parts.map((part: unknown) => livePart(owner, part))
  compilePeerMatcher(owner, who)
  return who
}

function plainPart(part: string | RegExp | PeerFields): unknown {
  if (typeof part === 'string' || part instanceof RegExp) return plainText(part)
  const fields = Object.entries(part) as [string, string | RegExp | readonly (string | RegExp)[]][]
  return Object.fromEntries(
    fields.map(([name, text]) => [name, isMany(text) ? text.map(plainText) : plainText(text)]),
  )
}

function isMany(
  text: string | RegExp | readonly (string | RegExp)[],
): text is readonly (string | RegExp)[] {
  return Array.isArray(text)
}

function plainText(text: string | RegExp): Plain {
  return typeof text === 'string' ? text : { pattern: text.source, flags: text.flags }
}

function livePart(owner: string, part: unknown): string | RegExp | PeerFields {
  const text = liveText(owner, part)
  if (text !== undefined) return text
  if (typeof part !== 'object' || part === null) {
    throw new CioError('ERR_CIO_SYNTAX', `${owner}: a part of the list has an unknown kind`)
  }
  return Object.fromEntries(
    Object.entries(part).map(([name, value]: [string, unknown]) => [
      name,
      Array.isArray(value)
        ? value.map((one: unknown) => liveText(owner, one))
        : liveText(owner, value),
    ]),
  ) as PeerFields
}

function liveText(owner: string, value: unknown): string | RegExp | undefined {
  if (typeof value === 'string') return value
  const { pattern, flags } = (value ?? {}) as {
    readonly pattern?: unknown
    readonly flags?: unknown
  }
  if (typeof pattern !== 'string' || typeof flags !== 'string') return undefined
  try {
    return new RegExp(pattern, flags)
  } catch (cause) {
    throw new CioError('ERR_CIO_SYNTAX', `${owner}: a pattern is none here`, { cause })
  }
}
