import type { Writable } from 'node:stream'
import { CioError, asError } from '../../src/errors.ts'
import { reportError } from '../../src/lifecycle/app-events.ts'
import type { App } from '../../src/lifecycle/app.ts'
import type { Context } from '../../src/lifecycle/context.ts'
import { whenRejected } from '../../src/thenable.ts'
import { type Attributes, type Level, jsonLine } from './json-line.ts'
import { LineWriter } from './line-writer.ts'

/** A logger, such as one of pino. */
export type Logger = { readonly [L in Level]: (record: object, message: string) => void }

/** Where lines go. */
export interface Sink {
  /** Returns what the logger returned, which may be a promise. */
  readonly write: (of: Context, level: Level, record: Attributes, message: string) => unknown
  /** Begins to write the waiting lines. */
  readonly flush: () => void
  /** Writes the waiting lines at the end of the process, as far as that is possible at once. */
  readonly flushSync: () => void
  /** How many lines were dropped so far. */
  readonly dropped: () => number
}

/** A sink over a logger, over a stream, or else over standard output. */
export function sinkOf(to: Logger | Writable | undefined, maxBuffer: number): Sink {
  if (isLogger(to)) {
    return {
      write: (_of, level, record, message) => to[level](record, message),
      flush() {},
      flushSync() {},
      dropped: () => 0,
    }
  }
  let app: App | undefined
  const report = (count: number): string =>
    jsonLine('warn', { 'event.name': 'cio.log.dropped', count })
  const writer = new LineWriter(to, maxBuffer, report, (cause) => {
    const message = `log: lines are lost: ${cause.message}; check the file or pipe that they go to`
    const error = new CioError('ERR_CIO_LOG', message, { cause })
    // Before the first line no app is known: a file that cannot be opened ends the process.
    if (!app) throw error
    reportError(app, error)
  })
  return {
    write(of, level, record) {
      app = of.app
      writer.write(jsonLine(level, record))
    },
    flush: () => writer.flush(),
    flushSync: () => writer.flushSync(),
    dropped: () => writer.allDropped,
  }
}

/** Whether lines go to a logger, and not to a stream. */
export function isLogger(to: Logger | Writable | undefined): to is Logger {
  const { info, warn, error } = (to ?? {}) as Partial<Logger>
  return [info, warn, error].every((method) => typeof method === 'function')
}

/** Writes a line, and reports what a logger throws: timers write too, where nothing catches it. */
export function writeLine(
  sink: Sink,
  of: Context,
  level: Level,
  record: Attributes,
  message: string,
): void {
  const failed = (thrown: unknown): void => reportError(of.app, asError(thrown), of)
  try {
    whenRejected(sink.write(of, level, record, message), failed)
  } catch (thrown) {
    failed(thrown)
  }
}
