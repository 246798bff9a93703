/**
 * Programs and packages of other people, with the options of docs/wires.md as they stand on the page. Each
 * test has at least three frames each way, but for those that only send.
 */

import test from 'ava'
import dnsPacket from 'dns-packet'
import { Redis } from 'ioredis'
import { Kafka, logLevel } from 'kafkajs'
import memjs from 'memjs'
import ModbusRTU from 'modbus-serial'
import { connectAsync } from 'mqtt'
import { connect as connectNats } from 'nats'
import { connect } from 'node:net'
import mysql from 'mysql2/promise'
import pg from 'pg'
import smpp from 'smpp'
import stompit from 'stompit'
import rpc from 'vscode-jsonrpc/node'
import { Cio, frames } from '../../src/index.ts'
import { ownPort } from '../support/ports.ts'
import { formatOf } from '../support/wires-page.ts'
import { execute, listening, scratch, start } from './programs.ts'
import { type Answer, serveFrames } from './serve-frames.ts'

// ---- Redis

const store = new Map<string, string>()
const resp: Answer = (frame) => {
  const words = frame.toString('latin1').split('\r\n')
  const [command = '', key = '', value = ''] = words.filter(
    (_, index) => index > 0 && index % 2 === 0,
  )
  if (/^ping$/i.test(command)) return ['+PONG\r\n']
  if (/^set$/i.test(command)) store.set(key, value)
  const found = store.get(key)
  if (!/^get$/i.test(command)) return ['+OK\r\n']
  return [found === undefined ? '$-1\r\n' : `$${found.length}\r\n${found}\r\n`]
}

test('Redis: redis-cli', async (t) => {
  const { port, check } = await serveFrames(t, formatOf('Redis'), resp)
  const words = ['-h', '127.0.0.1', '-p', String(port)]
  const { stdout } = await execute(t, 'redis-cli', words, { input: 'PING\nSET a hi\nGET a\n' })
  t.is(stdout, 'PONG\nOK\nhi\n')
  check()
})

test('Redis: ioredis', async (t) => {
  const { port, check } = await serveFrames(t, formatOf('Redis'), resp)
  const client = new Redis({ port, host: '127.0.0.1', enableReadyCheck: false })
  t.is(await client.ping(), 'PONG')
  t.is(await client.set('b', 'ho'), 'OK')
  t.is(await client.get('b'), 'ho')
  client.disconnect()
  check()
})

test('Redis: redis-server, with Cio as its client', async (t) => {
  const port = await ownPort()
  const words = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', scratch(t)]
  const { child } = start(t, 'redis-server', words)
  await listening(child, port)
  const app = new Cio().useClient(frames(formatOf('Redis')))
  t.teardown(() => app.close({ timeout: 0 }))
  const client = await app.connect({ port, host: '127.0.0.1' })
  const answers: string[] = []
  for (const words of [['PING'], ['SET', 'a', 'hi'], ['LRANGE', 'none', '0', '1'], ['GET', 'a']]) {
    const parts = words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')
    await client.messages.send(`*${words.length}\r\n${parts}`)
    answers.push(String((await client.messages.next()).value))
  }
  t.deepEqual(answers, ['+PONG\r\n', '+OK\r\n', '*0\r\n', '$2\r\nhi\r\n'])
})

// ---- DNS

test('DNS: dig +tcp, parsed by dns-packet', async (t) => {
  const { port, received, check } = await serveFrames(
    t,
    formatOf('DNS over TCP, over TLS'),
    (frame) => {
      const { id, questions } = dnsPacket.decode(frame)
      const name = questions![0]!.name
      return [
        dnsPacket.encode({
          type: 'response',
          id: id!,
          questions: questions!,
          answers: [{ type: 'A', name, data: '192.0.2.7', ttl: 1 }],
        }),
      ]
    },
  )
  const names = ['a.test', 'b.test', 'c.test']
  const words = ['@127.0.0.1', '-p', String(port), '+tcp', '+keepopen', '+short', ...names]
  const { stdout } = await execute(t, 'dig', words)
  t.is(stdout, '192.0.2.7\n'.repeat(3))
  t.deepEqual(
    received.map((frame) => dnsPacket.decode(frame).questions![0]!.name),
    names,
  )
  check()
})

// ---- MQTT

