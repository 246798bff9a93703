/** smtp-server, mounted on connections, which does its STARTTLS itself; swaks as the client. */

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { SMTPServer } from 'smtp-server'
import { Cio } from '../../src/index.ts'
import { contents, path } from '../support/certificates.ts'
import { readAll, serve } from '../support/serve.ts'
import { recordEvents } from '../support/tls.ts'
import { execute, scratch } from './programs.ts'

const nothing = { reject: [], remoteError: [], error: [] }

function server(t: ExecutionContext) {
  const mails: string[] = []
  const smtp = new SMTPServer({
    key: contents('server.key'),
    cert: contents('server.crt'),
    authOptional: true,
    disableReverseLookup: true,
    async onData(stream, session, done) {
      const text = await readAll(stream)
      mails.push(`${session.secure} ${text.includes('a line of text')} ${text.length}`)
      done()
    },
  })
  // It passes on the errors of its sockets, and this one has no place to report them.
  smtp.on('error', () => {})
  t.teardown(() => smtp.server.removeAllListeners())
  const app = new Cio().useConnection(async ({ stream }, next) => {
    smtp.server.emit('connection', stream as Socket)
    await next()
  })
  return { app, mails, told: recordEvents(app) }
}

async function swaks(t: ExecutionContext, port: number, ...words: string[]) {
  const common = ['--server', '127.0.0.1', '--port', String(port), '--timeout', '20']
  const mail = ['--to', 'bob@example.test', '--from', 'ann@example.test', '--ehlo', 'localhost']
  return execute(t, 'swaks', [...common, ...mail, ...words])
}

for (const [title, words, secure] of [
  ['in plain text', [], false],
  ['after STARTTLS', ['--tls', '--tls-verify', '--tls-ca-path', path('root.crt')], true],
] as const) {
  test(`swaks sends a mail ${title}, and its connection ends`, async (t) => {
    const { app, mails, told } = server(t)
    const listening = await serve(t, app)
    const closed = once(app, 'close')
    const file = join(scratch(t), 'body')
    writeFileSync(file, `a line of text\n${'x'.repeat(70)}\n`.repeat(2_000))
    const sent = await swaks(t, listening.port, ...words, '--body', `@${file}`)
    t.is(sent.code, 0, sent.stdout + sent.stderr)
    const [mail = ''] = mails
    t.regex(mail, new RegExp(`^${secure} true \\d{6}$`))
    await closed
    t.is(listening.connections.size, 0)
    t.deepEqual(told, nothing)
  })
}

test('swaks leaves in the midst, without a word, and its connection ends', async (t) => {
  const { app, mails } = server(t)
  const listening = await serve(t, app)
  const closed = once(app, 'close')
  await swaks(t, listening.port, '--drop-after-send', 'RCPT')
  await closed
  t.is(listening.connections.size, 0)
  t.deepEqual(mails, [])
})
