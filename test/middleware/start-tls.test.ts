import test, { type ExecutionContext } from 'ava'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type Socket, createServer } from 'node:net'
import { PassThrough } from 'node:stream'
import { type ConnectionOptions, TLSSocket, connect, createSecureContext } from 'node:tls'
import {
  type ListenOptions,
  type StartTlsOptions,
  Cio,
  allowList,
  lines,
  startTls,
  timeout,
  layer,
} from '../../src/index.ts'
import { contents, identity, loaded, path } from '../support/certificates.ts'
import { dial, listenBare, readAll, serve } from '../support/serve.ts'
import { recordEvents } from '../support/tls.ts'
import { nextEvent } from '../support/transports.ts'

const mutual = { ...identity('server'), ca: path('root.crt'), rejectUnauthorized: false }

/** A small SMTP server: it keeps the input before TLS, to show that it forgets it. */
function mail(options?: StartTlsOptions) {
  const done: string[] = []
  const app = new Cio()
    .useConnection(startTls(options))
    .useConnection(lines())
    .useConnection(async function dialogue(ctx) {
      const { messages } = ctx
      await messages.send('220 mail ESMTP')
      for await (const line of messages) {
        done.push(`${line} ${ctx.encrypted}`)
        const [command, ...rest] = line.split(' ')
        if (command === 'EHLO') await messages.sendMany(['250-mail', '250 STARTTLS'])
        else if (command === 'STARTTLS' && rest.length > 0) await messages.send('501 no parameters')
        else if (command === 'STARTTLS') await ctx.startTls(() => messages.send('220 go ahead'))
        else if (command === 'WHO') await messages.send(`250 ${ctx.peer?.name ?? 'nobody'}`)
        else if (command === 'QUIT') return messages.send('221 bye')
        else await messages.send('502 what?')
      }
    })
  return { app, done, told: recordEvents(app) }
}

/** Reads that many lines of a socket, and nothing after them. */
async function hear(socket: Socket, count: number): Promise<string[]> {
  let text = ''
  while (text.split('\n').length <= count) {
    const chunk = socket.read() as Buffer | null
    if (chunk) text += chunk.toString()
    else if (socket.readableEnded || socket.destroyed) break
    else await Promise.race([once(socket, 'readable'), once(socket, 'end')])
  }
  return text.split('\n').slice(0, -1)
}

/** A client that has received the go-ahead. */
async function begun(t: ExecutionContext, server: { port: number }): Promise<Socket> {
  const raw = await dial(t, server)
  await hear(raw, 1)
  raw.write('STARTTLS\n')
  t.deepEqual(await hear(raw, 1), ['220 go ahead'])
  return raw
}

async function secured(t: ExecutionContext, raw: Socket, options: ConnectionOptions = {}) {
  const ca = contents('root.crt')
  const client = connect({ socket: raw, servername: 'localhost', ca, ...options })
  t.teardown(() => client.destroy())
  client.on('error', () => {})
  await once(client, 'secureConnect')
  return client
}

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`a connection upgrades to TLS in the middle of its dialogue, with its identity (${version})`, async (t) => {
    const { app, done, told } = mail()
    const server = await serve(t, app, mutual)
    const secure = nextEvent(app, 'secure')
    const client = await secured(t, await begun(t, server), {
      ...loaded('alice'),
      maxVersion: version,
    })
    const [ctx] = await secure
    t.true(ctx.socket instanceof TLSSocket && ctx.stream === ctx.socket)
    client.write('WHO\nQUIT\n')
    t.is(await readAll(client), '250 alice\n221 bye\n')
    t.deepEqual(done, ['STARTTLS false', 'WHO true', 'QUIT true'])
    t.deepEqual(told, { reject: [], remoteError: [], error: [] })
  })

  test(`openssl s_client -starttls smtp upgrades (-${version})`, async (t) => {
    const { app, done } = mail()
    const { port } = await serve(t, app, mutual)
    const option = version === 'TLSv1.2' ? '-tls1_2' : '-tls1_3'
    const child = spawn(
      'openssl',
      [
        's_client',
        '-quiet',
        '-starttls=smtp',
        `-connect=127.0.0.1:${port}`,
        `-CAfile=${path('root.crt')}`,
        '-verify_return_error',
        '-verify_hostname=localhost',
        `-cert=${path('alice.crt')}`,
        `-key=${path('alice.key')}`,
        option,
      ].flatMap((parameter) => parameter.split('=')),
      { stdio: ['pipe', 'pipe', 'ignore'] },
    )
    t.teardown(() => child.kill())
    child.stdin.write('WHO\nQUIT\n')
    t.regex(await readAll(child.stdout), /250 alice\r?\n221 bye/)
    t.deepEqual(done.slice(-3), ['STARTTLS false', 'WHO true', 'QUIT true'])
  })
}

