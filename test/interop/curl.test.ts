/** curl, in front of `http()`. */

import test from 'ava'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Cio, allowList, contextOf, http } from '../../src/index.ts'
import { identity, path } from '../support/certificates.ts'
import { readAll, serve } from '../support/serve.ts'
import { recordEvents } from '../support/tls.ts'
import { execute, scratch } from './programs.ts'

const nothing = { reject: [], remoteError: [], error: [] }
const quiet = ['--silent', '--show-error', '--fail', '--max-time', '20']

/** Answers a request with what it was, and counts its connections. */
function server(allowed?: readonly string[]) {
  const app = new Cio()
  let connections = 0
  app.on('connection', () => (connections += 1))
  if (allowed) app.useConnection(allowList(allowed))
  app.useConnection(
    http(async (asked, response) => {
      const body = await readAll(asked)
      const name = contextOf(asked)?.peer?.name ?? 'nobody'
      response.end(`${asked.method} ${asked.url} ${body.length} ${name}\n`)
    }),
  )
  return { app, told: recordEvents(app), connections: () => connections }
}

test('curl reuses one connection for several requests', async (t) => {
  const { app, told, connections } = server()
  const { port } = await serve(t, app)
  const urls = [1, 2, 3].map((n) => `http://127.0.0.1:${port}/${n}`)
  const { stdout, stderr } = await execute(t, 'curl', [...quiet, ...urls])
  t.is(stdout, 'GET /1 0 nobody\nGET /2 0 nobody\nGET /3 0 nobody\n', stderr)
  t.is(connections(), 1)
  t.deepEqual(told, nothing)
})

for (const [title, words] of [
  ['of a length that is said before', []],
  ['in chunks', ['-H', 'Transfer-Encoding: chunked']],
  ['after `100 Continue`', ['-H', 'Expect: 100-continue']],
] as const) {
  test(`curl sends a body ${title}`, async (t) => {
    const { app, told } = server()
    const { port } = await serve(t, app)
    const file = join(scratch(t), 'body')
    writeFileSync(file, 'x'.repeat(3_000_000))
    const url = `http://127.0.0.1:${port}/body`
    const send = ['--data-binary', `@${file}`, ...words, url]
    const { stdout, stderr } = await execute(t, 'curl', [...quiet, ...send])
    t.is(stdout, 'POST /body 3000000 nobody\n', stderr)
    t.deepEqual(told, nothing)
  })
}

test('curl with a client certificate is let in, and without one is not', async (t) => {
  const { app, told } = server(['alice'])
  const mutual = { ...identity('server'), ca: path('root.crt'), requestCert: true }
  const { port } = await serve(t, app, mutual)
  const at = ['--cacert', path('root.crt'), '--resolve', `localhost:${port}:127.0.0.1`]
  const url = `https://localhost:${port}/`
  const alice = ['--cert', path('alice.crt'), '--key', path('alice.key')]
  const good = await execute(t, 'curl', [...quiet, ...at, ...alice, url])
  t.is(good.stdout, 'GET / 0 alice\n', good.stderr)
  t.deepEqual(told, nothing)
  const bad = await execute(t, 'curl', [...quiet, ...at, url])
  t.not(bad.code, 0)
  t.is(told.reject.length, 1)
  t.deepEqual(told.error, [])
})
