/** Rejects an untrusted sender that begins with a PROXY header. */

import type { Duplex } from 'node:stream'
import { CioError } from '../../src/errors.ts'
import type { ConnectionContext } from '../../src/lifecycle/connection.ts'
import { beginsHeader } from './header-reader.ts'

/**
 * Closes a connection whose untrusted sender begins with a header. It checks bytes as they arrive,
 * so that nothing waits, and reads nothing that the application has not asked for. Bytes that TLS
 * takes directly from the socket do not pass here; a header is not a handshake, and fails it.
 */
export function rejectHeader(ctx: ConnectionContext): () => void {
  const { stream } = ctx
  const push = stream.push.bind(stream)
  let beginning = Buffer.alloc(0)
  const stop = (): void => {
    if (stream.push === look) stream.push = push
  }
  const isHeader = (chunk: unknown): boolean => {
    if (!Buffer.isBuffer(chunk)) return false
    beginning = Buffer.concat([beginning, chunk.subarray(0, longestBeginning)])
    const begins = beginsHeader(beginning)
    if (begins !== undefined) stop()
    if (!begins) return false
    ctx.destroy(refusal(ctx, 'it sent a PROXY header, and its address is not in `trusted`'))
    return true
  }
  const look: Duplex['push'] = (chunk, encoding) => !isHeader(chunk) && push(chunk, encoding)
  stream.push = look
  if (stream.readableLength > 0) {
    const pieces: Buffer[] = []
    for (let piece; (piece = stream.read() as Buffer | null) !== null;) pieces.push(piece)
    const came = Buffer.concat(pieces)
    if (!isHeader(came)) stream.unshift(came)
  }
  return stop
}

const longestBeginning = 12

export function refusal({ remote }: ConnectionContext, why: string): CioError {
  const message = `${remote} was rejected by \`proxyProtocol\`: ${why}`
  return new CioError('ERR_CIO_REJECTED', message, { fault: 'remote' })
}
