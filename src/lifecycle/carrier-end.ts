/** The end of a stream, such as a WebSocket, whose carrier has closed: the connection beneath it. */

import { CioError } from '../errors.ts'
import { isRemoteFault, reasonOfError } from './app-events.ts'
import { isDestroyedHere, ofCarrier } from './closed-errors.ts'
import type { StreamContext } from './stream-context.ts'

/**
 * The error with which to destroy a stream whose carrier has closed. The stream ends for the same
 * reason as its carrier. If this side destroyed the carrier, the stream is `served`, and only the
 * carrier reports an error.
 *
 * @param remote The other side, read before: Node loses the address when it destroys a socket.
 */
export function carrierError(carrier: StreamContext, remote: string): CioError {
  const { broken: cause } = carrier
  const isOurs = cause ? !isRemoteFault(cause, carrier) : isDestroyedHere(carrier)
  if (isOurs) {
    const message = `this side has closed the connection to ${remote}, which carried the stream`
    return ofCarrier(new CioError('ERR_CIO_CLOSED', message, { cause }))
  }
  const message = `the connection to ${remote}, which carried the stream, is closed`
  const end = cause && reasonOfError(cause, carrier)
  return new CioError('ERR_CIO_CLOSED', message, { fault: 'remote', cause, ...(end && { end }) })
}
