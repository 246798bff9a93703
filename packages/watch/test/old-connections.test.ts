/** A file of its own, since it moves the clock. */

import test from 'ava'
import { Cio, certs } from 'cio'
import { testCertificates } from 'cio/testing'
import { once } from 'node:events'
import { connect as connectTls } from 'node:tls'
import { watch } from '../src/index.ts'
import { closeAfter, dial, echoApp, ended, exchange, valueOf } from './support.ts'

test.serial(
  'old connections are counted as others are, though they share one record',
  async (t) => {
    let go = (): void => {}
    const waiting = new Promise<void>((resolve) => (go = resolve))
    const app = new Cio()
      .useConnection(async function patient({ stream }, next) {
        await once(stream, 'readable')
        await waiting
        await next()
      })
      .useConnection(async function echo({ stream }, next) {
        stream.pipe(stream)
        await next()
      })
    const watching = watch(app)
    closeAfter(t, app, watching)
    const server = await app.listen({ port: 0, host: '127.0.0.1' })
    const sockets = await Promise.all([dial(t, server), dial(t, server)])
    for (const socket of sockets) socket.write('hello')
    await Promise.all([...server.connections].map(({ stream }) => once(stream, 'readable')))
    later(120_000)
    watching.look()()
    for (const { age } of watching.connections().rows) t.true(age >= 120, String(age))

    // Both pass a step only now.
    const answers = sockets.map((socket) => once(socket, 'data'))
    go()
    await Promise.all(answers)
    const [first] = [...server.connections]
    const { open, steps } = watching.explain(first!.id)!
    t.is(open!.rx, 5)
    t.is(open!.idle, null)
    const stop = watching.look()
    t.true(watching.explain(first!.id)!.open!.idle! < 60)
    stop()
    t.is(watching.explain(first!.id)!.open!.idle, null)
    t.deepEqual(
      steps.map(({ name, outcome }) => `${name} ${outcome}`),
      ['secure passed', 'patient passed', 'echo is here'],
    )
    for (const socket of sockets) {
      const end = ended(app)
      socket.end()
      await end
    }
    const text = watching.metrics()
    t.is(valueOf(text, 'cio_connection_opened_total'), 2)
    t.is(valueOf(text, 'cio_connection_io_bytes_total', { network_io_direction: 'receive' }), 20)
    t.is(valueOf(text, 'cio_connection_duration_seconds_bucket', { le: '60' }), 0)
    t.is(valueOf(text, 'cio_connection_duration_seconds_count'), 2)
    for (const { duration, rx } of watching.closed()) {
      t.true(duration >= 120)
      t.is(rx, 5)
    }
  },
)

test.serial('an old connection with TLS keeps its count of the wire', async (t) => {
  const { clients, server: identity } = await testCertificates('alice')
  const app = echoApp().useServer(certs(identity))
  const watching = watch(app)
  closeAfter(t, app, watching)
  const server = await app.listen({ port: 0, host: '127.0.0.1' })
  const { key, cert, ca } = clients.alice
  const socket = connectTls({ port: server.port, host: 'localhost', key, cert, ca })
  t.teardown(() => socket.destroy())
  await exchange(socket, 'hello')
  later(120_000)
  watching.look()()
  const [row] = watching.connections().rows
  const detail = watching.connection(row!.id)!
  t.is(detail.rx, 5)
  t.true(detail.wireRx > 500, String(detail.wireRx))
  t.deepEqual(detail.steps, [])
})

/** Moves the clock that ages are read from. */
function later(milliseconds: number): void {
  const now = performance.now.bind(performance)
  performance.now = () => now() + milliseconds
}
