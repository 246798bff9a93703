/**
 * Programs of Debian and of Node, with the options of docs/wires.md as they stand on the page. Each test has
 * at least three frames each way.
 */

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { connect as connectHttp2 } from 'node:http2'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import WebSocket from 'ws'
import { Cio, frames } from '../../src/index.ts'
import { Peek } from '../../src/kit.ts'
import { ownPort } from '../support/ports.ts'
import { serve } from '../support/serve.ts'
import { formatOf } from '../support/wires-page.ts'
import { execute, listening, scratch, start } from './programs.ts'
import { relayFrames, serveFrames } from './serve-frames.ts'

/** A client of a format, connected to a port. */
async function dial(t: ExecutionContext, format: string, port: number) {
  const app = new Cio().useClient(frames(formatOf(format)))
  t.teardown(() => app.close({ timeout: 0 }))
  const { messages } = await app.connect({ port, host: '127.0.0.1' })
  return {
    send: (frame: string | Uint8Array) => messages.send(frame),
    next: async (): Promise<Buffer> => {
      const { done, value } = await messages.next()
      if (done) throw new Error('the server has ended')
      return value
    },
  }
}

test('memcached text: memcached, with Cio as its client', async (t) => {
  const port = await ownPort()
  const words = ['-l', '127.0.0.1', '-p', String(port), '-U', '0', '-u', 'nobody']
  const { child } = start(t, 'memcached', words)
  await listening(child, port)
  const { send, next } = await dial(t, 'memcached text', port)
  await send('set a 0 0 2\r\nhi\r\n')
  t.is(String(await next()), 'STORED\r\n')
  await send('get a\r\n')
  t.is(String(await next()), 'VALUE a 0 2\r\nhi\r\n')
  t.is(String(await next()), 'END\r\n')
  await send('delete a\r\n')
  t.is(String(await next()), 'DELETED\r\n')
})

for (const [format, packet] of [
  ['Erlang {packet, 1}', 1],
  ['Erlang {packet, 4}, Thrift framed', 4],
] as const) {
  test(`${format}: Erlang, with Cio as its client`, async (t) => {
    const port = await ownPort()
    const script = join(scratch(t), 'echo.escript')
    const program = `main([Port]) ->
      {ok, Listening} = gen_tcp:listen(list_to_integer(Port), [binary, {packet, ${packet}},
        {active, false}, {ip, {127, 0, 0, 1}}, {reuseaddr, true}]),
      accept(Listening).
    accept(Listening) ->
      {ok, Socket} = gen_tcp:accept(Listening),
      echo(Socket),
      accept(Listening).
    echo(Socket) ->
      case gen_tcp:recv(Socket, 0) of
        {ok, Packet} -> ok = gen_tcp:send(Socket, [<<"re: ">>, Packet]), echo(Socket);
        {error, _} -> gen_tcp:close(Socket)
      end.
    `
    writeFileSync(script, `#!/usr/bin/env escript\n${program}`)
    const { child } = start(t, 'escript', [script, String(port)])
    await listening(child, port)
    const { send, next } = await dial(t, format, port)
    for (const text of ['one', 'x'.repeat(packet === 1 ? 200 : 100_000), '']) {
      await send(text)
      t.is(String(await next()), `re: ${text}`)
    }
  })
}

test('git pkt-line: git ls-remote through Cio to git daemon', async (t) => {
  const folder = scratch(t)
  const own = ['-c', 'user.name=a', '-c', 'user.email=a@example.com', '-C', join(folder, 'one')]
  await execute(t, 'git', ['init', '-q', '-b', 'main', join(folder, 'one')])
  await execute(t, 'git', [...own, 'commit', '-q', '--allow-empty', '-m', 'one'])
  const { stdout: head } = await execute(t, 'git', [...own, 'rev-parse', 'HEAD'])
  const target = await ownPort()
  // `git daemon` would start this program as a child, which would outlive it.
  const { stdout: programs } = await execute(t, 'git', ['--exec-path'])
  const words = ['--export-all', '--listen=127.0.0.1', `--port=${target}`, `--base-path=${folder}`]
  const { child } = start(t, join(programs.trim(), 'git-daemon'), words)
  await listening(child, target)
  const { port, check } = await relayFrames(t, formatOf('git pkt-line'), target)
  const listing = ['-c', 'protocol.version=2', 'ls-remote', `git://127.0.0.1:${port}/one`]
  const { stdout } = await execute(t, 'git', listing)
  t.is(stdout, `${head.trim()}\tHEAD\n${head.trim()}\trefs/heads/main\n`)
  check()
})

