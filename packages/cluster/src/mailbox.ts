/** Messages for offline devices. */

import { randomUUID } from 'node:crypto'
import { CioError, type Middleware, type StreamContext, defineMiddleware } from 'cio'
import { asError, checkOptionNames, debug, emitSafely, reportError } from 'cio/kit'
import { reserve } from './reserve.ts'
import type { Cluster } from './cluster.ts'
import { type Letter, type Letters, downError } from './engine.ts'
import { encodeName } from './names.ts'
import type { RegistrationContext } from './registry/types.ts'
import { Gate } from './mailbox/gate.ts'
import { type MailboxOptions, checkMailboxOptions } from './mailbox/options.ts'
import { Reader } from './mailbox/reader.ts'
import { Unread, unreadError } from './mailbox/unread.ts'
import { unawaited } from './unawaited.ts'
import { decodeFrame, encodeFrame, numberOf } from './wire/frames.ts'
import { decodeValue, encodeValue } from './wire/values.ts'

export type { Delivery, MailboxOptions } from './mailbox/options.ts'

const log = debug('cio:cluster')
const readsAtOnce = 100
const longestRetry = 60_000

/** Options of `Mailbox.send()`. */
export interface MailOptions {
  /**
   * The id of the message: for two minutes, the broker drops a second message with this id and key.
   * Pass one if you send again after an error.
   *
   * @default a random one
   */
  readonly id?: string
}

/** A letter that the broker has stored. */
export interface Mailed {
  /** Rises with each letter. */
  readonly seq: number
  /** Whether the broker already had a letter with this id. */
  readonly isDuplicate: boolean
}

/** A letter that was not delivered yet. */
export interface FailedLetter {
  readonly key: string
  readonly seq: number
  readonly attempt: number
}

/** The middleware, with `send`. */
export interface Mailbox<Out, Needs extends StreamContext = StreamContext> extends Middleware<
  Needs & RegistrationContext
> {
  /**
   * Sends a message at least once: when this fulfils, the broker has stored it. Cio delivers it
   * now, or when the device reconnects. After `ERR_CIO_CLUSTER_DOWN` the letter may have been
   * stored: send it again with the same `id`. If you do not await it, you do not notice that a
   * letter was not stored.
   *
   * @throws `ERR_CIO_MAILBOX_FULL`: `maxLetters` or `maxBytes` wait already
   * @throws `ERR_CIO_CLUSTER_DOWN`
   */
  send(key: string, message: Out, options?: MailOptions): Promise<Mailed>
}

declare module 'cio' {
  interface AppEvents {
    /** `deliver` has rejected, and Cio will try the letter again. The letters behind it wait. */
    letterFailed: [error: Error, letter: FailedLetter, ctx: StreamContext]
  }
}

/**
 * At-least-once messages to offline devices: a message queue for each name (store and forward).
 *
 * The broker keeps a letter until the device has it: `deliver` has fulfilled. Letters of one key
 * are delivered one after the other, in the order in which the broker has stored them, by the
 * instance that has the connection. If an answer is lost, the device gets a letter twice, and can
 * recognise it by `seq`.
 *
 * A letter that this release cannot read stays in the mailbox, and those behind it are delivered. Cio
 * reports it once, by `error` with `ERR_CIO_UNSUPPORTED`.
 *
 * The mailbox is bounded, and a full one refuses new letters and drops none. It needs no state in
 * the broker for a device without letters.
 *
 * @pipelines connection
 * @order after `registry`, and after `rpc` if `deliver` calls
 * @adds nothing; the middleware itself has `send`
 * @needs `ctx.registration`
 * @rejects nothing
 * @throws `ERR_CIO_OPTION`: an option is missing, unknown or out of its range
 *
 * @example
 * import { Cio, type RpcContext, type StreamContext, json, rpc } from 'cio'
 * import { cluster, mailbox, registry } from '@cio/cluster'
 *
 * interface Device { deliver(letter: { text: string }): void }
 *
 * const here = cluster()
 * const letters = mailbox<{ text: string }, StreamContext & RpcContext<Device>>(here, {
 *   deliver: (ctx, { message }) => ctx.rpc.call('deliver', message),
 * })
 * const app = new Cio()
 *   .useServer(here)
 *   .useConnection(json())
 *   .useConnection(rpc<Device>())
 *   .useConnection(registry<object, Device>(here, { key: ({ address }) => address }))
 *   .useConnection(letters)
 * const server = await app.listen({ port: 0, host: '127.0.0.1' })
 * await letters.send('127.0.0.1', { text: 'hello' }, { id: 'order-1' })
 * await server.close()
 */
