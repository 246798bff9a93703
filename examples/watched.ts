// npm run demo -- --watch
//
// A gateway with traffic, and its live page: devices that connect, send and leave; an unknown
// client that is refused again and again; a port scanner; a slow lookup. It runs until Ctrl-C.

import { spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  Cio,
  allowList,
  certs,
  drain,
  json,
  limit,
  reconnect,
  rpc,
  rpcError,
  timeout,
} from '../src/index.ts'
import { makeCertificates } from './certificates.ts'

/** The methods of the gateway. */
interface Gateway {
  store(params: { readonly values: string }): number
  forecast(): Promise<string>
  unlock(): never
}

const devices = Array.from({ length: 12 }, (_, number) => `device-${number + 1}`)

/** Starts the gateway, its traffic and its page; prints the address of the page. */
export async function watched({ port = 9_400 }: { readonly port?: number } = {}): Promise<void> {
  // The page is bundled from its sources in a clone.
  const install = fileURLToPath(new URL('../.ci/install.mjs', import.meta.url))
  spawnSync(process.execPath, [install, '--production', 'packages/watch'], { stdio: 'inherit' })
  const { alarms, watch } = await import('../packages/watch/src/index.ts')

  const folder = await mkdtemp(join(tmpdir(), 'cio-watched-'))
  await makeCertificates(folder, [...devices, 'mallory'])
  const identity = (name: string): { key: string; cert: string; ca: string } => {
    return {
      key: join(folder, `${name}.key`),
      cert: join(folder, `${name}.crt`),
      ca: join(folder, 'ca.crt'),
    }
  }

  const bounds = limit({ connections: 500 })
  const app = new Cio()
    .useServer(certs(identity('server')))
    .useServer(drain({ timeout: 2_000 }))
    .useConnection(bounds)
    .useConnection(timeout({ idle: 60_000 }))
    .useConnection(allowList([/device-\d+/]))
    .useConnection(async function lookup(_, next) {
      await sleep(2 + 40 * Math.random() ** 3)
      await next()
    })
    .useConnection(json())
    .useConnection(
      rpc<{}, Gateway>({
        methods: {
          store: ({ values }) => values.length,
          async forecast() {
            await sleep(20 + 400 * Math.random() ** 4)
            return 'rain'
          },
          unlock() {
            throw rpcError(1, 'the door is open already')
          },
        },
      }),
    )
  // The page shows the refused clients.
  app.on('reject', () => {})
  const watching = watch(app, { top: 5, runtime: true, limit: bounds })
  alarms(watching)
  const server = await app.listen({ port: 0, host: '127.0.0.1' })
  const page = await watching.listen(port).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EADDRINUSE') throw error
    console.log(`Port ${port} is in use.`)
    return watching.listen(0)
  })
  console.log(`\nThe page: ${page.url}\nCtrl-C ends it.`)

  const stop = new AbortController()
  void server.closed.then(async () => {
    stop.abort()
    watching[Symbol.dispose]()
    await page.close({ timeout: 1_000 })
    await rm(folder, { recursive: true })
  })
  for (const name of devices) void device(name, identity(name), server.port, stop.signal)
  void stranger(identity('mallory'), server.port, stop.signal)
  void scanner(server.port, stop.signal)
  await server.closed
}

/** Connects, sends for some seconds, and leaves, again and again. */
async function device(
  name: string,
  credentials: { key: string; cert: string; ca: string },
  port: number,
  signal: AbortSignal,
): Promise<void> {
  const app = new Cio()
    .useClient(reconnect())
    .useClient(certs(credentials))
    .useClient(json())
    .useClient(rpc<Gateway>())
  app.on('error', () => {})
  const eagerness = 1 + ((name.length * 7_919 + name.charCodeAt(name.length - 1)) % 5)
  while (!signal.aborted) {
    const client = await app.connect({ host: 'localhost', port, signal }).catch(() => undefined)
    if (!client) return
    const until = Date.now() + 4_000 + 40_000 * Math.random()
    while (Date.now() < until && client.connected) {
      const values = '.'.repeat(Math.ceil(2_000 * eagerness * Math.random()))
      await client.rpc.call('store', { values }).catch(() => {})
      const chance = Math.random()
      if (chance < 0.1) void client.rpc.call('forecast').catch(() => {})
      if (chance > 0.98) void client.rpc.call('unlock').catch(() => {})
      await sleep((400 * Math.random()) / eagerness)
    }
    await client.close()
    await sleep(1_000 * Math.random())
  }
}

/** Has a certificate of the same CA, but is not on the list. */
async function stranger(
  credentials: { key: string; cert: string; ca: string },
  port: number,
  signal: AbortSignal,
): Promise<void> {
  const app = new Cio().useClient(certs(credentials))
  app.on('error', () => {}).on('remoteError', () => {})
  while (!signal.aborted) {
    const client = await app.connect({ host: 'localhost', port, signal }).catch(() => undefined)
    await client?.closed
    await sleep(1_500)
  }
}

/** Connects and leaves without a byte, or sends something that is not TLS. */
async function scanner(port: number, signal: AbortSignal): Promise<void> {
  for (let turn = 0; !signal.aborted; turn++) {
    const socket = connect({ port, host: '127.0.0.1' })
    socket.on('error', () => {}).resume()
    if (turn % 3 === 0) socket.end('GET / HTTP/1.1\r\n\r\n')
    else socket.end()
    // Not by `once`, which rejects where nothing listens any more.
    await new Promise((resolve) => socket.once('close', resolve))
    await sleep(2_000)
  }
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}
