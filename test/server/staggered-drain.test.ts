import test, { type ExecutionContext } from 'ava'
import { Cio, type ServerContext } from '../../src/index.ts'
import { dial, serve } from '../support/serve.ts'
import { nextEvent } from '../support/transports.ts'

async function crowded(t: ExecutionContext, count: number): Promise<ServerContext> {
  const app = new Cio().useConnection(async (ctx) => {
    await new Promise((resolve) => ctx.draining.addEventListener('abort', resolve))
  })
  const server = await serve(t, app)
  for (let index = 0; index < count; index++) {
    const accepted = nextEvent(app, 'connection')
    const client = await dial(t, server)
    client.resume().on('end', () => client.end())
    await accepted
  }
  return server
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
