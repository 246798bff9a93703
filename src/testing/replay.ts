/** Replays a recording of `record` into an app, and compares the answers. */

import { readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import type { Cio } from '../cio.ts'
import type { ConnectionEnd } from '../connection-end.ts'
import { endReasons } from '../end-reason.ts'
import { CioError } from '../errors.ts'
import { Peer } from '../identity/peer.ts'
import type { ConnectionContext } from '../lifecycle/connection.ts'
import { markReplay } from '../lifecycle/replays.ts'
import {
  checkDuration,
  checkMethods,
  checkOptionNames,
  maxTimerDelay,
  optionError,
} from '../options.ts'
import { type DuplexEnd, duplexPair } from './duplex-pair.ts'

/** Options of {@link replay}. */
export interface ReplayOptions {
  /**
   * When the input is sent: as soon as the earlier answers are there (`fast`), or at the recorded
   * times.
   *
   * @default 'fast'
   */
  readonly pace?: 'fast' | 'recorded'
  /**
   * Milliseconds to wait for a recorded answer; then the next input is sent anyway.
   *
   * @default 1_000
   */
  readonly timeout?: number
}

/** The first difference between the recorded answers and those of the app. */
export interface ReplayDifference {
  /** How many bytes are equal before the difference. */
  readonly offset: number
  /** The next bytes of the recording, and those of the app; at most 64 bytes each. */
  readonly recorded: Buffer
  /** The next bytes of the app. */
  readonly sent: Buffer
}

/** The result of {@link replay}. */
export interface Replayed {
  /** How the connection of the replay ended. */
  readonly end: ConnectionEnd
  /** How the recorded connection ended. */
  readonly recorded: Pick<ConnectionEnd, 'reason' | 'by' | 'step'>
  /** All bytes that the app has sent. */
  readonly sent: Buffer
  /** The first difference between the answers; undefined if they are the same. */
  readonly differs: ReplayDifference | undefined
}

interface Line {
  readonly at: number
  readonly in?: string | null
  readonly out?: string
}

interface Foot {
  readonly end: Replayed['recorded']
  readonly isCut?: boolean
}

const shown = 64

/**
 * Replays a file of `record` into an app, over an in-memory pair, and compares the answers of the
 * app with the recorded ones.
 *
 * `ctx.peer` is the recorded peer. There is no socket and no TLS, so the middleware see only a
 * stream.
 *
 * @throws `ERR_CIO_OPTION`: it is not a file of `record`, or an option is out of its range
 *
 * @example
 * import { Cio } from 'cio'
 * import { replay } from 'cio/testing'
 *
 * async function test4711(app: Cio): Promise<void> {
 *   const { end, differs } = await replay('captures/4711.cio', app)
 *   console.log(end.reason, differs)
 * }
 * console.log(test4711.name)
 */
export async function replay<A extends object, B extends object, C extends object>(
  file: string,
  app: Cio<A, B, C>,
  options: ReplayOptions = {},
): Promise<Replayed> {
  checkOptionNames('replay', options, ['pace', 'timeout'])
  const { pace = 'fast', timeout = 1_000 } = options
  if (pace !== 'fast' && pace !== 'recorded') {
    throw optionError('replay', 'pace', "'fast' or 'recorded'", pace)
  }
  checkDuration('replay', 'timeout', timeout)
  if (typeof file !== 'string') throw optionError('replay', 'file', 'the path of a recording', file)
  checkMethods('replay', 'app', 'a Cio', app, ['handle', 'prependOnceListener'])
  const { peer, lines, foot } = await read(file)
  const [near, far] = duplexPair()
  const answers = new Answers(near)
  const { ctx, ended } = start(app, far, peer)
  const began = performance.now()
  let expected = 0
  for (const line of lines) {
    if (line.out !== undefined) expected += Buffer.from(line.out, 'base64').length
    if (line.in === undefined) continue
    if (pace === 'fast') await answers.until(expected, timeout)
    else {
      const left = line.at - (performance.now() - began)
      await delay(Math.min(Math.max(0, left), maxTimerDelay))
    }
    if (ctx.isClosed) break
    if (line.in === null) near.end()
    else near.write(Buffer.from(line.in, 'base64'))
  }
  await answers.until(expected, timeout)
  if (!near.writableEnded) near.end()
  const end = await ended
  const sent = answers.all
  const then = Buffer.concat(lines.map(({ out = '' }) => Buffer.from(out, 'base64')))
  // A bound of `record` ended the recording, and not the answers.
  const compared = foot.isCut === true ? sent.subarray(0, then.length) : sent
  return { end, recorded: foot.end, sent, differs: difference(then, compared) }
}

/** Collects the bytes that an app sends. */
class Answers {
  readonly #chunks: Buffer[] = []
  #size = 0
  #isOver = false
  #wake = (): void => {}

  constructor(near: DuplexEnd) {
    near.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk)
      this.#size += chunk.length
      this.#wake()
    })
    near.on('error', () => {})
    near.on('close', () => {
      this.#isOver = true
      this.#wake()
    })
  }

  get all(): Buffer {
    return Buffer.concat(this.#chunks)
  }

  /** Waits for so many bytes or for the end, at most for the given time. */
  async until(size: number, timeout: number): Promise<void> {
    const isThere = (): boolean => this.#size >= size || this.#isOver
    if (isThere()) return
    await new Promise<void>((resolve) => {
      const late = timeout === Infinity ? undefined : setTimeout(resolve, timeout)
      this.#wake = () => {
        if (!isThere()) return
        clearTimeout(late)
        resolve()
      }
    })
  }
}

