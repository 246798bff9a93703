/** A client of Cio in front of a real PostgreSQL, plain and by its STARTTLS. */

import test, { type ExecutionContext } from 'ava'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, copyFileSync } from 'node:fs'
import { join } from 'node:path'
import { Cio, type MessagesContext, type StreamContext, startTls } from '../../src/index.ts'
import { path } from '../support/certificates.ts'
import { ownPort } from '../support/ports.ts'
import { recordEvents } from '../support/tls.ts'
import { execute, listening, scratch, start } from './programs.ts'
import {
  type PostgresMessage,
  postgres,
  sslRequest,
  strings,
  textsOf,
} from './postgres-messages.ts'

const nothing = { reject: [], remoteError: [], error: [] }
const version3 = 196_608

/** It refuses to run as root. */
function unprivileged(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {}
  const id = (option: string): number =>
    Number(execFileSync('id', [option, 'postgres'], { encoding: 'utf8' }))
  return { uid: id('-u'), gid: id('-g') }
}

/** A database of its own, that lets anybody in. */
async function database(t: ExecutionContext): Promise<number> {
  const folder = scratch(t)
  const user = unprivileged()
  for (const [from, to] of [
    ['server.crt', 'server.crt'],
    ['server.key', 'server.key'],
  ] as const) {
    copyFileSync(path(from), join(folder, to))
    chmodSync(join(folder, to), 0o600)
    if (user.uid !== undefined) chownSync(join(folder, to), user.uid, user.gid!)
  }
  if (user.uid !== undefined) chownSync(folder, user.uid, user.gid!)
  const cluster = join(folder, 'cluster')
  const options = { ...user, cwd: folder, env: { ...process.env, LC_ALL: 'C.UTF-8' } }
  const make = ['-D', cluster, '-A', 'trust', '-U', 'cio', '--no-sync', '--no-instructions']
  const made = await execute(t, 'initdb', make, options)
  t.is(made.code, 0, made.stderr)
  const port = await ownPort()
  const settings = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: folder,
    ssl: 'on',
    ssl_cert_file: join(folder, 'server.crt'),
    ssl_key_file: join(folder, 'server.key'),
    fsync: 'off',
  }
  const words = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const { child } = start(t, 'postgres', ['-D', cluster, '-p', String(port), ...words], options)
  await listening(child, port)
  return port
}

type Context = StreamContext & MessagesContext<PostgresMessage, PostgresMessage | Buffer>

/** Messages until the server is ready again. */
async function untilReady({ messages }: Context): Promise<PostgresMessage[]> {
  const came: PostgresMessage[] = []
  for (;;) {
    const { done, value } = await messages.next()
    if (done) throw new Error('the server has left')
    if (value.type === 'Z') return came
    came.push({ ...value, body: Buffer.from(value.body) })
  }
}

async function query(ctx: Context, sql: string): Promise<string[][]> {
  await ctx.messages.send({ type: 'Q', body: strings(sql) })
  const came = await untilReady(ctx)
  const failed = came.find(({ type }) => type === 'E')
  if (failed) throw new Error(String(failed.body))
  return came.filter(({ type }) => type === 'D').map(textsOf)
}

/** Begins, asks, and leaves. */
async function talk(t: ExecutionContext, client: Context): Promise<void> {
  const version = Buffer.alloc(4)
  version.writeInt32BE(version3)
  const parameters = strings('user', 'cio', 'database', 'postgres', '')
  await client.messages.send({ body: Buffer.concat([version, parameters]) })
  await untilReady(client)
  t.deepEqual(await query(client, "select 6 * 7, 'ü'"), [['42', 'ü']])
  const rows = await query(client, "select n, repeat('x', n) from generate_series(1, 2000) n")
  t.is(rows.length, 2_000)
  t.true(rows.every(([n, text]) => text === 'x'.repeat(Number(n))))
  await t.throwsAsync(query(client, 'select 1/0'), { message: /22012/ })
  t.deepEqual(await query(client, 'select 1'), [['1']])
  await client.messages.send({ type: 'X', body: Buffer.alloc(0) })
}

test('a client begins, gets its rows and errors, and leaves, plain and over TLS', async (t) => {
  const port = await database(t)
  const plain = new Cio().useClient(postgres('client'))
  const told = recordEvents(plain)
  const client = await plain.connect({ port, host: '127.0.0.1' })
  await talk(t, client)
  await client.closed
  t.deepEqual(told, nothing)

  const request = Buffer.alloc(8)
  request.writeInt32BE(8)
  request.writeInt32BE(sslRequest, 4)
  const secure = new Cio()
    .useClient(startTls())
    .useClient(async (ctx, next) => {
      ctx.stream.write(request)
      await once(ctx.stream, 'readable')
      if (String(ctx.stream.read(1)) !== 'S') throw new Error('the server has no TLS')
      await ctx.startTls()
      await next()
    })
    .useClient(postgres('client'))
  const heard = recordEvents(secure)
  const tls = { ca: path('root.crt'), servername: 'localhost' }
  const encrypted = await secure.connect({ port, host: '127.0.0.1', ...tls })
  await talk(t, encrypted)
  await encrypted.closed
  t.is(encrypted.peer?.name, 'localhost')
  t.deepEqual(heard, nothing)
})