test('LDAP: ldapsearch', async (t) => {
  const entry = 'dc=example'
  const { port, check } = await serveFrames(t, formatOf('LDAP, SNMP over TCP'), (frame) => {
    // SEQUENCE, then the number of the message, then the operation by its tag.
    const [number, operation] = [frame[4]!, frame[5]]
    const done = (tag: number): Buffer =>
      Buffer.of(0x30, 0x0c, 2, 1, number, tag, 7, 10, 1, 0, 4, 0, 4, 0)
    if (operation === 0x60) return [done(0x61)]
    if (operation !== 0x63) return []
    const name = Buffer.from(entry)
    const head = Buffer.of(
      0x30,
      9 + name.length,
      2,
      1,
      number,
      0x64,
      4 + name.length,
      4,
      name.length,
    )
    return [Buffer.concat([head, name, Buffer.of(0x30, 0)]), done(0x65)]
  })
  const words = ['-x', '-H', `ldap://127.0.0.1:${port}`, '-LLL', '-s', 'base', '-b', entry]
  const { stdout } = await execute(t, 'ldapsearch', words)
  t.is(stdout.trim(), `dn: ${entry}`)
  check()
})

test('IMAP: curl', async (t) => {
  const { port, received, check } = await serveFrames(
    t,
    formatOf('IMAP'),
    (frame) => {
      const [tag = '', command = ''] = frame.toString().trim().split(' ')
      const before =
        { CAPABILITY: ['* CAPABILITY IMAP4rev1\r\n'], LIST: ['* LIST () "/" INBOX\r\n'] }[
          command
        ] ?? []
      return [...before, `${tag} OK done\r\n`]
    },
    ['* OK ready\r\n'],
  )
  const words = ['-s', '--user', 'ada:secret', `imap://127.0.0.1:${port}/`]
  const { stdout } = await execute(t, 'curl', words)
  t.regex(stdout, /^\* LIST .* INBOX/)
  t.regex(String(received[1]), /LOGIN ada secret/)
  check()
})

test('Zabbix: zabbix_sender', async (t) => {
  const { port, received, check } = await serveFrames(t, formatOf('Zabbix'), () => {
    const answer = '{"response":"success","info":"processed: 1; failed: 0; total: 1"}'
    const head = Buffer.alloc(13)
    head.write('ZBXD\x01', 'latin1')
    head.writeUInt32LE(answer.length, 5)
    return [Buffer.concat([head, Buffer.from(answer)])]
  })
  for (const value of ['1', '2', '3']) {
    const words = ['-z', '127.0.0.1', '-p', String(port), '-s', 'meter', '-k', 'power', '-o', value]
    const { code, stdout } = await execute(t, 'zabbix_sender', words)
    t.is(code, 0, stdout)
  }
  t.regex(received[2]!.toString(), /"value":"3"/)
  check()
})

test('HL7 MLLP: mllp_send of python-hl7', async (t) => {
  const message = (id: string): string =>
    `MSH|^~\\&|A|B|C|D|20260101||ADT^A01|${id}|P|2.5\rPID|1||${id}`
  const file = join(scratch(t), 'messages')
  const { port, received, check } = await serveFrames(t, formatOf('HL7 MLLP'), (frame) => [
    `MSH|^~\\&|C|D|A|B|20260101||ACK|${frame.toString().split('|')[9]}|P|2.5\rMSA|AA|1\r`,
  ])
  writeFileSync(file, ['1', '2', '3'].map((id) => `\x0b${message(id)}\x1c\r`).join(''))
  await execute(t, 'mllp_send', ['--file', file, '-p', String(port), '127.0.0.1'])
  t.deepEqual(received.map(String), ['1', '2', '3'].map(message))
  check()
})

