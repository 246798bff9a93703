/** The broker aedes, mounted on connections; mosquitto's clients and the npm package mqtt as clients. */

import test, { type ExecutionContext } from 'ava'
import { Aedes } from 'aedes'
import { connectAsync } from 'mqtt'
import { once } from 'node:events'
import { Cio } from '../../src/index.ts'
import { identity, path } from '../support/certificates.ts'
import { serve } from '../support/serve.ts'
import { recordEvents } from '../support/tls.ts'
import { execute, start } from './programs.ts'

const nothing = { reject: [], remoteError: [], error: [] }

async function broker(t: ExecutionContext) {
  const aedes = await Aedes.createBroker()
  t.teardown(() => new Promise<void>((resolve) => aedes.close(() => resolve())))
  const app = new Cio().useConnection(async ({ stream }, next) => {
    aedes.handle(stream)
    await next()
  })
  return { aedes, app, told: recordEvents(app) }
}

const tls = ['--cafile', path('root.crt'), '--cert', path('alice.crt'), '--key', path('alice.key')]
const mutual = { ...identity('server'), ca: path('root.crt'), requestCert: true }

for (const [transport, options, words] of [
  ['TCP', {}, []],
  ['mutual TLS', mutual, tls],
] as const) {
  test(`mosquitto_sub gets what mosquitto_pub sends, at each quality of service, over ${transport}`, async (t) => {
    const { aedes, app, told } = await broker(t)
    const { port } = await serve(t, app, options)
    const at = ['-h', 'localhost', '-p', String(port), ...words]
    const subscribed = once(aedes, 'subscribe')
    const sub = ['-t', 'news/#', '-q', '2', '-C', '4', '-F', '%t %q %l', '-W', '20']
    const heard = execute(t, 'mosquitto_sub', [...at, ...sub])
    await subscribed
    for (const quality of ['0', '1', '2']) {
      const pub = ['-t', `news/${quality}`, '-q', quality, '-m', 'hello']
      const { code, stderr } = await execute(t, 'mosquitto_pub', [...at, ...pub])
      t.is(code, 0, stderr)
    }
    const input = Buffer.alloc(2 * 1024 * 1024, 'x')
    await execute(t, 'mosquitto_pub', [...at, '-t', 'news/big', '-q', '1', '-s'], { input })
    const { stdout, stderr } = await heard
    const lines = ['news/0 0 5', 'news/1 1 5', 'news/2 2 5', `news/big 1 ${input.length}`]
    t.deepEqual(stdout.trim().split('\n'), lines, stderr)
    t.deepEqual(told, nothing)
  })
}

test('the will of a client that is killed is published, and its connection ends', async (t) => {
  const { aedes, app } = await broker(t)
  const server = await serve(t, app)
  const client = await connectAsync(`mqtt://127.0.0.1:${server.port}`)
  t.teardown(() => client.endAsync(true))
  await client.subscribeAsync('wills')
  const subscribed = once(aedes, 'subscribe')
  const at = ['-h', '127.0.0.1', '-p', String(server.port), '-t', 'any']
  const will = ['--will-topic', 'wills', '--will-payload', 'gone']
  const { child } = start(t, 'mosquitto_sub', [...at, ...will])
  await subscribed
  const closed = once(app, 'close')
  const message = new Promise<[string, Buffer]>((resolve) => {
    client.once('message', (topic, payload) => resolve([topic, payload]))
  })
  child.kill('SIGKILL')
  const [, payload] = await message
  t.is(String(payload), 'gone')
  await closed
  t.is(server.connections.size, 1)
})

test('the npm package mqtt publishes, is answered, and leaves; its connection ends', async (t) => {
  const { app, told } = await broker(t)
  const { port } = await serve(t, app)
  const client = await connectAsync(`mqtt://127.0.0.1:${port}`)
  await client.subscribeAsync('echo', { qos: 1 })
  const message = new Promise<[string, Buffer]>((resolve) => {
    client.once('message', (topic, payload) => resolve([topic, payload]))
  })
  await client.publishAsync('echo', 'hello', { qos: 1 })
  const [topic, payload] = await message
  t.is(`${topic} ${String(payload)}`, 'echo hello')
  const closed = once(app, 'close')
  await client.endAsync()
  await closed
  t.deepEqual(told, nothing)
})
