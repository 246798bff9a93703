import test from 'ava'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, rm } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { connect, createServer } from 'node:net'
import { Cio } from '../../src/index.ts'
import { ownPort } from '../support/ports.ts'
import { closeAfter, dial, readAll, serve } from '../support/serve.ts'
import { nextEvent, socketPath } from '../support/transports.ts'
import { built, flags } from '../support/typescript.ts'

const core = JSON.stringify(built(new URL('../../src/index.ts', import.meta.url)))

const echo = (): Cio =>
  new Cio().useConnection(async (ctx) => {
    for await (const chunk of ctx) ctx.stream.write(chunk)
  })

test('pause() refuses who comes, leaves who is there, and resume() accepts at the same port', async (t) => {
  const app = echo()
  const server = await serve(t, app, { port: await ownPort() })
  const { port } = server
  const accepted = nextEvent(app, 'connection')
  const before = await dial(t, server)
  await accepted
  server.pause()
  t.is(server.address, null)
  const [refused] = (await once(connect(port, '127.0.0.1'), 'error')) as [NodeJS.ErrnoException]
  t.is(refused.code, 'ECONNREFUSED')
  before.write('still here')
  t.is(String((await once(before, 'data'))[0]), 'still here')

  await server.resume()
  t.is(server.port, port)
  const after = await dial(t, server)
  after.write('back')
  t.is(String((await once(after, 'data'))[0]), 'back')
  t.is(server.connections.size, 2)
})

test('pause() and resume() may be called as often as one likes, and the last call holds', async (t) => {
  const server = await serve(t, echo(), { host: 'localhost', port: await ownPort() })
  server.pause()
  server.pause()
  const resumed = [server.resume(), server.resume()]
  server.pause()
  await Promise.all(resumed)
  t.is(server.address, null)
  await server.resume()
  await server.resume()
  t.not(server.address, null)
})

test('a Unix socket is gone while it pauses, and there again after', async (t) => {
  const path = socketPath(t)
  const app = echo()
  closeAfter(t, app)
  const server = await app.listen(path)
  server.pause()
  const [gone] = (await once(connect(path), 'error')) as [NodeJS.ErrnoException]
  t.is(gone.code, 'ENOENT')
  await server.resume()
  const client = connect(path)
  t.teardown(() => client.destroy())
  await once(client, 'connect')
})

for (const how of ['close', 'pause'] as const) {
  test(`${how}() leaves the socket file of a server that has taken the path meanwhile`, async (t) => {
    const path = socketPath(t)
    const app = echo()
    closeAfter(t, app)
    const server = await app.listen(path)
    await rm(path)
    const other = createServer((socket) => socket.end('other')).listen(path)
    t.teardown(() => other.close())
    await once(other, 'listening')
    await server[how]()
    const client = connect(path)
    t.teardown(() => client.destroy())
    const [answer] = (await once(client, 'data')) as [Buffer]
    t.is(answer.toString(), 'other')
    t.deepEqual(await readdir(dirname(path)), [basename(path)])
  })
}

test('resume() rejects where somebody else has taken the address, and may be tried again', async (t) => {
  const app = echo()
  app.on('error', () => t.fail('it was told twice'))
  const server = await serve(t, app, { port: await ownPort() })
  const { port } = server
  server.pause()
  const other = createServer().listen(port, '127.0.0.1')
  await once(other, 'listening')
  await t.throwsAsync(server.resume(), { code: 'EADDRINUSE' })
  other.close()
  await once(other, 'close')
  await server.resume()
  t.is(server.port, port)
})

test('a server that pauses closes as any other, and does not resume after', async (t) => {
  const server = await serve(t, echo())
  server.pause()
  t.deepEqual(await server.close(), { forced: 0 })
  await server.resume()
  t.is(server.address, null)
})

test('a server on a descriptor that it was given refuses to pause', async (t) => {
  const holder = createServer()
  holder.listen(0, '127.0.0.1')
  await once(holder, 'listening')
  t.teardown(() => holder.close())
  const { fd } = (holder as unknown as { _handle: { fd: number } })._handle
  const program = `
    import { Cio } from ${core}
    const app = new Cio()
    const server = await app.listen({ fd: 3 })
    try {
      server.pause()
    } catch ({ code, message }) {
      console.log(code, message, server.address.port)
    }
    await app.close()`
  const child = spawn(process.execPath, [...flags, '--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit', fd],
  })
  t.teardown(() => child.kill())
  const { port } = holder.address() as { port: number }
  t.regex(await readAll(child.stdout!), new RegExp(`^ERR_CIO_PAUSE .*descriptor 3 .* ${port}\n`))
})

test('a server on a given descriptor counts what it drops for want of others', async (t) => {
  const holder = createServer()
  holder.listen(0, '127.0.0.1')
  await once(holder, 'listening')
  const { port } = holder.address() as { port: number }
  const { fd } = (holder as unknown as { _handle: { fd: number } })._handle
  const program = `
    import { Cio } from ${core}
    const app = new Cio()
    const server = await app.listen({ fd: 3, reservedDescriptors: Infinity })
    app.on('overload', ({ dropped }) => console.log('overload', dropped))
    const wait = () => server.dropped > 0 ? console.log('dropped', server.dropped) : setTimeout(wait, 5)
    wait()
    console.log('listens')`
  // Half of the descriptors are still for clients.
  const child = spawn(
    'bash',
    [
      '-c',
      'ulimit -n 128; exec "$0" "$@"',
      process.execPath,
      ...flags,
      '--input-type=module',
      '--eval',
      program,
    ],
    { stdio: ['ignore', 'pipe', 'inherit', fd] },
  )
  t.teardown(() => child.kill())
  // Only the child accepts.
  holder.close()
  const lines = createInterface(child.stdout!)[Symbol.asyncIterator]()
  t.is((await lines.next()).value, 'listens')
  for (let index = 0; index < 128; index++) await dial(t, { port })
  t.is((await lines.next()).value, 'overload 0')
  t.regex(String((await lines.next()).value), /^dropped \d+$/)
})

test('a reserve of descriptors that is no count is refused', async (t) => {
  await t.throwsAsync(serve(t, echo(), { reservedDescriptors: -1 }), { code: 'ERR_CIO_OPTION' })
})
