/** An app whose connections are limited. */

import { Cio } from 'cio'
import { duplexPair } from 'cio/testing'
import { type SharedLimitOptions, sharedLimit } from '../../src/index.ts'
import type { Teardown } from './nats-server.ts'

/** The app, and `visit`: whether a connection gets through. */
export async function limited(
  t: Teardown,
  options: SharedLimitOptions,
): Promise<{ readonly app: Cio; readonly visit: () => Promise<boolean> }> {
  let admitted: (isWithin: boolean) => void = () => {}
  const app = new Cio()
    .useConnection(sharedLimit(options))
    .useConnection(() => admitted(true))
    .on('reject', () => admitted(false))
  const server = await app.listen({ bind: false })
  t.teardown(() => server.close({ timeout: 0 }))
  const visit = (): Promise<boolean> =>
    new Promise((resolve) => {
      admitted = resolve
      const [near, far] = duplexPair()
      far.on('error', () => {}).resume()
      server.accept(near)
    })
  return { app, visit }
}