test('CoAP over TCP: coap-client through Cio to coap-server', async (t) => {
  const target = await ownPort()
  const { child } = start(t, 'coap-server-notls', ['-A', '127.0.0.1', '-p', String(target)])
  await listening(child, target)
  const { port, check } = await relayFrames(t, formatOf('CoAP over TCP'), target)
  for (let request = 0; request < 3; request++) {
    const words = ['-m', 'get', `coap+tcp://127.0.0.1:${port}/`]
    const { stdout } = await execute(t, 'coap-client-notls', words)
    t.regex(stdout, /libcoap/)
  }
  check()
})

test('HTTP/2: node:http2', async (t) => {
  const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
  const [settings, ping, ack] = [4, 6, 1]
  const empty = (type: number, flags: number): Buffer => Buffer.of(0, 0, 0, type, flags, 0, 0, 0, 0)
  const types: number[] = []
  let sent = 0
  const app = new Cio()
    .useConnection(async ({ stream }, next) => {
      const peek = new Peek(stream, { maxSize: 100, timeout: 5_000 })
      t.is(String(await peek.take(preface.length)), preface)
      peek.release()
      await next()
    })
    .useConnection(frames(formatOf('HTTP/2 frame')))
    .useConnection(async ({ messages }) => {
      const send = (frame: Buffer): Promise<void> => {
        sent += 1
        return messages.send(frame)
      }
      await send(empty(settings, 0))
      for await (const frame of messages) {
        types.push(frame[3]!)
        if (frame[3] === settings && frame[4] !== ack) await send(empty(settings, ack))
        if (frame[3] !== ping) continue
        const answer = Buffer.from(frame)
        answer[4] = ack
        await send(answer)
      }
    })
  const { port } = await serve(t, app)
  const session = connectHttp2(`http://127.0.0.1:${port}`)
  t.teardown(() => session.destroy())
  await once(session, 'remoteSettings')
  await new Promise<void>((resolve, reject) => {
    session.ping((error) => (error ? reject(error) : resolve()))
  })
  t.true(types.filter((type) => type === settings).length === 2 && types.includes(ping))
  t.is(sent, 3)
})

test('WebSocket: the package ws', async (t) => {
  const received: string[] = []
  const accept = (key: string): string =>
    createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
  const app = new Cio()
    .useConnection(async ({ stream }, next) => {
      const peek = new Peek(stream, { maxSize: 2_000, timeout: 5_000 })
      let key = ''
      for (let line; (line = await peek.takeLine()) !== '';) {
        key = /^sec-websocket-key: (.+)/i.exec(line)?.[1] ?? key
      }
      peek.release()
      const head = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade'
      stream.write(`${head}\r\nSec-WebSocket-Accept: ${accept(key)}\r\n\r\n`)
      await next()
    })
    .useConnection(frames(formatOf('WebSocket frame')))
    .useConnection(async ({ messages }) => {
      for await (const frame of messages) {
        // Of a client: two bytes, a mask of four, and the payload.
        const payload = frame.subarray(6).map((byte, index) => byte ^ frame[2 + (index % 4)]!)
        received.push(String(payload))
        await messages.send(Buffer.concat([Buffer.of(0x81, payload.length), payload]))
      }
    })
  const { port } = await serve(t, app)
  const client = new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate: false })
  t.teardown(() => client.terminate())
  await once(client, 'open')
  for (const text of ['one', 'two', 'three']) {
    client.send(text)
    const [data] = (await once(client, 'message')) as [Buffer]
    t.is(String(data), text)
  }
  t.deepEqual(received, ['one', 'two', 'three'])
})
