/** Version 1 of the PROXY protocol: a line of text. */

import { isIPv4, isIPv6 } from 'node:net'
import { quote } from '../../src/errors.ts'
import { canonicalAddress } from '../../src/streams/endpoint.ts'
import { type ParsedHeader, malformed, nothingSaid, word } from './proxied.ts'

/** With CR and LF at its end. */
const longestLine = 107
const carriageReturn = 0x0d
const lineFeed = 0x0a
const unknown = /^PROXY UNKNOWN(?: |$)/
const known = /^PROXY TCP([46]) ([^ ]+) ([^ ]+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})$/
const highestPort = 65_535

/**
 * Parses a version 1 header. If the bytes are too few, returns how many bytes it needs to continue.
 *
 * @throws `ERR_CIO_PROXY_HEADER` (remote): it is not a header, as soon as that is certain
 */
export function parseV1(bytes: Buffer): ParsedHeader | number {
  const begun = Math.min(bytes.length, word.length)
  if (word.compare(bytes, 0, begun, 0, begun) !== 0) throw malformed('it does not begin with PROXY')
  const end = endOfLine(bytes)
  if (end === undefined) return bytes.length + 1
  const line = bytes.toString('latin1', 0, end)
  const length = end + '\r\n'.length
  // The specification says to ignore the rest of the line.
  if (unknown.test(line)) {
    return { length, proxied: { ...nothingSaid, version: 1, command: 'proxy' } }
  }

  const [, digit, from = '', to = '', ...ports] = known.exec(line) ?? []
  const isAddress = digit === '4' ? isIPv4 : isIPv6WithoutZone
  const [fromPort = Infinity, toPort = Infinity] = ports.map(Number)
  if (!isAddress(from) || !isAddress(to) || Math.max(fromPort, toPort) > highestPort) {
    throw malformed(`it is ${quote(line)}`)
  }
  return {
    length,
    proxied: {
      ...nothingSaid,
      version: 1,
      command: 'proxy',
      family: digit === '4' ? 'IPv4' : 'IPv6',
      protocol: 'stream',
      source: { address: canonicalAddress(from), port: fromPort },
      destination: { address: canonicalAddress(to), port: toPort },
    },
  }
}

/** The end of the line, without CR and LF; undefined while it has not arrived. */
function endOfLine(bytes: Buffer): number | undefined {
  const longest = Math.min(bytes.length, longestLine)
  for (let at = word.length; at < longest; at++) {
    if (bytes[at] === lineFeed) throw malformed('it has a line feed without a carriage return')
    if (bytes[at] !== carriageReturn) continue
    if (at + 1 === longest) break
    if (bytes[at + 1] === lineFeed) return at
    throw malformed('it has a carriage return without a line feed')
  }
  if (bytes.length < longestLine) return undefined
  throw malformed(`its line is longer than ${longestLine} bytes`)
}

function isIPv6WithoutZone(text: string): boolean {
  return isIPv6(text) && !text.includes('%')
}
