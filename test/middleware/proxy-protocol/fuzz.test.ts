import test from 'ava'
import { isDeepStrictEqual } from 'node:util'
import { HeaderReader, parseHeader } from '../../../middleware/proxy-protocol/header-reader.ts'
import type { ParsedHeader } from '../../../middleware/proxy-protocol/proxied.ts'
import { type ProxyHeader, isCioError, proxyHeader } from '../../../src/index.ts'
import { many } from '../../support/long.ts'

const inputs = many(100_000, 2_000)
const maxSize = 512
const longestLine = 107

/** Mulberry32: the same numbers each time. */
function generator(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

const ipv4 = {
  source: { address: '192.0.2.7', port: 40_000 },
  destination: { address: '198.51.100.1', port: 443 },
}
const ipv6 = {
  source: { address: '2001:db8::1', port: 1 },
  destination: { address: '2001:db8::2', port: 65_535 },
}
const unix = {
  source: { address: '/run/client', port: 0 },
  destination: { address: '/run/server', port: 0 },
}
const everything: ProxyHeader = {
  ...ipv4,
  alpn: 'h2',
  authority: 'a.test',
  uniqueId: Buffer.from('x'.repeat(64)),
  ssl: { client: { ssl: true, certConn: true, certSess: true }, verify: 0, cn: 'alice' },
  netns: 'blue',
  tlvs: [{ type: 0xe0, value: Buffer.from('own') }],
}
const seeds: readonly Buffer[] = [
  proxyHeader(ipv4, { version: 1 }),
  proxyHeader(ipv6, { version: 1 }),
  proxyHeader({}, { version: 1 }),
  proxyHeader(ipv4),
  proxyHeader(ipv6),
  proxyHeader(unix),
  proxyHeader({ ...ipv4, command: 'local' }),
  proxyHeader(everything),
  proxyHeader(everything, { crc32c: true }),
]
const interesting = [0x00, 0x01, 0x0a, 0x0d, 0x20, 0x2e, 0x30, 0x39, 0x3a, 0x7f, 0x80, 0xff]

/** A header that was harmed a little, a little often; or noise. */
function make(random: (below: number) => number): Buffer {
  if (random(20) === 0) return Buffer.from(Array.from({ length: random(300) }, () => random(256)))
  let bytes = Buffer.from(seeds[random(seeds.length)]!)
  for (let left = random(4); left > 0; left--) {
    const at = random(bytes.length + 1)
    const byte = random(2) === 0 ? interesting[random(interesting.length)]! : random(256)
    const kind = random(5)
    if (kind === 0 && at < bytes.length) bytes[at] = byte
    else if (kind === 1 && at < bytes.length) bytes[at]! ^= 1 << random(8)
    else if (kind === 2) bytes = bytes.subarray(0, at)
    else if (kind === 3) {
      bytes = Buffer.concat([bytes.subarray(0, at), Buffer.from([byte]), bytes.subarray(at)])
    } else bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random(4))])
  }
  return random(2) === 0 ? bytes : Buffer.concat([bytes, Buffer.from('\x16\x03\x01 and more')])
}

type Verdict = ParsedHeader | 'more' | 'malformed'

function verdict(parse: () => Verdict): Verdict {
  try {
    return parse()
  } catch (error) {
    if (!isCioError(error, 'ERR_CIO_PROXY_HEADER') || error.fault !== 'remote') throw error
    return 'malformed'
  }
}

function atOnce(bytes: Buffer): Verdict {
  const parsed = parseHeader(bytes, maxSize)
  if (typeof parsed !== 'number') return parsed
  if (parsed <= bytes.length) throw new Error(`it needs ${parsed} and has ${bytes.length}`)
  if (parsed > Math.max(maxSize, longestLine)) throw new Error(`it needs ${parsed}`)
  return 'more'
}

function inPieces(bytes: Buffer, random: (below: number) => number): Verdict {
  const gathering = new HeaderReader(maxSize)
  for (let at = 0; at < bytes.length;) {
    const end = Math.min(bytes.length, at + 1 + random(random(3) === 0 ? 2 : 40))
    const gathered = gathering.take(bytes.subarray(at, end))
    if (gathered) {
      return { proxied: gathered.proxied, length: end - gathered.rest.length }
    }
    at = end
  }
  return 'more'
}

test(`${inputs} headers, harmed at random, are read alike at once and in pieces, or refused`, (t) => {
  const random = generator(20_261_124)
  const counts = { parsed: 0, more: 0, malformed: 0 }
  for (let input = 0; input < inputs; input++) {
    const bytes = make(random)
    const whole = verdict(() => atOnce(bytes))
    const pieces = verdict(() => inPieces(bytes, random))
    counts[typeof whole === 'string' ? whole : 'parsed']++
    if (!isDeepStrictEqual(whole, pieces)) {
      t.deepEqual(pieces, whole, `input ${input}: ${bytes.toString('hex')}`)
    }
    if (typeof whole === 'string') continue

    // Nothing after it counts, and nothing less is enough.
    const exact = bytes.subarray(0, whole.length)
    if (!isDeepStrictEqual(atOnce(exact), whole)) t.fail(exact.toString('hex'))
    if (verdict(() => atOnce(exact.subarray(0, -1))) !== 'more') t.fail(exact.toString('hex'))
    // What it says can be said again, but for paths, which are bytes.
    const { proxied } = whole
    if (proxied.family === null || proxied.family === 'Unix') continue
    const again = atOnce(proxyHeader({ ...proxied, tlvs: [] }))
    const { source, destination, protocol, authority, uniqueId } = proxied
    t.like(again, { proxied: { source, destination, protocol, authority, uniqueId } })
  }
  // That it is no fuzzer of one branch.
  for (const [kind, count] of Object.entries(counts))
    t.true(count > inputs / 50, `${count} ${kind}`)
})