const mqtt: Answer = (frame) => {
  const type = frame[0]! >> 4
  if (type === 1) return [Buffer.of(0x20, 2, 0, 0)]
  if (type !== 3) return []
  const topic = frame.readUInt16BE(2)
  return [Buffer.of(0x40, 2, frame[4 + topic]!, frame[5 + topic]!)]
}

test('MQTT: mosquitto_pub', async (t) => {
  const { port, check } = await serveFrames(t, formatOf('MQTT'), mqtt)
  const words = ['-h', '127.0.0.1', '-p', String(port), '-t', 'a', '-q', '1', '-l']
  const { code } = await execute(t, 'mosquitto_pub', words, { input: 'one\ntwo\nthree\n' })
  t.is(code, 0)
  check()
})

test('MQTT: the package mqtt', async (t) => {
  const { port, check } = await serveFrames(t, formatOf('MQTT'), mqtt)
  const client = await connectAsync(`mqtt://127.0.0.1:${port}`)
  for (const text of ['one', 'two', 'three']) await client.publishAsync('a', text, { qos: 1 })
  await client.endAsync()
  check()
})

// ---- lines

test('SMTP: swaks', async (t) => {
  let isData = false
  const { port, check } = await serveFrames(
    t,
    formatOf('SMTP, FTP, POP3, IRC'),
    (frame) => {
      const line = frame.toString()
      if (isData && line !== '.') return []
      isData = line === 'DATA'
      return [isData ? '354 go on' : line === 'QUIT' ? '221 bye' : '250 ok']
    },
    ['220 mail.test'],
  )
  const words = ['--server', `127.0.0.1:${port}`, '--to', 'a@b.test', '--from', 'c@d.test']
  const { code, stdout } = await execute(t, 'swaks', [...words, '--helo', 'd.test', '--body', 'hi'])
  t.is(code, 0, stdout)
  check()
})

test('syslog: logger counts octets, and sends only', async (t) => {
  const { port, received, check } = await serveFrames(
    t,
    formatOf('syslog, octet counting'),
    () => [],
  )
  const words = ['--tcp', '--octet-count', '-n', '127.0.0.1', '-P', String(port)]
  await execute(t, 'logger', words, { input: 'one\ntwo\nthree\n' })
  while (received.length < 3) await new Promise((resolve) => setImmediate(resolve))
  t.true(received[2]!.toString().endsWith('three'))
  check({ received: 3, sent: 0 })
})

test('syslog: logger ends each message by a line feed, read by the format for either way', async (t) => {
  const { port, received, check } = await serveFrames(t, formatOf('syslog, either way'), () => [])
  const words = ['--tcp', '-n', '127.0.0.1', '-P', String(port)]
  await execute(t, 'logger', words, { input: 'one\ntwo\nthree\n' })
  while (received.length < 3) await new Promise((resolve) => setImmediate(resolve))
  t.true(received[2]!.toString().endsWith('three\n'))
  check({ received: 3, sent: 0 })
})

// ---- PostgreSQL

const typed = (type: string, ...body: readonly Buffer[]): Buffer => {
  const rest = Buffer.concat(body)
  const header = Buffer.alloc(5)
  header.write(type)
  header.writeUInt32BE(rest.length + 4, 1)
  return Buffer.concat([header, rest])
}
const ready = typed('Z', Buffer.from('I'))
const column = Buffer.from('0001', 'hex')
const described = Buffer.concat([
  column,
  Buffer.from('text\0'),
  Buffer.from('000000000000' + '00000019' + 'ffff' + 'ffffffff' + '0000', 'hex'),
])
const postgres: Answer = (frame) => {
  if (frame[0] === 0) {
    const version = typed('S', Buffer.from('server_version\x0015.0\0'))
    return [typed('R', Buffer.alloc(4)), version, ready]
  }
  if (frame[0] !== 0x51) return []
  const row = typed('D', column, Buffer.from('00000002', 'hex'), Buffer.from('hi'))
  return [typed('T', described), row, typed('C', Buffer.from('SELECT 1\0')), ready]
}

test('PostgreSQL: psql', async (t) => {
  const { port, check } = await serveFrames(t, formatOf('PostgreSQL 3, a session'), postgres)
  const env = { ...process.env, PGSSLMODE: 'disable', PGGSSENCMODE: 'disable' }
  const words = ['-h', '127.0.0.1', '-p', String(port), '-U', 'a', '-d', 'b', '-At', '-X']
  const queries = ['-c', 'select 1', '-c', 'select 2', '-c', 'select 3']
  const { stdout, stderr } = await execute(t, 'psql', [...words, ...queries], { env })
  t.is(stdout, 'hi\n'.repeat(3), stderr)
  check()
})

