/** Results in parts, as in the Language Server Protocol: `$/progress` with a token. */

import type { Pump } from '../../src/messages/pump.ts'
import type { SendQueue } from '../../src/messages/send-queue.ts'
import { isOmitted, omittedError } from './omitted-values.ts'
import type { RpcRequest } from './request.ts'
import { failures, rpcError } from './wire.ts'

/** The notification that carries a part. */
export const progressMethod = '$/progress'

/** Whether a method returned its result as an async iterable. */
export function isStreamed(result: unknown): result is AsyncIterable<unknown> {
  if (typeof result !== 'object' || result === null) return false
  try {
    return Symbol.asyncIterator in result
  } catch {
    // A Proxy that throws. The codec cannot read it either, and reports that.
    return false
  }
}

/**
 * Sends each value with the caller's token for partial results; then the result is null. It asks
 * for the next value when the previous one was sent. If the caller cancels or is lost, the iterator
 * is closed.
 *
 * @throws an error for the caller, if it sent no token: the size of all values together is not
 * bounded
 */
export async function sendStreamed(
  values: AsyncIterable<unknown>,
  request: RpcRequest,
  params: unknown,
  pump: Pump,
  queue: SendQueue,
): Promise<unknown> {
  const { partialResultToken: token } = (params ?? {}) as { readonly partialResultToken?: unknown }
  if (typeof token !== 'string' && typeof token !== 'number') {
    throw rpcError(
      failures.invalidParams.code,
      'the result is streamed: a partialResultToken is missing',
    )
  }
  const { signal } = request
  const iterator = values[Symbol.asyncIterator]()
  let stopWaiting = (): void => {}
  const stop = (): void => {
    stopWaiting()
    void close(iterator)
  }
  signal.addEventListener('abort', stop)
  try {
    while (!signal.aborted) {
      const { done, value } = await iterator.next()
      if (done) break
      if (isOmitted(value)) throw omittedError(request.method)
      const part = {
        jsonrpc: '2.0',
        method: progressMethod,
        params: { token, value: value ?? null },
      }
      await new Promise<void>((resolve, reject) => {
        stopWaiting = resolve
        queue.answer(() => void pump.send(part).then(resolve, reject))
      })
    }
  } catch (thrown) {
    void close(iterator)
    throw thrown
  } finally {
    signal.removeEventListener('abort', stop)
  }
  signal.throwIfAborted()
  return null
}

/** Runs the `finally` blocks of a generator. Their errors come too late for the caller. */
async function close(iterator: AsyncIterator<unknown>): Promise<void> {
  try {
    await iterator.return?.()
  } catch {
    // Nothing waits for the values any more, so errors are ignored.
  }
}
