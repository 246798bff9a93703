/**
 * More clients than the process may have descriptors. Node says nothing at all of that: libuv accepts
 * each further connection, closes it, and no event tells. Clients see a server that hangs up, files
 * cannot be opened, targets not be reached, and the operator sees nothing. So a server here stops
 * listening while some are left, says so, and listens again when there are more.
 */

import test, { type ExecutionContext } from 'ava'
import { type Socket, connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { ownPort } from '../support/ports.ts'
import { Program } from '../support/program.ts'

const host = '127.0.0.1'
// Node and its loader of TypeScript want some fifty at their start.
const limit = 128
const few = ['bash', '-c', `ulimit -n ${limit}; exec "$0" "$@"`]

async function start(t: ExecutionContext, options: object = {}) {
  // It stops listening meanwhile, and comes back to it.
  const port = await ownPort()
  const program = new Program(t, 'overload-server.ts', { host, port, ...options }, few)
  await program.until('listening')
  return { program, port }
}

/** A client, or undefined where it was refused. */
async function dial(t: ExecutionContext, port: number): Promise<Socket | undefined> {
  const socket = connect(port, host)
  t.teardown(() => socket.destroy())
  const connected = await new Promise((resolve) => {
    socket.once('connect', () => resolve(true))
    socket.once('error', () => resolve(false))
  })
  socket.on('error', () => {})
  return connected ? socket : undefined
}

/** What the server says to a command; undefined if it has hung up. */
async function ask(client: Socket, command: string): Promise<string | undefined> {
  if (client.destroyed) return undefined
  const answer = new Promise<string | undefined>((resolve) => {
    client.once('data', (chunk: Buffer) => resolve(chunk.toString().trim()))
    client.once('close', () => resolve(undefined))
  })
  client.write(`${command}\n`)
  return answer
}

/** Tries until the server lets somebody in. */
async function comeIn(t: ExecutionContext, port: number): Promise<Socket> {
  for (;;) {
    const client = await dial(t, port)
    if (client && (await ask(client, 'read'))) return client
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

test('a server that runs out of descriptors keeps some, tells, lives, and recovers', async (t) => {
  const { program, port } = await start(t)
  const served: Socket[] = []
  for (let index = 0; index < 2 * limit; index++) {
    const client = await dial(t, port)
    if (client && (await ask(client, 'read'))) served.push(client)
  }
  t.true(served.length > 4 && served.length < limit - 16, `${served.length} were served`)
  t.like(await program.until('overload'), { limit, listens: false })
  for (const client of served) t.regex((await ask(client, 'read')) ?? '', /^node/)

  for (const client of served) client.destroy()
  t.regex((await ask(await comeIn(t, port), 'read')) ?? '', /^node/)
  t.is(program.lines.filter(({ event }) => event === 'error').length, 0)
})

test('a server that is short listens again only when clearly more are free', async (t) => {
  const { program, port } = await start(t)
  const served: Socket[] = []
  const overload = program.until('overload')
  const seen = overload.then(() => true)
  while (!(await Promise.race([seen, delay(20, false)]))) {
    const client = await dial(t, port)
    if (client && (await ask(client, 'read'))) served.push(client)
  }
  // Its own descriptor is free now, and those of two clients: after three more it would be short again.
  for (const client of served.splice(0, 2)) client.destroy()
  for (const until = performance.now() + 3_500; performance.now() < until; await delay(20)) {
    t.false((await dial(t, port)) !== undefined)
  }
  // It does not fall silent meanwhile.
  t.like(await program.until('overload', 2), { limit, listens: false })
  for (const client of served.splice(0, 20)) client.destroy()
  t.regex((await ask(await comeIn(t, port), 'read')) ?? '', /^node/)
  t.is(program.lines.filter(({ event }) => event === 'error').length, 0)
})

test('descriptors that others than clients have taken are noticed, too', async (t) => {
  const { program, port } = await start(t)
  const client = await comeIn(t, port)
  const overload = program.until('overload')
  const told = overload.then(() => true)
  // Again and again: one may be given back by what the program has just begun with.
  do {
    t.is(await ask(client, 'take'), 'taken')
  } while (!(await Promise.race([told, delay(200, false)])))
  t.like(await overload, { limit, listens: false })
  t.is(await dial(t, port), undefined)
  t.is(await ask(client, 'give'), 'given')
  t.truthy(await comeIn(t, port))
})

test('without a reserve Node accepts and closes what is too much, and nothing tells', async (t) => {
  // Should this fail one day, Node has become honest, and src/server/file-descriptors.ts may go.
  const { program, port } = await start(t, { reservedDescriptors: 0 })
  let hungUp = 0
  for (let index = 0; index < 2 * limit; index++) {
    const client = await dial(t, port)
    if (client && (await ask(client, 'hello')) === undefined) hungUp += 1
  }
  t.true(hungUp > 0)
  t.deepEqual(
    program.lines.map(({ event }) => event),
    ['listening'],
  )
})
