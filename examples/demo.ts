// npm run demo
//
// Mutual TLS from end to end: an echo server that accepts only alice, and three clients. It checks
// the results, and exits with 1 if a check fails.
//
// npm run demo -- --watch
//
// A gateway with traffic, and its live page; it runs until Ctrl-C (watched.ts).

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  Cio,
  type CertsOptions,
  type ServerContext,
  allowList,
  certs,
  relisten,
} from '../src/index.ts'
import { makeCertificates } from './certificates.ts'

if (process.argv.includes('--watch')) {
  const { watched } = await import('./watched.ts')
  await watched({ port: Number(process.env.PORT ?? 9_400) })
  process.exit()
}

const folder = await mkdtemp(join(tmpdir(), 'cio-demo-'))
const timer = setTimeout(() => fail(new Error('the demo took more than two minutes')), 120_000)
try {
  await demo()
} catch (error) {
  fail(error)
} finally {
  clearTimeout(timer)
  await rm(folder, { recursive: true })
}

async function demo(): Promise<void> {
  say('1. A CA and certificates for a server, alice and mallory, made with mkcert')
  await makeCertificates(folder, ['alice', 'mallory'])
  console.log(`   in ${folder}`)

  say('2. The pipelines, in order')
  const app = new Cio()
    .useServer(certs({ ...identity('server'), ca: join(folder, 'ca.crt') }))
    .useServer(relisten())
    .useConnection(allowList(['alice'], { reject: ({ stream }) => stream.end('not you\n') }))
    .useConnection(async function echo({ stream }, next) {
      stream.pipe(stream)
      await next()
    })
  console.log(String(app.inspect()))
  assert.deepEqual(app.pipelines.server.names, ['certs', 'relisten', 'listen'])
  assert.deepEqual(app.pipelines.connection.names, ['secure', 'allowList', 'echo'])

  const server = await app.listen({ port: 0, host: '127.0.0.1' })
  say(`3. The server listens on port ${server.port}`)

  say('4. alice connects')
  const answer = await talk(server, identity('alice'))
  console.log(`   she says "hello", and hears ${JSON.stringify(answer)}`)
  assert.equal(answer, 'hello')

  say('5. mallory connects, with a certificate of the same CA')
  const mallory = once(app, 'reject')
  const farewell = await talk(server, identity('mallory'))
  console.log(`   he says "hello", and hears ${JSON.stringify(farewell)}`)
  assert.equal(farewell, 'not you\n')
  await shows(mallory, /\("mallory"\) was rejected by `allowList`: it is not on the list/)

  say('6. A client connects without a certificate')
  const anonymous = once(app, 'reject')
  // In TLS 1.3 the client finishes first, before the server has checked it: it may fail here or later.
  const nothing = await talk(server, {}).catch((error: Error) => {
    console.log(`   the connection fails: ${error.message}`)
    return ''
  })
  assert.equal(nothing, '')
  await shows(anonymous, /was rejected by `secure`: it presented no certificate/)

  const { forced } = await server.close()
  assert.equal(forced, 0)
  assert.equal(server.connections.size, 0)
  say('7. The server has closed, and no connection is left. All is as it should be.')
}

/** Sends hello, and returns everything that the server sends. */
async function talk(server: ServerContext, credentials: CertsOptions): Promise<string> {
  const app = new Cio().useClient(certs({ ...credentials, ca: join(folder, 'ca.crt') }))
  await using client = await app.connect({ host: 'localhost', port: server.port, family: 4 })
  client.stream.end('hello')
  let heard = ''
  for await (const chunk of client) heard += chunk.toString()
  return heard
}

async function shows(event: Promise<unknown[]>, expected: RegExp): Promise<void> {
  const [error] = (await event) as [Error]
  console.log(`   the server reports: ${error.message}`)
  assert.match(error.message, expected)
}

function identity(name: string): { key: string; cert: string } {
  return { key: join(folder, `${name}.key`), cert: join(folder, `${name}.crt`) }
}

function say(line: string): void {
  console.log(`\n${line}`)
}

function fail(error: unknown): void {
  console.error('\nThe demo failed:', error)
  process.exitCode = 1
  setTimeout(() => process.exit(1), 1_000).unref()
}
