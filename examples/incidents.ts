// npx tsx examples/incidents.ts
//
// Five incidents of the guide "Watching a server", each made to happen, and what @cio/watch says of it.
// It takes some seconds, and needs a system with `sh` and /proc.

import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { type Socket, connect } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { type Watch, watch } from '../packages/watch/src/index.ts'
import { Cio, type ConnectionContext, certs, limit } from '../src/index.ts'
import { testCertificates } from '../src/testing.ts'

const [only] = process.argv.slice(2)
if (only === 'descriptors') await descriptors()
else {
  await expired()
  await loop()
  await slow()
  await hangs()
  // In its own process, with few descriptors.
  const file = fileURLToPath(import.meta.url)
  const node = [process.execPath, ...process.execArgv, file, 'descriptors']
  const words = node.map((word) => `'${word}'`).join(' ')
  spawnSync('sh', ['-c', `ulimit -n 128; exec ${words}`], { stdio: 'inherit' })
}

/** 1. A certificate has expired. */
async function expired(): Promise<void> {
  const { bad, server: identity } = await testCertificates('device-1')
  const app = quiet().useServer(certs(identity)).useConnection(echo)
  using watching = watch(app)
  const server = await app.listen({ port: 0, host: '127.0.0.1' })
  const { key, cert, ca } = bad.expired
  const over = end(app)
  connectTls({ port: server.port, host: 'localhost', key, cert, ca }).on('error', () => {})
  await over
  const { ended } = watching.explain({ name: 'device-1' })!
  console.log(
    `1. refused by ${ended!.refusal!.step}: ${ended!.refusal!.verdict}, claimed name ${ended!.claimed}`,
  )
  await app.close()
}

/** 2. A device connects in a loop. */
async function loop(): Promise<void> {
  const app = quiet()
    .useConnection(limit({ ratePerAddress: { count: 3, per: 60_000 } }))
    .useConnection(echo)
  using watching = watch(app)
  const server = await app.listen({ port: 0, host: '127.0.0.1' })
  for (let turn = 0; turn < 20; turn++) {
    const over = end(app)
    await dial(server.port).then((socket) => socket.destroy())
    await over
  }
  const [group] = watching.refused()
  console.log(`2. ${group!.count} refused by ${group!.step}: ${group!.reason}, from ${group!.who}`)
  await app.close()
}

/** 3. A lookup is slow. */
async function slow(): Promise<void> {
  let answer = (): void => {}
  const answered = new Promise<void>((resolve) => (answer = resolve))
  const app = quiet()
    .useConnection(async function lookup(_, next) {
      await answered
      await next()
    })
    .useConnection(echo)
  using watching = watch(app)
  const server = await app.listen({ port: 0, host: '127.0.0.1' })
  const sockets = await accepted(app, server.port, 5)
  const [step] = watching.snapshot().pipelines.connection.toSorted((a, b) => b.active - a.active)
  console.log(`3. ${step!.active} connections are in ${step!.name}`)
  answer()
  for (const socket of sockets) socket.destroy()
  await app.close()
}

/** 4. A deploy hangs. */
async function hangs(): Promise<void> {
  const app = quiet().useConnection(async function report({ signal }) {
    // It ignores `ctx.draining`, and continues until it is destroyed.
    await once(signal, 'abort')
  })
  using watching = watch(app)
  const server = await app.listen({ port: 0, host: '127.0.0.1' })
  const [socket] = await accepted(app, server.port, 1)
  const closed = app.close({ timeout: 300 })
  const { servers } = watching.snapshot()
  const { rows } = watching.connections({ sort: 'age' })
  console.log(`4. ${servers[0]!.state}; ${rows.length} connection is in ${rows[0]!.step}`)
  await closed
  console.log(`   at the deadline: ${watching.closed()[0]!.reason}`)
  socket!.destroy()
}

/** 5. Descriptors run out. */
async function descriptors(): Promise<void> {
  const app = quiet().useConnection(echo)
  using watching = watch(app)
  const server = await app.listen({ port: 0, host: '127.0.0.1' })
  const short = once(app, 'overload')
  const sockets: Socket[] = []
  const state = { isShort: false }
  void short.then(() => (state.isShort = true))
  while (!state.isShort) {
    const socket = connect({ port: server.port, host: '127.0.0.1' }).on('error', () => {})
    sockets.push(socket)
    await new Promise(setImmediate)
  }
  const [{ usage, limit: most }] = boundsOf(watching)
  console.log(`5. ${usage > most * 0.75 ? 'most' : 'few'} of ${most} descriptors are open`)
  console.log(`   readyz would say: ${server.address === null ? 'not ready' : 'ready'}`)
  for (const socket of sockets) socket.destroy()
  await app.close({ timeout: 0 })
}

function boundsOf(watching: Watch): [{ usage: number; limit: number }] {
  return watching.snapshot().bounds as unknown as [{ usage: number; limit: number }]
}

async function echo({ stream }: ConnectionContext, next: () => Promise<void>): Promise<void> {
  stream.pipe(stream)
  await next()
}

/** An app whose errors are on the page. */
function quiet(): Cio {
  return new Cio().on('reject', () => {}).on('error', () => {})
}

async function end(app: Cio): Promise<void> {
  await new Promise((resolve) => app.once('close', resolve))
}

async function dial(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' }).on('error', () => {})
  await new Promise((resolve) => socket.once('connect', resolve))
  return socket
}

/** Connects, and waits until the app has begun with each. */
async function accepted(app: Cio, port: number, count: number): Promise<Socket[]> {
  const sockets: Socket[] = []
  while (sockets.length < count) {
    const one = once(app, 'connection')
    sockets.push(await dial(port))
    await one
  }
  return sockets
}