test('PostgreSQL: pg', async (t) => {
  const { port, check } = await serveFrames(t, formatOf('PostgreSQL 3, a session'), postgres)
  const client = new pg.Client({ host: '127.0.0.1', port, user: 'a', database: 'b' })
  await client.connect()
  for (let query = 0; query < 3; query++) {
    const { rows } = (await client.query('select 1')) as { rows: unknown }
    t.deepEqual(rows, [{ text: 'hi' }])
  }
  await client.end()
  check()
})

// ---- MySQL

/** A packet: its length is put right by `whole`, its number follows that of the request. */
const packet = (number: number, ...body: readonly Buffer[]): Buffer =>
  Buffer.concat([Buffer.of(0, 0, 0, number), ...body])

test('MySQL: mysql2', async (t) => {
  const handshake = Buffer.concat([
    Buffer.from('\x0a8.0.0\0'),
    Buffer.from('01000000' + '6162636465666768' + '00', 'hex'),
    // Protocol 4.1, secure connection and authentication by plug-in.
    Buffer.from('0182' + '21' + '0200' + '0800' + '15' + '00'.repeat(10), 'hex'),
    Buffer.from('abcdefghijkl\0mysql_native_password\0'),
  ])
  const ok = Buffer.from('00000002000000', 'hex')
  const { port, check } = await serveFrames(
    t,
    formatOf('MySQL'),
    (frame) => (frame[4] === 1 && frame[3] === 0 ? [] : [packet(frame[3]! + 1, ok)]),
    [packet(0, handshake)],
  )
  const client = await mysql.createConnection({ host: '127.0.0.1', port, user: 'a', password: 'b' })
  for (let request = 0; request < 3; request++) await client.ping()
  await client.end()
  check()
})

// ---- devices and services

test('Modbus/TCP: modbus-serial', async (t) => {
  const { port, check } = await serveFrames(t, formatOf('Modbus/TCP'), (frame) => {
    // Transaction and unit of the request; its length is put right by `whole`.
    const registers = Buffer.of(0x03, 4, 0, 7, 0, 8)
    return [Buffer.concat([frame.subarray(0, 7), registers])]
  })
  const client = new ModbusRTU.default()
  await client.connectTCP('127.0.0.1', { port })
  for (let request = 0; request < 3; request++) {
    t.deepEqual((await client.readHoldingRegisters(0, 2)).data, [7, 8])
  }
  await new Promise<void>((resolve) => client.close(() => resolve()))
  check()
})

test('SMPP: smpp', async (t) => {
  const { port, check } = await serveFrames(t, formatOf('SMPP 3.4'), (frame) => {
    const answer = Buffer.alloc(13)
    answer.writeUInt32BE((frame.readUInt32BE(0) | 0x80000000) >>> 0, 0)
    frame.copy(answer, 8, 8, 12)
    return [frame.readUInt32BE(0) === 0x15 ? answer.subarray(0, 12) : answer]
  })
  const session = smpp.connect({ url: `smpp://127.0.0.1:${port}` })
  const statuses: number[] = []
  const ask = (
    name: 'bind_transceiver' | 'enquire_link' | 'submit_sm',
    pdu: object,
  ): Promise<void> =>
    new Promise((resolve) => {
      session[name](pdu, ({ command_status }: { command_status: number }) => {
        statuses.push(command_status)
        resolve()
      })
    })
  await ask('bind_transceiver', { system_id: 'a', password: 'b' })
  await ask('enquire_link', {})
  await ask('submit_sm', { destination_addr: '1', short_message: 'hi' })
  t.deepEqual(statuses, [0, 0, 0])
  session.close()
  check()
})

test('STOMP: stompit', async (t) => {
  const { port, check } = await serveFrames(t, formatOf('STOMP 1.2'), (frame) => {
    const text = frame.toString()
    if (text.startsWith('CONNECT')) return ['CONNECTED\nversion:1.2\n\n\0']
    const [, receipt] = /\nreceipt:([^\n]*)/.exec(text) ?? []
    return receipt === undefined ? [] : [`RECEIPT\nreceipt-id:${receipt}\n\n\0`]
  })
  const client = await new Promise<stompit.Client>((resolve, reject) => {
    stompit.connect({ host: '127.0.0.1', port }, (error, made) =>
      error ? reject(error) : resolve(made),
    )
  })
  for (let message = 0; message < 2; message++) {
    await new Promise<void>((resolve) => {
      const options = { onReceipt: () => resolve(), onError: () => {} }
      client.send({ destination: '/queue/a' }, options).end('hello')
    })
  }
  await new Promise<void>((resolve) => client.disconnect(() => resolve()))
  check()
})

