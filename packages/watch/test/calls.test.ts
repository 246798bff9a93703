import test from 'ava'
import { Cio, type LimitOptions, json, limit, log, rpc, rpcError } from 'cio'
import { once } from 'node:events'
import { Writable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import { watch } from '../src/index.ts'
import { closeAfter, dial, echoApp, ended, exchange, valueOf } from './support.ts'

interface Methods {
  add(params: [number, number]): number
  fail(): never
  slow(): Promise<void>
}

function callingApp(slow: () => Promise<void> = () => Promise.resolve()) {
  return new Cio()
    .useConnection(json())
    .useConnection(
      rpc<{}, Methods>({
        methods: {
          add: ([a, b]) => a + b,
          fail() {
            throw rpcError(7, 'no')
          },
          slow,
        },
      }),
    )
    .useClient(json())
    .useClient(rpc<Methods>())
}

test('calls of rpc are counted by method and code, on both sides', async (t) => {
  const app = callingApp()
  const watching = watch(app)
  closeAfter(t, app, watching)
  const server = await app.listen({ host: '127.0.0.1', port: 0 })
  const { rpc: remote } = await app.connect({ host: '127.0.0.1', port: server.port })
  t.is(await remote.call('add', [1, 2]), 3)
  await remote.call('add', [1, 2])
  await t.throwsAsync(remote.call('fail'))
  const text = watching.metrics()
  for (const side of ['server', 'client']) {
    const name = `rpc_${side}_call_duration_seconds_count`
    t.is(valueOf(text, name, { rpc_method: 'add' }), 2, side)
    const failed = { rpc_method: 'fail', rpc_status_code: '7', error_type: '7' }
    t.is(valueOf(text, name, failed), 1, side)
    t.is(valueOf(text, name, { rpc_system_name: 'jsonrpc' }), 3)
  }
  const { methods } = watching.snapshot().calls
  const add = methods.find(({ side, method }) => side === 'server' && method === 'add')!
  t.deepEqual([add.count, add.failed, add.lately], [2, 0, 2])
  t.true(add.p50! >= 0)
})

test('methods that a peer makes up are one series', async (t) => {
  const app = callingApp()
  const watching = watch(app)
  closeAfter(t, app, watching)
  const socket = await dial(t, await app.listen({ host: '127.0.0.1', port: 0 }))
  for (let index = 0; index < 20; index++) {
    socket.write(`{"jsonrpc":"2.0","id":${index},"method":"made-up-${index}"}\n`)
    await once(socket, 'data')
  }
  const text = watching.metrics()
  t.false(text.includes('made-up'))
  const labels = { rpc_method: '_OTHER', rpc_status_code: '-32601' }
  t.is(valueOf(text, 'rpc_server_call_duration_seconds_count', labels), 20)
  t.is(watching.snapshot().calls.methods.length, 1)
})

test('a call that ends without a response has the code of its error', async (t) => {
  const app = callingApp(() => new Promise(() => {}))
  const watching = watch(app)
  closeAfter(t, app, watching)
  const server = await app.listen({ host: '127.0.0.1', port: 0 })
  const { rpc: remote } = await app.connect({ host: '127.0.0.1', port: server.port })
  await t.throwsAsync(remote.call('slow', undefined, { timeout: 1 }))
  const labels = { rpc_method: 'slow', error_type: 'ERR_CIO_CALL_TIMEOUT' }
  t.is(valueOf(watching.metrics(), 'rpc_client_call_duration_seconds_count', labels), 1)
})

test('a slow call is remembered, with its connection', async (t) => {
  const app = callingApp(() => setTimeout(150))
  const watching = watch(app)
  closeAfter(t, app, watching)
  const server = await app.listen({ host: '127.0.0.1', port: 0 })
  const { rpc: remote } = await app.connect({ host: '127.0.0.1', port: server.port })
  await remote.call('add', [1, 2])
  await remote.call('slow')
  const { slowest } = watching.snapshot().calls
  const [ctx] = server.connections
  const one = slowest.find(({ side, method }) => side === 'server' && method === 'slow')!
  t.is(one.connection, ctx!.id)
  t.true(one.duration >= 0.1)
  t.true(
    slowest.every(({ duration }, index) => duration <= (slowest[index - 1]?.duration ?? Infinity)),
  )
})

test('limits are in the metrics and in the bounds, as the option limit says', async (t) => {
  const options: LimitOptions = { connections: 10, handshakes: Infinity }
  const bounds = limit(options)
  const app = echoApp().useConnection(bounds)
  const watching = watch(app, { limit: bounds })
  closeAfter(t, app, watching)
  await exchange(await dial(t, await app.listen({ host: '127.0.0.1', port: 0 })), 'x')
  const text = watching.metrics()
  t.is(
    valueOf(text, 'cio_limit_usage', { cio_limit_name: 'connections' }),
    bounds.counts.connections,
  )
  t.is(bounds.counts.connections, 1)
  t.is(valueOf(text, 'cio_limit_limit', { cio_limit_name: 'connections' }), 10)
  t.true(Number.isNaN(valueOf(text, 'cio_limit_limit', { cio_limit_name: 'handshakes' })), 'none')
  const [bound] = watching.snapshot().bounds.filter(({ name }) => name === 'connections')
  t.deepEqual(bound, { name: 'connections', usage: 1, limit: 10 })
})

test('lines that a log suppresses are in the metrics, as the option log says', async (t) => {
  const to = new Writable({ write: (_chunk, _encoding, done) => done() })
  const lines = log({ to, rate: { count: 1, per: 3_600_000 } })
  const app = echoApp().useServer(lines)
  const watching = watch(app, { log: lines })
  closeAfter(t, app, watching)
  const server = await app.listen({ host: '127.0.0.1', port: 0 })
  for (let index = 0; index < 3; index++) {
    const socket = await dial(t, server)
    await exchange(socket, 'x')
    const end = ended(app)
    socket.end()
    await end
  }
  t.is(lines.counts.suppressed.remote_ended, 2)
  const text = watching.metrics()
  t.is(valueOf(text, 'cio_log_suppressed_total', { cio_end_reason: 'remote_ended' }), 2)
  t.is(valueOf(text, 'cio_log_dropped_total'), 0)
})

test('what is no limit and no log is refused', (t) => {
  t.throws(() => watch(new Cio(), { limit: {} as never }), { code: 'ERR_CIO_OPTION' })
  t.throws(() => watch(new Cio(), { log: {} as never }), { code: 'ERR_CIO_OPTION' })
})