test('a command in the same segment as STARTTLS is not executed, and ends the connection', async (t) => {
  const { app, done, told } = mail()
  const server = await serve(t, app, mutual)
  for (const more of ['WHO\n', 'W', '\x16\x03\x01\0']) {
    const raw = await dial(t, server)
    await hear(raw, 1)
    const closed = nextEvent(app, 'close')
    raw.write(`STARTTLS\n${more}`)
    t.is(await readAll(raw).catch(() => ''), '', 'it is not told to go ahead')
    await closed
  }
  t.deepEqual(
    told.remoteError.map((error) => (error as { code?: string }).code),
    Array.from({ length: 3 }, () => 'ERR_CIO_INJECTION'),
  )
  t.regex(told.remoteError[0]!.message, /127\.0\.0\.1/)
  t.deepEqual(done, ['STARTTLS false', 'STARTTLS false', 'STARTTLS false'])
})

test('a command in the next segment is not executed, before the go-ahead or after it', async (t) => {
  const { app, done, told } = mail()
  const server = await serve(t, app, mutual)
  const raw = await begun(t, server)
  const closed = nextEvent(app, 'close')
  raw.write('WHO is there\n')
  await readAll(raw).catch(() => {})
  await closed
  t.regex((told.remoteError[0] as { code?: string }).code ?? '', /INJECTION|HANDSHAKE/)

  // It arrives while the go-ahead is being sent.
  const come = new Cio()
    .useConnection(startTls())
    .useConnection(lines())
    .useConnection(async (ctx) => {
      for await (const line of ctx.messages) {
        done.push(line)
        await ctx.startTls(async () => {
          await ctx.messages.send('more?')
          await once(ctx.stream, 'readable')
        })
      }
    })
  const alsoTold = recordEvents(come)
  const client = await dial(t, await serve(t, come, mutual))
  const over = nextEvent(come, 'close')
  client.write('STARTTLS\n')
  await hear(client, 1)
  client.write('WHO\n')
  await over
  t.like(alsoTold.remoteError[0], { code: 'ERR_CIO_INJECTION' })
  t.deepEqual(done, ['STARTTLS false', 'STARTTLS'])
})

test('the dialogue can reject STARTTLS with parameters, and the client can retry', async (t) => {
  const { app } = mail()
  const raw = await dial(t, await serve(t, app, mutual))
  await hear(raw, 1)
  raw.write('STARTTLS now\n')
  t.deepEqual(await hear(raw, 1), ['501 no parameters'])
  raw.write('STARTTLS\n')
  await hear(raw, 1)
  const client = await secured(t, raw)
  client.write('WHO\nQUIT\n')
  t.is(await readAll(client), '250 nobody\n221 bye\n')
})

test('a second upgrade is refused before anything is sent, as the fault of the caller', async (t) => {
  const { app, told } = mail()
  const client = await secured(t, await begun(t, await serve(t, app, mutual)))
  const closed = nextEvent(app, 'close')
  client.write('STARTTLS\n')
  t.is(await readAll(client).catch(() => ''), '')
  await closed
  t.like(told.remoteError[0], { code: 'ERR_CIO_START_TLS', fault: 'remote' })
})