export function mailbox<Out = unknown, Needs extends StreamContext = StreamContext>(
  cluster: Cluster,
  options: MailboxOptions<Out, Needs>,
): Mailbox<Out, Needs> {
  const settings = checkMailboxOptions(options)
  const { deliver, name, maxLetters: maxPerKey, maxBytes, maxAge, checkInterval } = settings
  reserve(cluster, 'mailbox', name)
  const { engine } = cluster
  const readers = new Set<Reader>()
  const unread = new Unread()
  let letters: Letters | undefined
  let failure: Error | undefined
  cluster.whileUp(async (signal) => {
    signal.addEventListener('abort', () => (letters = undefined))
    const opened = await engine
      .letters(name, { maxPerKey, maxBytes, maxAge })
      .catch((error: Error) => {
        failure = error
        throw error
      })
    failure = undefined
    if (signal.aborted) return
    letters = opened
    for (const reader of readers) reader.wake()
  })
  const source = { letters: () => letters, gate: new Gate(readsAtOnce), checkInterval }
  const retry = {
    delay: settings.retryDelay,
    maxDelay: Math.max(settings.retryDelay, longestRetry),
  }
  const subjectOf = (code: string): string => `${name}.for.${code}`

  const middleware = defineMiddleware<Needs & RegistrationContext>(
    { name: 'mailbox', pipelines: ['connection'], after: 'registry', requires: 'registry' },
    async function mailbox(ctx, next) {
      const { registration } = ctx
      const code = encodeName(registration.key, 'remote')
      const receiver = {
        code,
        isHolder: () => registration.isConfirmed && registration.slot === 0,
        open: (letter: Letter) => {
          const { seq } = letter
          try {
            const message = messageOf(letter) as Out
            return async (attempt: number) => deliver(ctx, { message, seq, attempt })
          } catch (cause) {
            if (unread.isNew(seq))
              reportError(ctx.app, unreadError(`${name}.${code}`, seq, cause), ctx)
            return undefined
          }
        },
        failed: (error: Error, { seq }: Letter, attempt: number) => {
          log('%d letter %d, attempt %d: %s', ctx.id, seq, attempt, error.message)
          const { key } = registration
          emitSafely(ctx.app, 'letterFailed', error, { key, seq, attempt }, ctx)
        },
      }
      const reader = new Reader(source, receiver, retry)
      const end = (): void => reader.end()
      const nudges = engine.subscribe(subjectOf(code), ({ payload }) => {
        const header = decodeFrame(payload)?.header
        if (header?.kind === 'nudge') reader.wake(numberOf(header, 'seq'))
      })
      readers.add(reader)
      ctx.draining.addEventListener('abort', end)
      if (ctx.draining.aborted) end()
      void reader.run()
      try {
        await next()
      } finally {
        end()
        ctx.draining.removeEventListener('abort', end)
        readers.delete(reader)
        nudges.unsubscribe()
      }
    },
  )
  const post = async (key: string, message: Out, options: MailOptions): Promise<Mailed> => {
    checkOptionNames('send', options, ['id'])
    const { id = randomUUID() } = options
    const code = encodeName(key)
    const frame = encodeFrame({ kind: 'letter' }, encodeValue(message))
    if (!letters) throw downError('mailbox', failure)
    const mailed = await letters.append(code, frame, encodeName(id))
    if (!mailed.isDuplicate) nudge(code, mailed.seq)
    return mailed
  }
  const nudge = (code: string, seq: number): void => {
    try {
      engine.publish(subjectOf(code), encodeFrame({ kind: 'nudge', seq }))
    } catch (error) {
      // After the gap, each connection looks for letters.
      log('nudge: %s', asError(error).message)
    }
  }
  const send = (key: string, message: Out, options: MailOptions = {}): Promise<Mailed> =>
    unawaited(post(key, message, options))
  return Object.assign(middleware, { send })
}

/** @throws `ERR_CIO_SYNTAX`: the bytes are not those of a letter */
function messageOf({ payload }: Letter): unknown {
  const frame = decodeFrame(payload)
  if (frame?.header.kind === 'letter') return decodeValue(frame.body)
  throw new CioError('ERR_CIO_SYNTAX', 'these bytes are no letter of this release')
}

export { mailbox as default }
