/** Messages and calls to a connection of this instance, from any instance. */

import { CioError, isCioError, rpcFailure } from 'cio'
import { asError, debug, evict, quote } from 'cio/kit'
import type { Incoming } from '../engine.ts'
import { type Header, decodeFrame, encodeFrame, numberOf, textOf } from '../wire/frames.ts'
import { decodeValue, encodeValue } from '../wire/values.ts'
import { slowError } from './errors.ts'
import type { Holder } from './holder.ts'
import type { Registered } from './types.ts'

const log = debug('cio:cluster')

const longestMessage = 1_000

type AnyCall = (
  method: string,
  params: unknown,
  options: { readonly timeout?: number; readonly signal?: AbortSignal },
) => Promise<unknown>

/** An order for a connection: send, call or evict. */
export type Order =
  | { readonly kind: 'send'; readonly message: unknown }
  | {
      readonly kind: 'call'
      readonly method: string
      readonly params: unknown
      readonly timeout?: number
      readonly signal?: AbortSignal
    }
  | { readonly kind: 'evict'; readonly reason: string }

/** Runs an order; fulfils with its result. */
export async function obey(ctx: Registered, order: Order, maxBacklog: number): Promise<unknown> {
  if (order.kind === 'send') return sendTo(ctx, order.message, maxBacklog)
  if (order.kind === 'evict') {
    const message = `evicted${order.reason === '' ? '' : `: ${quote(order.reason)}`}`
    evict(ctx, new CioError('ERR_CIO_EVICTED', message, { fault: 'remote' }))
    return undefined
  }
  const { method, params, timeout, signal } = order
  if (!Object.hasOwn(ctx, 'rpc') || !ctx.rpc) {
    const message = `\`${method}\` cannot be called: register \`rpc()\` before \`registry\``
    throw new CioError('ERR_CIO_NO_RPC', message)
  }
  const call = ctx.rpc.call.bind(ctx.rpc) as unknown as AnyCall
  return call(method, params, {
    ...(timeout !== undefined && { timeout }),
    ...(signal && { signal }),
  })
}

/** Fulfils when the message is queued. It does not wait until a slow device has read it. */
async function sendTo(ctx: Registered, message: unknown, maxBacklog: number): Promise<void> {
  const { queued } = ctx.messages
  if (queued > maxBacklog) {
    const error = slowError(ctx, queued)
    evict(ctx, error, { drainTimeout: 0 })
    throw error
  }
  const sent = ctx.messages.send(message)
  await Promise.race([sent, new Promise((resolve) => setImmediate(resolve))])
}

/** Answers a frame that arrived at the subject of a connection. */
export async function serve(holder: Holder, message: Incoming, maxBacklog: number): Promise<void> {
  const frame = decodeFrame(message.payload)
  const { header } = frame ?? {}
  const id = header && textOf(header, 'id')
  if (header?.kind === 'cancel') {
    holder.running
      ?.get(id ?? '')
      ?.abort(new CioError('ERR_CIO_CANCELLED', 'the caller has cancelled it'))
    return
  }
  const abort = new AbortController()
  if (id !== undefined) (holder.running ??= new Map()).set(id, abort)
  try {
    const order = frame && orderOf(frame.header, frame.body, abort.signal)
    if (!order) return message.reply(encodeFrame({ kind: 'unsupported' }))
    const result = await obey(holder.ctx, order, maxBacklog)
    message.reply(encodeFrame({ kind: 'done' }, encodeValue(result)))
  } catch (error) {
    fail(message, asError(error))
  } finally {
    if (id !== undefined) holder.running!.delete(id)
  }
}

function orderOf(header: Header, body: Uint8Array, signal: AbortSignal): Order | undefined {
  if (header.kind === 'send') return { kind: 'send', message: decodeValue(body) }
  if (header.kind === 'evict') return { kind: 'evict', reason: textOf(header, 'reason') ?? '' }
  const method = textOf(header, 'method')
  if (header.kind !== 'call' || method === undefined) return undefined
  const timeout = numberOf(header, 'timeout')
  const params = decodeValue(body)
  return { kind: 'call', method, params, signal, ...(timeout !== undefined && { timeout }) }
}

/**
 * Answers with an error. A device chooses what its error brings along: if that cannot travel, the rest
 * does.
 */
function fail({ reply }: Incoming, error: Error): void {
  const code = isCioError(error) ? error.code : 'ERR_CIO_REMOTE'
  const header = { kind: 'failed', code, message: error.message.slice(0, longestMessage) }
  const rpc = rpcFailure(error)
  try {
    return reply(encodeFrame({ ...header, rpc }))
  } catch (thrown) {
    log('%s: %s', error.message, asError(thrown).message)
  }
  const message = rpc?.message.slice(0, longestMessage)
  reply(encodeFrame({ ...header, ...(rpc && { rpc: { code: rpc.code, message } }) }))
}

/** The result in an answer; throws the error in it, if any. */
export function resultOf(key: string, payload: Uint8Array): unknown {
  const frame = decodeFrame(payload)
  if (frame?.header.kind === 'done') return decodeValue(frame.body)
  if (frame?.header.kind === 'failed') {
    const { header } = frame
    const message = `${quote(key)}: ${textOf(header, 'message') ?? 'failed'}`
    const { rpc } = header
    throw new CioError(textOf(header, 'code') ?? 'ERR_CIO_REMOTE', message, {
      fault: 'remote',
      ...(rpc !== undefined && { cause: rpc }),
    })
  }
  const message = `the instance of ${quote(key)} does not support this: it has another release`
  throw new CioError('ERR_CIO_UNSUPPORTED', message)
}
