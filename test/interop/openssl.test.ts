/** `openssl s_client` in front of a server: versions, client certificates, resumption. */

import test, { type ExecutionContext } from 'ava'
import { join } from 'node:path'
import { Cio, allowList } from '../../src/index.ts'
import { identity, path } from '../support/certificates.ts'
import { serve } from '../support/serve.ts'
import { recordEvents } from '../support/tls.ts'
import { type Outcome, execute, scratch } from './programs.ts'

const versions = [
  ['TLS 1.2', '-tls1_2'],
  ['TLS 1.3', '-tls1_3'],
] as const

/** Says which name it has verified, and hangs up. */
function greeting(allowed?: readonly string[]) {
  const app = new Cio()
  if (allowed) app.useConnection(allowList(allowed))
  app.useConnection((ctx) => void ctx.stream.write(`hello ${ctx.peer?.name ?? 'nobody'}`))
  return { app, told: recordEvents(app) }
}

async function client(
  t: ExecutionContext,
  port: number,
  words: readonly string[],
): Promise<Outcome> {
  const common = ['-connect', `127.0.0.1:${port}`, '-servername', 'localhost', '-ign_eof']
  const verify = [
    '-CAfile',
    path('root.crt'),
    '-verify_return_error',
    '-verify_hostname',
    'localhost',
  ]
  return execute(t, 'openssl', ['s_client', ...common, ...verify, ...words])
}

for (const [version, option] of versions) {
  const by = (name: string): string[] => [
    option,
    '-cert',
    path(`${name}.crt`),
    '-key',
    path(`${name}.key`),
  ]

  test(`a server is verified by its name over ${version}`, async (t) => {
    const { app, told } = greeting()
    const { port } = await serve(t, app, identity('server'))
    const { stdout, code } = await client(t, port, [option])
    t.is(code, 0)
    t.regex(stdout, /Verify return code: 0 \(ok\)/)
    t.true(stdout.includes(version === 'TLS 1.2' ? 'TLSv1.2' : 'TLSv1.3'))
    t.deepEqual(told, { reject: [], remoteError: [], error: [] })
  })

  test(`a client certificate is verified over ${version}, and others are rejected`, async (t) => {
    const { app, told } = greeting(['alice'])
    const mutual = { ...identity('server'), ca: path('root.crt'), requestCert: true }
    const { port } = await serve(t, app, mutual)
    const good = await client(t, port, by('alice'))
    t.is(good.code, 0)
    t.regex(good.stdout, /hello alice/)
    t.deepEqual(told, { reject: [], remoteError: [], error: [] })
    for (const name of ['mallory', 'otherCa', 'expired', 'selfSigned']) {
      await client(t, port, by(name))
    }
    await client(t, port, [option])
    t.is(told.reject.length, 5)
    t.deepEqual(told.error, [])
  })

  test(`a session is resumed over ${version}, and its client is still known`, async (t) => {
    const { app, told } = greeting(['alice'])
    const mutual = { ...identity('server'), ca: path('root.crt'), requestCert: true }
    const { port } = await serve(t, app, mutual)
    const file = join(scratch(t), 'session')
    const first = await client(t, port, [...by('alice'), '-sess_out', file])
    t.regex(first.stdout, /^New, /m)
    const second = await client(t, port, [...by('alice'), '-sess_in', file])
    t.regex(second.stdout, /^Reused, /m)
    t.regex(second.stdout, /hello alice/)
    t.deepEqual(told, { reject: [], remoteError: [], error: [] })
  })
}

test('a client of TLS 1.1 is refused, and its handshake is the fault of the client', async (t) => {
  const { app, told } = greeting()
  const { port } = await serve(t, app, identity('server'))
  const { code } = await client(t, port, ['-tls1_1', '-cipher', 'DEFAULT@SECLEVEL=0'])
  t.not(code, 0)
  t.is(told.error.length, 0)
  t.is(told.reject.length + told.remoteError.length, 1)
})
