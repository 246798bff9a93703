// npx tsx examples/fleet.ts
//
// In a clone, once before: npm install --prefix packages/cluster
//
// Three instances behind HAProxy, with mutual TLS and a broker: six devices are found by the names of
// their certificates, wherever they are connected. One is away, and its letters wait for it. A deny list
// is changed while all run, and one instance is killed. Needs nats-server and haproxy (Debian: apt-get
// install nats-server haproxy), and ends by itself.

import { type ChildProcess, fork, spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type SharedList, cluster, mailbox, registry, rooms, sharedList } from '@cio/cluster'
import { nats } from '@cio/cluster/nats'
import {
  Cio,
  type RpcContext,
  type StreamContext,
  denyList,
  json,
  reconnect,
  rpc,
} from '../src/index.ts'
import { makeCertificates } from './certificates.ts'

/** The methods of a device. */
interface Device {
  whoAmI(): string
  alarm(params: { text: string }): void
  deliver(letter: Letter): void
}

interface Letter {
  readonly text: string
}

/** The requests of this program to an instance. */
type Question =
  | { readonly call: string }
  | { readonly alarm: string }
  | { readonly find: string }
  | { readonly mail: string; readonly text: string }

const names = ['sensor-1', 'sensor-2', 'sensor-3', 'sensor-4', 'sensor-5', 'sensor-6']
let lastId = 0
const [role, folder = '', ...rest] = process.argv.slice(2)
if (role === 'instance') await instance(folder, ...(rest as [string, string]))
else await demo()

/** One of the three servers, in its own process. */
async function instance(folder: string, id: string, servers: string): Promise<void> {
  const engine = nats({ connect: { servers, pingInterval: 1_000 } })
  const here = cluster({ engine, leaseTimeout: 2_000 })
  const devices = registry<object, Device>(here, { about: () => ({ instance: id }) })
  const everyone = rooms(here)
  const letters = mailbox<Letter, StreamContext & RpcContext<Device>>(here, {
    // When the device has answered, it has the letter.
    deliver: (ctx, { message }) => ctx.rpc.call('deliver', message),
  })
  const denied = denyList([])
  const verifyKey = await readFile(join(folder, 'lists.pub'))
  const app = new Cio()
    .useServer(here)
    // The private key is not here: no instance can change the list.
    .useServer(sharedList(here, { name: 'denied', list: denied, verifyKey }))
    .useConnection(denied)
    .useConnection(json())
    .useConnection(rpc<Device>())
    .useConnection(devices)
    .useConnection(everyone)
    .useConnection(letters)
    .useConnection(async (ctx, next) => {
      await ctx.rooms.join('everyone')
      await next()
    })
  app.on('remoteError', () => {}).on('reject', () => {})
  await app.listen({
    // A socket file needs no free port.
    path: join(folder, `${id}.sock`),
    key: join(folder, 'server.key'),
    cert: join(folder, 'server.crt'),
    // Makes it mutual TLS.
    ca: join(folder, 'ca.crt'),
  })

  process.on(
    'message',
    ({ id, question }: { readonly id: number; readonly question: Question }) => {
      const answer = async (): Promise<unknown> => {
        if ('call' in question) return devices.call(question.call, 'whoAmI')
        if ('find' in question) {
          const entry = await devices.find(question.find)
          return entry && { ...(entry.about as object), revision: entry.revision }
        }
        if ('mail' in question) return letters.send(question.mail, { text: question.text })
        const params = { text: question.alarm }
        return everyone.send('everyone', { jsonrpc: '2.0', method: 'alarm', params })
      }
      void answer()
        .catch((error: { code?: string }) => error.code)
        .then((value) => process.send!({ id, value }))
    },
  )
  process.on('disconnect', () => process.exit())
  process.send!('ready')
}

async function demo(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'cio-fleet-'))
  const processes: ChildProcess[] = []
  // On Debian these programs are not in the path of every user.
  process.env.PATH += ':/usr/sbin'
  try {
    await makeCertificates(folder, names)
    const broker = spawn('nats-server', ['-a', '127.0.0.1', '-p', '-1', '-js', '-sd', folder], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    processes.push(broker)
    const servers = await addressOf(broker)
    await using lists = await operator(folder, servers)
    const instances = ['one', 'two', 'three'].map((id) =>
      fork(fileURLToPath(import.meta.url), ['instance', folder, id, servers]),
    )
    processes.push(...instances)
    await Promise.all(instances.map((one) => once(one, 'message')))
    processes.push(await balancer(folder))
    await show(folder, instances, lists.denied)
  } finally {
    for (const one of processes) one.kill('SIGKILL')
    await rm(folder, { recursive: true, force: true })
  }
}

/**
 * The operator has the private key, and publishes the list, for example from a separate machine.
 */
async function operator(folder: string, servers: string) {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  await writeFile(join(folder, 'lists.pub'), publicKey.export({ format: 'pem', type: 'spki' }))
  const here = cluster({ engine: nats({ connect: { servers, pingInterval: 1_000 } }) })
  const denied = sharedList(here, {
    name: 'denied',
    list: denyList([]),
    verifyKey: publicKey,
    signKey: privateKey,
  })
  await here.open()
  // A server listens only after the first revision was published.
  await denied.publish([])
  return { denied, [Symbol.asyncDispose]: () => here.close() }
}

