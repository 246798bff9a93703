/** Signals that are passed to many calls, or handed out, have no bound on listeners (nodejs/undici#3157). */

import test from 'ava'
import { getEventListeners } from 'node:events'
import { connect } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { Cio, json, requests, rpc } from '../src/index.ts'
import { openSocket, sleep } from '../src/kit.ts'
import { Pool } from '../src/pool.ts'
import { closeAfter, serve } from './support/serve.ts'

const many = 20

function listenTo(signal: AbortSignal): void {
  for (let count = 0; count < many; count++) signal.addEventListener('abort', () => {})
}

test('Node warns of no leak where one signal is passed to many calls, and keeps none of their listeners', async (t) => {
  const warnings: Error[] = []
  const warn = (warning: Error): void => void warnings.push(warning)
  process.on('warning', warn)
  t.teardown(() => process.off('warning', warn))

  const app = new Cio()
    .useConnection(json())
    .useConnection(rpc({ methods: { wait: () => turn() } }))
    .useClient(json())
    .useClient(rpc<{ wait(): void }>())
  const inOrder = new Cio()
    .useConnection(json())
    .useConnection(requests({ match: 'order', serve: () => turn(1) }))
    .useClient(json())
    .useClient(requests({ match: 'order' }))
  for (const one of [app, inOrder]) closeAfter(t, one)
  const { port } = await serve(t, app)
  const place = { host: '127.0.0.1', port }
  const client = await app.connect(place)
  const asking = await inOrder.connect({
    host: '127.0.0.1',
    port: (await serve(t, inOrder)).port,
  })
  const pool = new Pool(app, { targets: [place], connections: 1, maxPending: 1 })
  const empty = new Pool(app, { targets: [{ host: '127.0.0.1', port: 1 }], waitTimeout: 50 })
  for (const one of [pool, empty]) t.teardown(() => one.close({ timeout: 0 }))

  const calls: Record<string, (signal: AbortSignal) => Promise<unknown>> = {
    listen: async (signal) => (await app.listen({ host: '127.0.0.1', port: 0, signal })).close(),
    'listen that fails': (signal) => app.listen({ ...place, signal }),
    connect: async (signal) => (await app.connect({ ...place, signal })).close(),
    'connect that fails': (signal) => app.connect({ host: '127.0.0.1', port: 1, signal }),
    'connect with a signal handed out': async (signal) => {
      const createConnection = (_: object, handedOut: AbortSignal): ReturnType<typeof connect> => {
        listenTo(handedOut)
        return connect(place)
      }
      await (await app.connect({ signal, createConnection })).close()
    },
    'rpc.call': (signal) => client.rpc.call('wait', undefined, { signal }),
    'requests.call': (signal) => asking.requests.call(1, { signal }),
    'requests.stream': (signal) => asking.requests.stream(1, { signal }).next(),
    'pool.ready': (signal) => pool.ready({ signal }),
    'pool.use, with a signal handed out': (signal) =>
      pool.use(async (_client, both) => (listenTo(both), turn()), { signal }),
    'pool.use without a connection': (signal) => empty.use(() => {}, { signal }),
    openSocket: async (signal) => (await openSocket(place, signal)).destroy(),
    sleep: (signal) => sleep(1, signal),
  }
  for (const [name, call] of Object.entries(calls)) {
    const { signal } = new AbortController()
    await Promise.allSettled(Array.from({ length: many }, () => call(signal)))
    await turn()
    t.deepEqual(warnings, [], name)
    t.true(getEventListeners(signal, 'abort').length <= 1, name)
  }
})
