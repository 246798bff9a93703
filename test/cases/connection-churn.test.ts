/**
 * Fifty thousand connections that come and go: closed, reset, half-closed, in the middle of a
 * handshake, after an answer. If this fails, a little of each stays, and a server that anybody can
 * reach dies after days of uptime of what no test of one connection shows. Between the first and the
 * last of them the heap may not grow, and at the end everything that counts is back at zero.
 *
 * The peers are a process of their own, so that the heap that is measured is the server's alone.
 */

import test, { type ExecutionContext } from 'ava'
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import v8 from 'node:v8'
import vm from 'node:vm'
import { Cio, type ListenOptions, limit, timeout } from '../../src/index.ts'
import { identity } from '../support/certificates.ts'
import { serve } from '../support/serve.ts'
import { typescript } from '../support/typescript.ts'

const peers = fileURLToPath(new URL('../fixtures/churn-peers.ts', import.meta.url))
const run = promisify(execFile)
const atOnce = 50
/** Of a heap that other things live in too; a context left behind each time would be far more. */
const bytesOfOne = 100

v8.setFlagsFromString('--expose-gc')
const collect = vm.runInNewContext('gc') as () => void

async function heapUsed(): Promise<number> {
  for (let turn = 0; turn < 3; turn++) {
    collect()
    await new Promise(setImmediate)
  }
  return process.memoryUsage().heapUsed
}

async function churn(
  t: ExecutionContext,
  options: ListenOptions,
  { warmUp, total, tls }: { warmUp: number; total: number; tls: number },
): Promise<void> {
  const bounds = limit({ handshakes: 10, ratePerAddress: { count: 1e9, per: 1_000 } })
  const app = new Cio()
    .useConnection(bounds)
    .useConnection(timeout())
    .useConnection(async (ctx, next) => {
      ctx.signal.addEventListener('abort', () => {})
      await next()
    })
    .useConnection(async (ctx) => {
      for await (const chunk of ctx) ctx.stream.write(chunk)
    })
  const counts = { opened: 0, open: 0 }
  app.on('connection', () => {
    counts.opened++
    counts.open++
  })
  app.on('close', () => counts.open--)
  app.on('remoteError', () => {})
  app.on('error', (error) => t.fail(error.stack))
  const server = await serve(t, app, { ...options, handshakeTimeout: 2_000 })

  const come = async (count: number): Promise<void> => {
    const words = [`--import=${typescript}`, peers, server.port, count, atOnce, tls].map(String)
    const { stdout } = await run(process.execPath, words)
    t.is(Number(stdout), count)
    // The last ones have left, and this side has yet to hear of it.
    while (server.connections.size > 0 || counts.open > 0) {
      await new Promise((resolve) => app.once('close', resolve))
    }
  }

  await come(warmUp)
  const before = await heapUsed()
  await come(total - warmUp)
  const grown = (await heapUsed()) - before

  // Those that left before they were accepted never were there.
  t.true(counts.opened > total * 0.6, String(counts.opened))
  t.true(grown < (total - warmUp) * bytesOfOne, `${grown} bytes`)
  const { refused, ...left } = bounds.counts
  const zero = {
    connections: 0,
    addresses: 0,
    handshakes: 0,
    waiting: 0,
    handshakesWaiting: 0,
    queued: 0,
  }
  t.deepEqual(left, zero)
  t.is(refused.connections + refused.handshakes, 0)
  t.is(server.connections.size, 0)
  const sockets = new Promise<number>((resolve) =>
    server.server!.getConnections((_, count) => resolve(count)),
  )
  t.is(await sockets, 0)
}

test.serial('forty thousand connections leave nothing behind on a plain server', async (t) => {
  await churn(t, {}, { warmUp: 5_000, total: 40_000, tls: 0 })
})

test.serial('ten thousand connections leave nothing behind on a TLS server', async (t) => {
  await churn(t, identity('server'), { warmUp: 2_000, total: 10_000, tls: 10 })
})