test('NATS: the package nats', async (t) => {
  const { port, check } = await serveFrames(
    t,
    formatOf('NATS'),
    (frame) => (frame.toString().startsWith('PING') ? ['PONG\r\n'] : []),
    ['INFO {"server_id":"a","version":"2.10.0","max_payload":1000,"proto":1}\r\n'],
  )
  const client = await connectNats({ servers: `127.0.0.1:${port}` })
  client.publish('a', 'hi')
  await client.flush()
  await client.close()
  check()
})

test('NATS: nats-server, with Cio as its client', async (t) => {
  const port = await ownPort()
  const { child } = start(t, 'nats-server', ['-a', '127.0.0.1', '-p', String(port)])
  await listening(child, port)
  const app = new Cio().useClient(frames(formatOf('NATS')))
  t.teardown(() => app.close({ timeout: 0 }))
  const { messages } = await app.connect({ port, host: '127.0.0.1' })
  const next = async (): Promise<string> => String((await messages.next()).value)
  t.regex(await next(), /^INFO /)
  await messages.send('CONNECT {"verbose":true}\r\n')
  t.is(await next(), '+OK\r\n')
  await messages.send('SUB a 1\r\n')
  t.is(await next(), '+OK\r\n')
  await messages.send('PUB a 2\r\nhi\r\n')
  t.deepEqual([await next(), await next()].toSorted(), ['+OK\r\n', 'MSG a 1 2\r\nhi\r\n'])
})

test('Kafka: kafkajs asks for ApiVersions', async (t) => {
  const { port, check } = await serveFrames(t, formatOf('Kafka'), (frame) => {
    const answer = Buffer.alloc(4 + 2 + 4 + 6 + 4)
    answer.writeUInt32BE(frame.readUInt32BE(4), 0)
    answer.writeInt32BE(1, 6)
    // ApiVersions itself, from 0 to 2.
    answer.writeInt16BE(18, 10)
    answer.writeInt16BE(2, 14)
    return [answer]
  })
  const kafka = new Kafka({ brokers: [`127.0.0.1:${port}`], logLevel: logLevel.NOTHING })
  for (let connection = 0; connection < 3; connection++) {
    const admin = kafka.admin()
    await admin.connect()
    await admin.disconnect()
  }
  check()
})

test('memcached binary: memjs', async (t) => {
  const { port, check } = await serveFrames(t, formatOf('memcached binary'), (frame) => {
    const isGet = frame[1] === 0
    const answer = Buffer.alloc(24)
    frame.copy(answer)
    answer[0] = 0x81
    answer.fill(0, 2, 12)
    answer[4] = isGet ? 4 : 0
    return [isGet ? Buffer.concat([answer, Buffer.alloc(4), Buffer.from('hi')]) : answer]
  })
  const client = memjs.Client.create(`127.0.0.1:${port}`)
  t.true(await client.set('a', 'hi', {}))
  t.is(String((await client.get('a')).value), 'hi')
  t.is(String((await client.get('a')).value), 'hi')
  client.close()
  check()
})

test('Language Server Protocol: vscode-jsonrpc', async (t) => {
  const { port, check } = await serveFrames(
    t,
    formatOf('Language Server Protocol, JSON-RPC'),
    (frame) => {
      const { id } = JSON.parse(frame.toString().split('\r\n\r\n')[1]!) as { id: number }
      const content = JSON.stringify({ jsonrpc: '2.0', id, result: 'hi' })
      return [`Content-Length: ${content.length}\r\n\r\n${content}`]
    },
  )
  const socket = connect(port, '127.0.0.1')
  const connection = rpc.createMessageConnection(
    new rpc.SocketMessageReader(socket),
    new rpc.SocketMessageWriter(socket),
  )
  connection.listen()
  for (let request = 0; request < 3; request++) {
    t.is(await connection.sendRequest('hello'), 'hi')
  }
  connection.dispose()
  socket.destroy()
  check()
})
