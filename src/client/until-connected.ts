/** Waits for a stream that is still connecting. */

import type { Duplex } from 'node:stream'
import { CioError, asError } from '../errors.ts'

/** The properties of Node's sockets, and of streams that imitate them. */
interface Connecting {
  readonly connecting?: unknown
  readonly secureConnecting?: unknown
}

/**
 * Fulfils with the stream when it is connected, including its own TLS. Rejects with its error if it
 * fails. When the signal aborts, the stream is destroyed.
 *
 * @throws `ERR_CIO_CONNECT` (remote): it closed without an error
 */
export async function untilConnected(
  stream: Duplex,
  place: string,
  signal: AbortSignal,
): Promise<Duplex> {
  if (!stream.destroyed && !isConnecting(stream)) return stream
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      for (const event of steps) stream.off(event, step)
      stream.off('error', fail)
      stream.off('close', close)
      signal.removeEventListener('abort', abort)
    }
    const fail = (error: Error): void => {
      settle()
      reject(error)
    }
    const close = (): void => {
      fail(stream.errored ?? (signal.aborted ? asError(signal.reason) : closed(place)))
    }
    const step = (): void => {
      if (stream.destroyed || isConnecting(stream)) return
      settle()
      resolve(stream)
    }
    const abort = (): void => void stream.destroy()
    if (stream.destroyed) return close()
    for (const event of steps) stream.on(event, step)
    stream.on('error', fail)
    stream.on('close', close)
    signal.addEventListener('abort', abort)
    if (signal.aborted) abort()
  })
}

const steps = ['connect', 'secure', 'secureConnect']

/** Whether a stream is still connecting, or its own TLS is. */
export function isConnecting(stream: Duplex & Connecting): boolean {
  return stream.connecting === true || stream.secureConnecting === true
}

function closed(place: string): CioError {
  const message = `${place} was not connected: the stream that leads there is closed`
  return new CioError('ERR_CIO_CONNECT', message, { fault: 'remote' })
}
