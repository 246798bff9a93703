import { once } from 'node:events'
import { Cio, type ConnectionContext } from '../../src/index.ts'
import { duplexPair } from './duplex-pair.ts'
import { closeAfter } from './serve.ts'

/** A context whose handler waits until it is over. */
export function waiting(t: { teardown(close: () => unknown): void }): ConnectionContext {
  const app = new Cio().useConnection(async (ctx) => {
    await once(ctx.signal, 'abort').catch(() => {})
  })
  app.on('error', () => {})
  const [near, far] = duplexPair()
  far.on('error', () => {})
  closeAfter(t, app)
  return app.handle(near)
}
