/** Rules that match peers: the elements of allow lists and deny lists. */

import { isIP } from 'node:net'
import { CioError } from '../errors.ts'
import { optionError } from '../options.ts'
import { compilePattern } from './pattern.ts'
import type { Peer } from '../identity/peer.ts'
import { canonicalAddress } from '../streams/endpoint.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'
import { isThenable } from '../thenable.ts'

/** A text that must be equal, a pattern, or an array of these, of which one must match. */
export type TextPattern = string | RegExp | readonly (string | RegExp)[]

/** Decides about a peer. It must return `true` or `false`. */
export type PeerPredicate = (peer: Peer, ctx: StreamContext) => boolean | Promise<boolean>

/** A rule by field: every given field must match, by one of its values. */
export interface PeerFields {
  /** The common name, exactly. */
  readonly cn?: TextPattern
  /** An organizational unit, exactly. */
  readonly ou?: TextPattern
  /** An organization, exactly. */
  readonly o?: TextPattern
  /** A DNS name, in any case, by a pattern too; a wildcard in the certificate is a name like any other. */
  readonly dns?: TextPattern
  /** A URI, exactly, such as a SPIFFE id. */
  readonly uri?: TextPattern
  /** An e-mail address, exactly. */
  readonly email?: TextPattern
  /** An IP address, in any spelling. */
  readonly ip?: TextPattern
  /** SHA-256 of the certificate, 64 hexadecimal digits in any case, with or without colons. */
  readonly fingerprint?: TextPattern
  /**
   * A pin of the public key, in any certificate: `sha256/` and the base64 of the SHA-256 of its
   * SubjectPublicKeyInfo. The certificate must still be verified.
   */
  readonly spki?: TextPattern
}

/** Matches peers: a common name, a pattern for it, a predicate, fields, or an array of these. */
export type PeerSelector =
  | string
  | RegExp
  | PeerPredicate
  | PeerFields
  | readonly (string | RegExp | PeerPredicate | PeerFields)[]

/** The result of a rule for a peer. Anything but a boolean is an error. */
export type PeerMatcher = (peer: Peer, ctx: StreamContext) => boolean | Promise<boolean>

interface Field {
  readonly of: (peer: Peer) => readonly string[]
  readonly normalise: (text: string) => string
  /** Checks the form of a text: a text that can never match would leave a deny list open. */
  readonly form: { readonly is: (text: string) => boolean; readonly rule: string }
  /** Whether patterns ignore case, as texts do for this field. */
  readonly anyCase?: boolean
}

// The end of a line of a file, or an empty variable: as exact text it would match no peer, or one without a
// name.
const plainText = {
  is: (text: string) => text !== '' && text === text.trim() && !/\p{Cc}/u.test(text),
  rule: 'a text that is not empty, without control characters or white space at its ends; a RegExp matches these',
}

const asIs = (text: string): string => text
const hexadecimal = (text: string): string => text.replaceAll(':', '').toUpperCase()

const fields: Readonly<Record<keyof PeerFields, Field>> = {
  cn: { of: ({ name }) => (name === null ? [] : [name]), normalise: asIs, form: plainText },
  ou: { of: ({ organizationalUnit }) => organizationalUnit, normalise: asIs, form: plainText },
  o: { of: ({ organization }) => organization, normalise: asIs, form: plainText },
  dns: {
    of: ({ names }) => names.dns,
    normalise: (text) => text.toLowerCase(),
    form: plainText,
    anyCase: true,
  },
  uri: { of: ({ names }) => names.uri, normalise: asIs, form: plainText },
  email: { of: ({ names }) => names.email, normalise: asIs, form: plainText },
  ip: {
    of: ({ names }) => names.ip,
    normalise: canonicalAddress,
    form: { is: (text) => isIP(text) !== 0, rule: 'an IP address' },
  },
  fingerprint: {
    of: ({ fingerprint256 }) => [fingerprint256],
    normalise: hexadecimal,
    form: {
      is: (text) => /^[0-9A-F]{64}$/.test(hexadecimal(text)),
      rule: 'a SHA-256 in hexadecimal, 64 digits with or without colons',
    },
    anyCase: true,
  },
  spki: {
    of: ({ spki }) => [spki],
    normalise: asIs,
    form: { is: isPin, rule: '`sha256/` and 44 characters of base64' },
  },
}

