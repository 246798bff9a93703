/**
 * Mutates inputs, and looks for those that end differently whole and cut, throw what is no error of
 * the peer, take long or keep much.
 */

import { inspect } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { isCioError } from '../../src/index.ts'

/** A parser, and inputs to begin with. */
export interface Target {
  readonly name: string
  readonly seeds: readonly Buffer[]
  /** What comes of input in pieces: what is equal must be printed alike. */
  readonly run: (pieces: readonly Buffer[]) => unknown
  /** A parser that has seen the input and may get more, to measure what it keeps; if it has any. */
  readonly hold?: (bytes: Buffer) => unknown
}

/** An input that shows a fault. */
export interface Finding {
  readonly target: string
  readonly what: string
  readonly input: Buffer
}

/** Numbers from 0 to 1, the same for the same seed. */
export type Random = () => number

const longest = 4 * 1024
const mostRepeats = 200
const interesting = [0, 1, 0x0a, 0x0d, 0x22, 0x5b, 0x5d, 0x7b, 0x7f, 0x80, 0x9f, 0xbf, 0xd4, 0xff]
/** A millisecond, and 20 µs a byte: linear parsers take less than 1 µs. */
const mostMilliseconds = 50
const mostMillisecondsPerByte = 0.02
const held = 20
const mostKept = 64 * 1024
const mostKeptPerByte = 256

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const below = (random: Random, bound: number): number => Math.floor(random() * bound)

/** An input like the seeds. */
export function mutate(seeds: readonly Buffer[], random: Random): Buffer {
  const pick = (): Buffer => seeds[below(random, seeds.length)]!
  let bytes = Buffer.from(pick())
  for (let change = below(random, 5); change >= 0; change--) {
    const at = below(random, bytes.length + 1)
    const to = at + below(random, bytes.length - at + 1)
    const [before, within, after] = [
      bytes.subarray(0, at),
      bytes.subarray(at, to),
      bytes.subarray(to),
    ]
    const repeats = random() < 0.2 ? below(random, mostRepeats) : below(random, 3)
    const byte = interesting[below(random, interesting.length)]!
    switch (below(random, 6)) {
      case 0:
        bytes = Buffer.concat([before, after])
        break
      case 1:
        bytes = Buffer.concat([before, ...Array<Buffer>(repeats).fill(Buffer.from(within)), after])
        break
      case 2:
        bytes = Buffer.concat([before, Buffer.of(byte), within, after])
        break
      case 3:
        bytes = Buffer.concat([before, pick(), after])
        break
      case 4:
        bytes = Buffer.concat([bytes, pick()])
        break
      default:
        if (at < bytes.length) bytes[at] = random() < 0.5 ? byte : below(random, 256)
    }
    bytes = bytes.subarray(0, longest)
  }
  return bytes
}

/** The input in pieces, some of one byte. */
export function cut(bytes: Buffer, random: Random): Buffer[] {
  const pieces: Buffer[] = []
  const largest = random() < 0.3 ? 1 : 1 + below(random, bytes.length + 1)
  for (let at = 0; at < bytes.length;) {
    const to = Math.min(bytes.length, at + 1 + below(random, largest))
    pieces.push(Buffer.from(bytes.subarray(at, to)))
    at = to
  }
  return pieces
}

/** What a target makes of pieces, printed; an error that is not of the peer is a fault. */
async function outcome(target: Target, pieces: readonly Buffer[]): Promise<string> {
  let result: unknown
  try {
    result = await target.run(pieces)
  } catch (error) {
    if (!isCioError(error) || error.fault !== 'remote') throw error
    result = error.code
  }
  return inspect(result, { depth: 20, maxArrayLength: 500, maxStringLength: 2_000 })
}

/** How long it takes, at least, in milliseconds. */
async function timeOf(target: Target, pieces: readonly Buffer[]): Promise<number> {
  let least = Infinity
  for (let run = 0; run < 3; run++) {
    const { user, system } = process.cpuUsage()
    await outcome(target, pieces)
    const after = process.cpuUsage()
    least = Math.min(least, (after.user + after.system - user - system) / 1_000)
  }
  return least
}

function keptBy(hold: (bytes: Buffer) => unknown, input: Buffer): number {
  const inUse = (): number => {
    collect()
    const { heapUsed, arrayBuffers } = process.memoryUsage()
    return heapUsed + arrayBuffers
  }
  const before = inUse()
  const all = Array.from({ length: held }, () => hold(Buffer.from(input)))
  const kept = inUse() - before
  return all.length > 0 ? kept / held : 0
}

/** The time and the memory of a target, a byte of damaged input as long as it may be. */
export async function costs(
  target: Target,
  random: Random,
): Promise<{ readonly microseconds: number; readonly kept: number | undefined }> {
  let input = mutate(target.seeds, random)
  for (let tries = 0; tries < 50 && input.length < longest; tries++) {
    input = Buffer.concat([input, mutate(target.seeds, random)]).subarray(0, longest)
  }
  const milliseconds = await timeOf(target, cut(input, random))
  return {
    microseconds: (1_000 * milliseconds) / Math.max(1, input.length),
    kept: target.hold && Math.max(0, keptBy(target.hold, input)) / Math.max(1, input.length),
  }
}

/** Looks at one input. */
export async function look(
  target: Target,
  input: Buffer,
  random: Random,
  memory = false,
): Promise<Finding | undefined> {
  const finding = (what: string): Finding => ({ target: target.name, what, input })
  const pieces = cut(input, random)
  const bound = mostMilliseconds + mostMillisecondsPerByte * input.length
  try {
    const began = performance.now()
    const whole = await outcome(target, [Buffer.from(input)])
    const cutUp = await outcome(target, pieces)
    if (whole !== cutUp) {
      const cuts = pieces.map(({ length }) => length).join()
      return finding(`whole it is ${whole}, in pieces of ${cuts} bytes it is ${cutUp}`)
    }
    if (performance.now() - began > 2 * bound) {
      const time = Math.max(
        await timeOf(target, [Buffer.from(input)]),
        await timeOf(target, pieces),
      )
      if (time > bound) return finding(`it takes ${time.toFixed()} ms for ${input.length} bytes`)
    }
    const kept = memory && target.hold ? keptBy(target.hold, input) : 0
    if (kept > mostKept + mostKeptPerByte * input.length) {
      return finding(`it keeps ${kept.toFixed()} bytes of ${input.length}`)
    }
  } catch (error) {
    return finding(`it throws ${inspect(error)}`)
  }
  return undefined
}
