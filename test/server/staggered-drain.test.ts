import test, { type ExecutionContext } from 'ava'
import { setTimeout as sleep } from 'node:timers/promises'
import { Cio, type ServerContext } from '../../src/index.ts'
import { identity } from '../support/certificates.ts'
import { dial, readAll, serve } from '../support/serve.ts'
import { nextEvent } from '../support/transports.ts'

async function crowded(t: ExecutionContext, count: number): Promise<ServerContext> {
  const app = new Cio().useConnection(async (ctx) => {
    await new Promise((resolve) => ctx.draining.addEventListener('abort', resolve))
  })
  const server = await serve(t, app)
  for (let index = 0; index < count; index++) await dialed(t, server)
  return server
}

/** One more client, when the server has accepted it. */
async function dialed(t: ExecutionContext, server: ServerContext): Promise<void> {
  const accepted = nextEvent(server.app, 'connection')
  const client = await dial(t, server)
  client.resume().on('end', () => client.end())
  await accepted
}

const asked = ({ connections }: ServerContext): number =>
  [...connections].filter(({ isDraining }) => isDraining).length

test('with a window, close() asks one connection after the other', async (t) => {
  const server = await crowded(t, 5)
  const left: number[] = []
  for (const { draining } of server.connections) {
    draining.addEventListener('abort', () => left.push(performance.now()))
  }
  const closed = server.close({ spread: 200, timeout: 60_000 })
  t.is(asked(server), 1)
  t.true(server.isDraining)
  t.is(server.address, null)
  t.deepEqual(await closed, { forced: 0 })
  const spread = left.at(-1)! - left[0]!
  t.true(left.length === 5 && spread > 100, `${spread} ms between the first and the last`)
})

test('without a window, all are asked at once', async (t) => {
  const server = await crowded(t, 5)
  const closed = server.close()
  t.is(asked(server), 5)
  await closed
})

test('a close() without a window overtakes one with it', async (t) => {
  const server = await crowded(t, 5)
  const slow = server.close({ spread: 50_000, timeout: 60_000 })
  t.is(asked(server), 1)
  const fast = server.close({ timeout: 60_000 })
  t.is(asked(server), 5)
  await Promise.all([slow, fast])
})

test('with minLifetime, close() asks the young connections later, and the old ones at once', async (t) => {
  const server = await crowded(t, 1)
  await sleep(200)
  await dialed(t, server)
  const [old, young] = [...server.connections]
  const closed = server.close({ minLifetime: 200, timeout: 60_000 })
  t.true(old!.isDraining)
  t.false(young!.isDraining)
  const began = performance.now()
  await new Promise((resolve) => young!.draining.addEventListener('abort', resolve))
  // A timer may be a little early.
  t.true(performance.now() - began > 190)
  t.deepEqual(await closed, { forced: 0 })
})

test('a young connection that ends by itself is not waited for', async (t) => {
  const server = await crowded(t, 1)
  const closed = server.close({ minLifetime: 50_000, timeout: 60_000 })
  t.is(asked(server), 0)
  for (const connection of server.connections) connection.destroy()
  t.deepEqual(await closed, { forced: 0 })
})

test('a close() without minLifetime overtakes one with it', async (t) => {
  const server = await crowded(t, 3)
  const slow = server.close({ minLifetime: 50_000, timeout: 60_000 })
  t.is(asked(server), 0)
  const fast = server.close({ timeout: 60_000 })
  t.is(asked(server), 3)
  await Promise.all([slow, fast])
})

test('a young client that has sent no byte of its handshake is destroyed after minLifetime', async (t) => {
  const app = new Cio().useConnection((_ctx, next) => next())
  const server = await serve(t, app, identity('server'))
  const accepted = nextEvent(app, 'connection')
  const client = await dial(t, server)
  await accepted
  const closed = server.close({ minLifetime: 100, timeout: 60_000 })
  t.is(server.connections.size, 1)
  t.deepEqual(await closed, { forced: 0 })
  t.is(await readAll(client).catch(() => ''), '')
})

test('minLifetime is a duration within the timeout', async (t) => {
  const server = await crowded(t, 0)
  for (const minLifetime of [-1, 101, Infinity]) {
    await t.throwsAsync(server.close({ minLifetime, timeout: 100 }), { code: 'ERR_CIO_OPTION' })
  }
})

test('connections that end by themselves leave nothing to wait for', async (t) => {
  const server = await crowded(t, 3)
  const closed = server.close({ spread: 50_000, timeout: 60_000 })
  for (const connection of server.connections) connection.destroy()
  t.deepEqual(await closed, { forced: 0 })
})

test('a window that is no duration within the timeout is refused', async (t) => {
  const server = await crowded(t, 0)
  for (const window of [-1, Infinity, 15_001]) {
    await t.throwsAsync(server.close({ spread: window }), { code: 'ERR_CIO_OPTION' })
  }
  t.false(server.isDraining)
})