async function show(
  folder: string,
  instances: readonly ChildProcess[],
  denied: SharedList,
): Promise<void> {
  const [one, , three] = instances as [ChildProcess, ChildProcess, ChildProcess]
  let alarms = 0
  const clients = []
  for (const name of names) {
    clients.push(await connect(folder, name, { onAlarm: () => (alarms += 1) }))
  }

  const found = await Promise.all(names.map((name) => untilFound(one, name)))
  const places = new Set(found.map(({ instance }) => instance))
  console.log(`${names.length} devices on ${places.size} instances`)

  const answers = []
  for (const name of names) answers.push(await ask(one, { call: name }))
  console.log(`instance one called: ${answers.join(', ')}`)

  await ask(three, { alarm: 'fire' })
  while (alarms < names.length) await delay(5)
  console.log(`instance three sent one alarm, ${alarms} devices have it`)

  const before = await untilFound(one, 'sensor-1')
  const twin = await connect(folder, 'sensor-1')
  while ((await untilFound(one, 'sensor-1')).revision === before.revision) await delay(20)
  console.log('a second sensor-1 has taken over from the first')
  await twin.close({ timeout: 1_000 })

  await clients.pop()?.close({ timeout: 1_000 })
  while (await ask(one, { find: 'sensor-6' })) await delay(20)
  await ask(one, { mail: 'sensor-6', text: 'first' })
  await ask(three, { mail: 'sensor-6', text: 'second' })
  const texts: string[] = []
  clients.push(await connect(folder, 'sensor-6', { onLetter: ({ text }) => texts.push(text) }))
  while (texts.length < 2) await delay(5)
  console.log(`sensor-6 was away, and has its letters: ${texts.join(', ')}`)

  const revision = await denied.publish(['sensor-5'])
  const applied = await denied.applied(revision)
  while (await ask(one, { find: 'sensor-5' })) await delay(20)
  // The operator counts as an instance too.
  console.log(`revision ${revision} of the deny list is in force on ${applied.size - 1} instances`)
  const left = names.filter((name) => name !== 'sensor-5')

  three.kill('SIGKILL')
  console.log('instance three is killed')
  for (const name of left) {
    while ((await untilFound(one, name)).instance === 'three') await delay(50)
    while ((await ask(one, { call: name })) !== name) await delay(50)
  }
  console.log(`all ${left.length} other devices are back and answer`)
  await Promise.all(clients.map((client) => client.close({ timeout: 1_000 })))
}

/** A device, which reconnects after each loss. */
async function connect(
  folder: string,
  name: string,
  {
    onAlarm = () => {},
    onLetter = () => {},
  }: { readonly onAlarm?: () => void; readonly onLetter?: (letter: Letter) => void } = {},
) {
  const file = (end: string): Promise<string> => readFile(join(folder, end), 'utf8')
  const app = new Cio()
    .useClient(reconnect({ delay: 100, maxDelay: 1_000 }))
    .useClient(json())
    .useClient(
      rpc<object, Device>({
        methods: { whoAmI: () => name, alarm: onAlarm, deliver: onLetter },
      }),
    )
  app.on('remoteError', () => {}).on('error', () => {})
  return app.connect({
    path: join(folder, 'front.sock'),
    servername: 'localhost',
    ca: await file('ca.crt'),
    key: await file(`${name}.key`),
    cert: await file(`${name}.crt`),
  })
}

async function balancer(folder: string): Promise<ChildProcess> {
  const lines = [
    'defaults',
    '  mode tcp',
    '  balance roundrobin',
    '  option redispatch 1',
    '  timeout connect 1s',
    '  timeout client 1m',
    '  timeout server 1m',
    'listen front',
    `  bind unix@${join(folder, 'front.sock')}`,
    // TLS passes through, so that the servers see the certificates of the devices.
    ...['one', 'two', 'three'].map((id) => `  server ${id} unix@${join(folder, `${id}.sock`)}`),
    '',
  ]
  await writeFile(join(folder, 'haproxy.cfg'), lines.join('\n'))
  const child = spawn('haproxy', ['-db', '-f', join(folder, 'haproxy.cfg')], { stdio: 'ignore' })
  await once(child, 'spawn')
  return child
}

async function addressOf(broker: ChildProcess): Promise<string> {
  for await (const line of createInterface(broker.stderr!)) {
    const [, address] = /client connections on (\S+)/.exec(line) ?? []
    if (address !== undefined) {
      broker.stderr!.resume()
      return address
    }
  }
  throw new Error('nats-server has ended')
}

async function untilFound(
  one: ChildProcess,
  name: string,
): Promise<{ instance: string; revision: number }> {
  for (;;) {
    const found = await ask(one, { find: name })
    if (typeof found === 'object' && found) return found as { instance: string; revision: number }
    await delay(50)
  }
}

async function ask(one: ChildProcess, question: Question): Promise<unknown> {
  const id = ++lastId
  return new Promise((resolve) => {
    const take = (answer: { readonly id: number; readonly value: unknown }): void => {
      if (answer.id !== id) return
      one.off('message', take)
      resolve(answer.value)
    }
    one.on('message', take)
    one.send({ id, question })
  })
}