test('a client that stalls after the go-ahead is disconnected after `handshakeTimeout`', async (t) => {
  const { app, told } = mail()
  const closed = nextEvent(app, 'close')
  const raw = await begun(t, await serve(t, app, { ...mutual, handshakeTimeout: 500 }))
  t.is(await readAll(raw).catch(() => ''), '')
  await closed
  t.like(told.remoteError[0], { code: 'ERR_CIO_HANDSHAKE_TIMEOUT' })
})

test('a client that does not read the go-ahead is disconnected after `timeout`', async (t) => {
  const app = new Cio()
    .useConnection(startTls({ timeout: 50 }))
    .useConnection(lines({ maxQueueSize: Infinity }))
    .useConnection(async (ctx) => {
      await ctx.startTls(() => void ctx.messages.send('x'.repeat(32 * 1024 * 1024)))
    })
  const told = recordEvents(app)
  const closed = nextEvent(app, 'close')
  await dial(t, await serve(t, app, mutual))
  await closed
  t.like(told.remoteError[0], { code: 'ERR_CIO_HANDSHAKE_TIMEOUT' })
})

test('a failed handshake ends the connection, even if the error is caught', async (t) => {
  const app = new Cio().useConnection(startTls()).useConnection(async (ctx) => {
    await ctx.startTls(() => ctx.stream.write('go\n')).catch(() => {})
    ctx.stream.write('in plain text\n')
    t.true(ctx.stream.destroyed && ctx.isClosed)
    t.is(ctx.peer, null)
    for (const stream of [ctx.stream, ctx.transport!]) t.true(stream.listenerCount('error') > 0)
  })
  const told = recordEvents(app)
  const server = await serve(t, app, mutual)
  const closed = nextEvent(app, 'close')
  const raw = await dial(t, server)
  await hear(raw, 1)
  raw.write('\x16\x03\x01\0\x05wrong')
  t.notRegex(await readAll(raw).catch(() => ''), /plain/)
  await closed
  t.like(told.remoteError[0], { code: 'ERR_CIO_HANDSHAKE' })
})

test('a reset at any moment is not a local fault', async (t) => {
  const { app, told } = mail()
  const server = await serve(t, app, mutual)
  for (const lastWords of ['', 'STARTTLS\n', '\x16\x03\x01']) {
    const closed = nextEvent(app, 'close')
    const raw = lastWords.startsWith('\x16') ? await begun(t, server) : await dial(t, server)
    if (lastWords) await new Promise((written) => raw.write(lastWords, 'latin1', written))
    raw.resetAndDestroy()
    await closed
  }
  t.deepEqual(told.error, [])
})

test('a list after it admits a verified client', async (t) => {
  const app = new Cio()
    .useConnection(startTls())
    .useConnection(async function begin(ctx, next) {
      await ctx.startTls(() => ctx.stream.write('go\n'))
      await next()
    })
    .useConnection(timeout())
    .useConnection(allowList(['alice']))
    .useConnection((ctx) => void ctx.stream.write('in'))
  const told = recordEvents(app)
  const server = await serve(t, app, { ...mutual, rejectUnauthorized: true })
  const visit = async (options: ConnectionOptions): Promise<string> => {
    const raw = await dial(t, server)
    await hear(raw, 1)
    return readAll(await secured(t, raw, options)).catch(() => '')
  }
  t.is(await visit(loaded('alice')), 'in')
  t.is(await visit(loaded('bob')), '')
  t.is(await visit({}), '')
  t.is(told.reject.length, 2)
})

test('a byte protocol such as PostgreSQL upgrades in the middle of its dialogue', async (t) => {
  const app = new Cio().useConnection(startTls()).useConnection(async (ctx) => {
    for await (const chunk of ctx) {
      t.is(String(chunk), 'SSLRequest')
      break
    }
    await ctx.startTls(() => ctx.stream.write('S'))
    for await (const chunk of ctx) ctx.stream.write(chunk)
  })
  const raw = await dial(t, await serve(t, app, mutual))
  raw.write('SSLRequest')
  t.is(String((await once(raw, 'data'))[0]), 'S')
  const client = await secured(t, raw)
  client.end('select 1')
  t.is(await readAll(client), 'select 1')
})

