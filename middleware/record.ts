import { mkdir, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { TLSSocket } from 'node:tls'
import type { ConnectionEnd } from '../src/connection-end.ts'
import { CioError, asError } from '../src/errors.ts'
import { emitSafely, reportError } from '../src/lifecycle/app-events.ts'
import type { App } from '../src/lifecycle/app.ts'
import type { ConnectionContext } from '../src/lifecycle/connection.ts'
import { isReplay } from '../src/lifecycle/replays.ts'
import { checkCount, checkDuration, checkOptionNames, optionError } from '../src/options.ts'
import { atOnce } from '../src/thenable.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { Recording } from './record/recording.ts'

/** Options of {@link record}. */
export interface RecordOptions {
  /** Whether to record a connection: only if the result is `true`. */
  readonly when: (ctx: ConnectionContext) => boolean
  /**
   * The directory for the files. If it is missing, Cio creates it, with access for the owner only.
   */
  readonly to: string
  /**
   * Maximum number of recorded connections, in total.
   *
   * @default 10
   */
  readonly connections?: number
  /**
   * Maximum recorded bytes of one connection, both directions together.
   *
   * @default 65_536
   */
  readonly bytes?: number
  /**
   * Maximum recorded milliseconds of one connection.
   *
   * @default 300_000
   */
  readonly duration?: number
  /**
   * Removes secrets, such as passwords, from the file. It gets each chunk and its direction, and
   * returns the bytes to write; it does not change the connection. If it throws, Cio writes nothing
   * of this connection, and `error` reports it.
   *
   * @default the chunk as it is
   */
  readonly redact?: (chunk: Buffer, direction: 'in' | 'out') => Uint8Array
}

declare module '../src/lifecycle/app.ts' {
  interface AppEvents {
    /** `record` has written the recording of a connection to a file. */
    recorded: [file: string, ctx: ConnectionContext]
  }
}

const defaultConnections = 10
const defaultBytes = 65_536
const defaultDuration = 300_000
const forOwner = { directory: 0o700, file: 0o600 }

/**
 * Records the traffic of chosen connections to files, to replay it in a test.
 *
 * A file contains the plain text of both directions, with the time and the borders of each chunk,
 * and the end of the connection. `replay` of `cio/testing` sends it through the same pipeline, and
 * reports where the answers differ. Four options bound the recordings: `when`, `connections`,
 * `bytes` and `duration`. Only their owner can read the files. They may contain data of your
 * clients: remove them when you have found the bug.
 *
 * @pipelines connection
 * @order where it is registered: it sees the bytes that pass at its place: plain text after
 * `secure`
 * @adds nothing
 * @rejects `ERR_CIO_RECORD` (local): a file could not be written, or `redact` threw; the connection
 *   goes on
 * @throws `ERR_CIO_OPTION`: an option is missing, unknown or out of its range
 *
 * @example
 * import { Cio, lines, record } from 'cio'
 *
 * const app = new Cio()
 *   .useConnection(record({ when: ({ peer }) => peer?.name === 'device-0042', to: 'captures' }))
 *   .useConnection(lines())
 *   .useConnection(({ messages }) => messages.each((line) => messages.send(line)))
 * app.on('recorded', (file) => console.log(file))
 */
export function record(options: RecordOptions): Middleware<ConnectionContext> {
  checkOptionNames('record', options, ['when', 'to', 'connections', 'bytes', 'duration', 'redact'])
  const { when, to, connections = defaultConnections, bytes = defaultBytes } = options
  const { duration = defaultDuration, redact = (chunk: Buffer) => chunk } = options
  if (typeof when !== 'function') throw optionError('record', 'when', 'a function', when)
  if (typeof to !== 'string' || to === '') {
    throw optionError('record', 'to', 'the path of a directory', to)
  }
  checkCount('record', 'connections', connections)
  checkCount('record', 'bytes', bytes)
  checkDuration('record', 'duration', duration)
  if (typeof redact !== 'function') throw optionError('record', 'redact', 'a function', redact)
  // A predicate in JavaScript may return a promise, which is not true.
  const chooses: (ctx: ConnectionContext) => unknown = when
  let left = connections
  // One listener for each app, for any number of recorded connections.
  const apps = new WeakSet<App>()
  const recorded = new WeakMap<ConnectionContext, (end: ConnectionEnd) => void>()
  const listenTo = (app: App): void => {
    if (apps.has(app)) return
    apps.add(app)
    app.on('close', (ctx, end) => recorded.get(ctx)?.(end))
  }

  return defineMiddleware<ConnectionContext>(
    { name: 'record', pipelines: ['connection'] },
    async function record(ctx, next) {
      if (left <= 0 || isReplay(ctx) || atOnce('record', 'when', chooses(ctx)) !== true)
        return next()
      left -= 1
      const recording = new Recording({ bytes, duration, redact })
      const head = headOf(ctx)
      const detach = recording.attach(ctx.stream)
      listenTo(ctx.app)
      recorded.set(ctx, (end) => {
        recorded.delete(ctx)
        detach()
        void save(ctx, to, [head, ...recording.lines, footOf(recording, end)], recording)
      })
      await next()
    },
  )
}

/** The first line of a file. It has no address, since a test does not need one. */
function headOf(ctx: ConnectionContext): object {
  const { socket, peer, generation, app } = ctx
  return {
    format: 'cio.record.1',
    time: new Date().toISOString(),
    generation,
    pipeline: app.pipelines.connection.names,
    tls: socket instanceof TLSSocket ? socket.getProtocol() : null,
    peer: peer ? peer.certificate.raw.toString('base64') : null,
  }
}

function footOf({ at, isCut }: Recording, { reason, by, step, code, why }: ConnectionEnd): object {
  return { at, end: { reason, by, step, code, why }, isCut }
}

async function save(
  ctx: ConnectionContext,
  to: string,
  lines: readonly object[],
  { failed }: Recording,
): Promise<void> {
  const stamp = new Date().toISOString().replace(/[:.]/g, '-')
  const file = join(to, `${stamp}-${process.pid}-${ctx.id}.cio`)
  try {
    if (failed !== undefined) throw asError(failed)
    await mkdir(to, { recursive: true, mode: forOwner.directory })
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('')
    await write(file, text)
    emitSafely(ctx.app, 'recorded', file, ctx)
  } catch (cause) {
    const message = `\`record\` has written nothing of connection ${ctx.id}: ${asError(cause).message}`
    reportError(ctx.app, new CioError('ERR_CIO_RECORD', message, { cause }), ctx)
  }
}

/** Never overwrites a file, never follows a link, and leaves no part of a file on a full disk. */
async function write(file: string, text: string): Promise<void> {
  const handle = await open(file, 'wx', forOwner.file)
  try {
    await handle.writeFile(text)
  } catch (error) {
    await unlink(file)
    throw error
  } finally {
    await handle.close()
  }
}

export { record as default }
