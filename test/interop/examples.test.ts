/** Examples that speak the protocol of a program, with that program and npm packages as their clients. */

import test, { type ExecutionContext } from 'ava'
import { Redis } from 'ioredis'
import ModbusRTU from 'modbus-serial'
import { connectAsync } from 'mqtt'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import { folderWithCertificates, start as startExample } from '../support/examples.ts'
import { execute, start } from './programs.ts'

const local = '127.0.0.1'

/** The files of a client's identity. */
function identity(folder: string, name: string) {
  const file = (name: string): string => join(folder, 'certs', name)
  return { ca: file('ca.crt'), cert: file(`${name}.crt`), key: file(`${name}.key`) }
}

async function contentsOf(files: ReturnType<typeof identity>) {
  const [ca, cert, key] = await Promise.all(
    [files.ca, files.cert, files.key].map((f) => readFile(f)),
  )
  return { ca: ca!, cert: cert!, key: key! }
}

test('redis-server.ts: redis-cli sets, gets and deletes, and hears an error', async (t) => {
  const { port } = await startExample(t, 'redis-server')
  const ask = async (...words: string[]): Promise<string> =>
    (await execute(t, 'redis-cli', ['-h', local, '-p', String(port), ...words])).stdout
  t.is(await ask('PING'), 'PONG\n')
  t.is(await ask('SET', 'key', 'two\r\nlines'), 'OK\n')
  t.is(await ask('GET', 'key'), 'two\r\nlines\n')
  t.is(await ask('DEL', 'key'), '1\n')
  t.is(await ask('GET', 'key'), '\n')
  t.regex(await ask('FLUSHALL'), /^ERR unknown command/)
})

test('redis-server.ts: ioredis sends a thousand commands without waiting', async (t) => {
  const { port } = await startExample(t, 'redis-server')
  const client = new Redis({ port, host: local, enableReadyCheck: false })
  t.teardown(() => client.disconnect())
  const count = 1_000
  const texts = Array.from({ length: count }, (_, n) => 'ü'.repeat(n))
  await Promise.all(texts.map((text, n) => client.set(`key ${n}`, text)))
  t.deepEqual(await Promise.all(texts.map((_, n) => client.get(`key ${n}`))), texts)
})

test('postgres-server.ts: psql is known by its certificate, and sees itself', async (t) => {
  const cwd = await folderWithCertificates(t, 'ann')
  const { port } = await startExample(t, 'postgres-server', { cwd })
  const { ca, cert, key } = identity(cwd, 'ann')
  const psql = (more: string, query: string) => {
    const at = `host=localhost hostaddr=${local} port=${port} user=ann dbname=any gssencmode=disable`
    return execute(t, 'psql', ['-X', '-A', '-t', '-c', query, `${at} ${more}`])
  }
  const tls = `sslmode=verify-full sslrootcert=${ca} sslcert=${cert} sslkey=${key}`
  const { stdout, stderr } = await psql(tls, 'connections')
  t.regex(stdout, /^\S*127\.0\.0\.1:\d+\|ann\n$/, stderr)
  t.regex((await psql(tls, 'select 1')).stderr, /there is only: connections/)
  t.regex((await psql('sslmode=disable', 'connections')).stderr, /TLS is required/)
})

test('postgres-server.ts: the npm package pg gets rows by their names', async (t) => {
  const cwd = await folderWithCertificates(t, 'ann')
  const { port } = await startExample(t, 'postgres-server', { cwd })
  const ssl = await contentsOf(identity(cwd, 'ann'))
  const client = new pg.Client({ host: 'localhost', port, user: 'ann', database: 'any', ssl })
  await client.connect()
  const { rows } = await client.query<{ name: string }>('connections')
  t.deepEqual(
    rows.map(({ name }) => name),
    ['ann'],
  )
  await t.throwsAsync(client.query('connections', ['a parameter']), { message: /simple queries/ })
  await client.end()
})

test('smtp-server.ts: swaks sends a mail after STARTTLS, and none without', async (t) => {
  const cwd = await folderWithCertificates(t)
  const example = await startExample(t, 'smtp-server', { cwd })
  const swaks = (...words: string[]) => {
    const at = ['--server', local, '--port', String(example.port), '--ehlo', 'localhost']
    const mail = ['--from', 'ann@example.test', '--to', 'bob@example.test,eve@example.test']
    return execute(t, 'swaks', [...at, ...mail, '--timeout', '20', ...words])
  }
  const refused = await swaks()
  t.regex(refused.stdout, /530 STARTTLS first/)
  const verified = ['--tls', '--tls-verify', '--tls-ca-path', join(cwd, 'certs', 'ca.crt')]
  const sent = await swaks(...verified, '--body', 'hello\n.\nand a dot above')
  t.is(sent.code, 0, sent.stdout + sent.stderr)
  await example.line(
    /^mail from ann@example\.test to bob@example\.test, eve@example\.test: \d+ bytes$/,
  )
})

test('mqtt-broker.ts: the package mqtt hears what mosquitto_pub sends below its own name', async (t) => {
  const cwd = await folderWithCertificates(t, 'sensor-1', 'panel')
  const { port } = await startExample(t, 'mqtt-broker', { cwd })
  const tls = await contentsOf(identity(cwd, 'panel'))
  const panel = await connectAsync(`mqtts://localhost:${port}`, tls)
  t.teardown(() => panel.endAsync(true))
  await panel.subscribeAsync('#', { qos: 2 })
  const heard: string[] = []
  const all = new Promise<void>((resolve) => {
    panel.on('message', (topic, payload) => {
      heard.push(`${topic} ${String(payload)}`)
      if (heard.length === 3) resolve()
    })
  })
  const { ca, cert, key } = identity(cwd, 'sensor-1')
  const publish = (topic: string, qos: string) => {
    const at = ['-h', 'localhost', '-p', String(port), '--cafile', ca, '--cert', cert, '--key', key]
    return execute(t, 'mosquitto_pub', [...at, '-t', topic, '-q', qos, '-m', '21'])
  }
  // It may publish nothing in the name of another.
  await publish('sensor-2/temperature', '0')
  for (const qos of ['0', '1', '2']) t.is((await publish('sensor-1/temperature', qos)).code, 0)
  await all
  t.deepEqual(
    heard,
    Array.from({ length: 3 }, () => 'sensor-1/temperature 21'),
  )
})

test('modbus-device.ts: modbus-serial reads and writes registers, and hears what it cannot', async (t) => {
  const { port } = await startExample(t, 'modbus-device')
  const client = new ModbusRTU.default()
  t.teardown(() => new Promise<void>((resolve) => client.close(() => resolve())))
  await client.connectTCP(local, { port })
  client.setID(1)
  t.deepEqual((await client.readHoldingRegisters(0, 2)).data, [230, 0])
  await client.writeRegister(1, 42)
  t.deepEqual((await client.readHoldingRegisters(0, 2)).data, [230, 42])
  await t.throwsAsync(async () => client.readHoldingRegisters(9, 2), {
    message: /Illegal data address/,
  })
})