/** A client that speaks the dialogue, and then sends WHO. */
function asking(answers: string[]) {
  return new Cio()
    .useClient(startTls())
    .useClient(lines())
    .useClient(async function begin(ctx, next) {
      const { messages } = ctx
      await messages.next()
      await messages.send('STARTTLS')
      const { value } = await messages.next()
      if (value !== '220 go ahead') throw new Error(`no TLS: ${value}`)
      await ctx.startTls()
      await messages.send('WHO')
      answers.push(String((await messages.next()).value), String(ctx.peer?.name))
      await next()
    })
}

test('a client upgrades to TLS, and has the identity of the server', async (t) => {
  const { app, done } = mail()
  const { port } = await serve(t, app, mutual)
  const answers: string[] = []
  const client = await asking(answers).connect({
    host: 'localhost',
    port,
    ca: path('root.crt'),
    ...identity('alice'),
  })
  t.true(client.encrypted)
  await client.close()
  t.deepEqual(answers, ['250 alice', 'localhost'])
  t.deepEqual(done, ['STARTTLS false', 'WHO true'])
})

test('a client does not continue with a server of another name', async (t) => {
  const { app } = mail()
  const { port } = await serve(t, app, mutual)
  const answers: string[] = []
  const options = { host: 'localhost', port, ca: path('root.crt'), servername: 'elsewhere.test' }
  await t.throwsAsync(asking(answers).connect(options), { code: 'ERR_CIO_REJECTED' })
  t.deepEqual(answers, [])
})

test('a client rejects an answer that was injected after the go-ahead', async (t) => {
  const secureContext = createSecureContext(loaded('server'))
  for (const injected of ['250 mallory\n', '2']) {
    const bare = createServer((socket) => {
      socket.on('error', () => {})
      socket.write('220 mail\n')
      socket.once('data', () => {
        socket.write(`220 go ahead\n${injected}`)
        new TLSSocket(socket, { isServer: true, secureContext }).on('error', () => {})
      })
    })
    const port = await listenBare(t, bare)
    const answers: string[] = []
    const connecting = asking(answers).connect({ host: 'localhost', port, ca: path('root.crt') })
    await t.throwsAsync(connecting, { code: 'ERR_CIO_INJECTION' })
    t.deepEqual(answers, [])
  }
})

test('misuse by the application is a local fault', async (t) => {
  const wrong: [Cio<object>, ListenOptions, RegExp][] = []
  const begin = () => new Cio().useConnection(startTls())
  wrong.push([
    begin().useConnection((ctx) => ctx.startTls()),
    { host: '127.0.0.1' },
    /no certificate|takes a certificate/,
  ])
  wrong.push([
    begin()
      .useConnection(layer({ encode: () => new PassThrough(), decode: () => new PassThrough() }))
      .useConnection((ctx) => ctx.startTls()),
    mutual,
    /layer/,
  ])
  wrong.push([
    begin()
      .useConnection(lines())
      .useConnection((ctx) => {
        void ctx.messages.next().catch(() => {})
        return ctx.startTls()
      }),
    mutual,
    /waits for a message/,
  ])
  wrong.push([
    begin().useConnection((ctx) => {
      ctx.stream.on('data', () => {})
      return ctx.startTls()
    }),
    mutual,
    /uses ctx\.stream/,
  ])
  for (const [app, options, message] of wrong) {
    const told = recordEvents(app)
    const closed = nextEvent(app, 'close')
    await dial(t, await serve(t, app, options))
    await closed
    t.regex(told.error[0]?.message ?? '', message)
  }
  t.throws(() => startTls({ timeout: -1 }), { code: 'ERR_CIO_OPTION' })
})

test('closing the server also closes clients before their upgrade', async (t) => {
  const { app } = mail()
  const server = await serve(t, app, mutual)
  const raw = await dial(t, server)
  await hear(raw, 1)
  raw.on('end', () => raw.end())
  const closed = server.close()
  t.is(await readAll(raw), '')
  t.deepEqual(await closed, { forced: 0 })
})