function isPin(text: string): boolean {
  const base64 = text.startsWith('sha256/') ? text.slice('sha256/'.length) : ''
  const digest = Buffer.from(base64, 'base64')
  // There is one canonical form; other spellings would never match.
  return digest.length === 32 && digest.toString('base64') === base64
}

/**
 * Compiles the argument of a list into one rule: it matches if any of its parts does. Without
 * parts, it never matches.
 *
 * @throws `ERR_CIO_OPTION`: a part has an unknown kind, an unknown field, or no field
 */
export function compilePeerMatcher(owner: string, who: PeerSelector): PeerMatcher {
  const parts = (Array.isArray(who) ? who : [who]).map((part) => compilePart(owner, part))
  return (peer, ctx) => any(parts, peer, ctx)
}

/** Asks one part after the other, and awaits only those that are async. */
function any(
  parts: readonly PeerMatcher[],
  peer: Peer,
  ctx: StreamContext,
): boolean | Promise<boolean> {
  for (const [index, part] of parts.entries()) {
    const holds = part(peer, ctx)
    if (holds === true) return true
    if (holds === false) continue
    return holds.then((held) => held || any(parts.slice(index + 1), peer, ctx))
  }
  return false
}

function compilePart(owner: string, part: unknown): PeerMatcher {
  if (typeof part === 'string' || part instanceof RegExp) return byFields(owner, { cn: part })
  if (typeof part === 'function') return byPredicate(owner, part as PeerPredicate)
  if (typeof part === 'object' && part !== null && !Array.isArray(part)) {
    return byFields(owner, part)
  }
  throw optionError(owner, 'who', 'names, patterns, predicates or objects of fields', part)
}

function byPredicate(owner: string, predicate: PeerPredicate): PeerMatcher {
  return (peer, ctx) => {
    const answer: unknown = predicate(peer, ctx)
    return isThenable(answer) ? Promise.resolve(answer).then(check) : check(answer)
  }

  function check(answer: unknown): boolean {
    if (typeof answer === 'boolean') return answer
    throw optionError(
      owner,
      predicate.name || 'predicate',
      'a function that says true or false',
      answer,
    )
  }
}

function byFields(owner: string, wanted: object): PeerMatcher {
  const tests = Object.entries(wanted).map(([name, match]) => {
    const field = Object.hasOwn(fields, name) ? fields[name as keyof PeerFields] : undefined
    if (!field) {
      const known = Object.keys(fields).join(', ')
      throw new CioError(
        'ERR_CIO_OPTION',
        `${owner}: a rule has no field \`${name}\`; it has ${known}`,
      )
    }
    return byField(field, compileTextPattern(owner, name, match, field))
  })
  if (tests.length === 0)
    throw optionError(owner, 'who', 'an object with at least one field', wanted)
  return (peer) => tests.every((test) => test(peer))
}

function byField({ of }: Field, matches: (text: string) => boolean) {
  return (peer: Peer): boolean => of(peer).some(matches)
}

function compileTextPattern(
  owner: string,
  name: string,
  match: unknown,
  field: Field,
): (text: string) => boolean {
  const { normalise, form, anyCase = false } = field
  if (typeof match === 'string') {
    if (!form.is(match)) throw optionError(owner, name, form.rule, match)
    const wanted = normalise(match)
    return (text) => normalise(text) === wanted
  }
  if (match instanceof RegExp) {
    const holds = compilePattern(match, anyCase)
    return (text) => holds(text) || holds(normalise(text))
  }
  if (Array.isArray(match)) {
    const each = match.map((one) => compileTextPattern(owner, name, one, field))
    return (text) => each.some((matches) => matches(text))
  }
  throw optionError(owner, name, 'a string, a RegExp, or an array of these', match)
}