function start(
  app: Cio,
  far: DuplexEnd,
  peer: Peer | null,
): { ctx: ConnectionContext; ended: Promise<ConnectionEnd> } {
  // Sets the peer before the first middleware runs.
  const identify = (one: ConnectionContext): void => {
    markReplay(one)
    Object.defineProperty(one, 'peer', { value: peer, configurable: true })
  }
  app.prependOnceListener('connection', identify)
  const ctx = app.handle(far)
  const ended = new Promise<ConnectionEnd>((resolve) => {
    const close = (closed: ConnectionContext, end: ConnectionEnd): void => {
      if (closed !== ctx) return
      app.off('close', close)
      resolve(end)
    }
    app.on('close', close)
  })
  return { ctx, ended }
}

async function read(
  file: string,
): Promise<{ peer: Peer | null; lines: readonly Line[]; foot: Foot }> {
  const text = await readFile(file, 'utf8')
  try {
    const [head, ...rest] = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Partial<Line & Foot> | null)
    const { format, peer } = (head ?? {}) as { format?: string; peer?: string | null }
    if (format !== 'cio.record.1') throw new TypeError('its first line names no format of `record`')
    const foot = rest.pop()
    if (!isFoot(foot)) throw new TypeError('its end is missing')
    const wrong = rest.findIndex((line) => !isLine(line))
    if (wrong !== -1) throw new TypeError(`line ${wrong + 2} is neither input nor output`)
    const certificate = peer ? new Peer(Buffer.from(peer, 'base64')) : null
    // It is parsed when it is first read.
    void certificate?.certificate
    return { peer: certificate, lines: rest as Line[], foot }
  } catch (cause) {
    const message = `replay: ${file} is no recording: ${(cause as Error).message}`
    throw new CioError('ERR_CIO_OPTION', message, { cause })
  }
}

/** A file may come from anywhere: its reason is printed, and stands in the test of `cio replay`. */
function isFoot(foot: Partial<Foot> | null | undefined): foot is Foot {
  const { reason, step } = foot?.end ?? {}
  return endReasons.some((one) => one === reason) && typeof step === 'string'
}

function isLine(line: Partial<Line> | null): line is Line {
  // In JSON, 1e999 is Infinity.
  if (typeof line?.at !== 'number' || !Number.isFinite(line.at)) return false
  if (line.out !== undefined) return typeof line.out === 'string'
  return typeof line.in === 'string' || line.in === null
}

function difference(recorded: Buffer, sent: Buffer): ReplayDifference | undefined {
  if (recorded.equals(sent)) return undefined
  let offset = 0
  while (offset < recorded.length && recorded[offset] === sent[offset]) offset += 1
  const from = (bytes: Buffer): Buffer => bytes.subarray(offset, offset + shown)
  return { offset, recorded: from(recorded), sent: from(sent) }
}
