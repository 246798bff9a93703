/** Pings and pongs of a WebSocket (RFC 6455, section 5.5.2), which applications do not see. */

import type { WebSocket } from 'ws'
import { CioError } from '../../src/errors.ts'
import { handled } from '../../src/lifecycle/unawaited.ts'

/** Makes the function that sends a ping, and fulfils with the pong. */
export function pingsOf(client: WebSocket, remote: string): () => Promise<void> {
  let pong: Promise<void> | undefined
  return function ping() {
    // A pong may answer the last of several pings, so these share one.
    pong ??= handled(nextPong(client, remote).finally(() => (pong = undefined)))
    // A socket that fails closes the WebSocket.
    if (client.readyState === client.OPEN) client.ping(undefined, undefined, () => {})
    return pong
  }
}

function nextPong(client: WebSocket, remote: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const heard = (): void => {
      client.off('close', lost)
      resolve()
    }
    const lost = (): void => {
      client.off('pong', heard)
      const message = `the WebSocket of ${remote} closed before its pong`
      reject(new CioError('ERR_CIO_CLOSED', message, { fault: 'remote' }))
    }
    if (client.readyState === client.CLOSED) return lost()
    client.once('pong', heard)
    client.once('close', lost)
  })
}
