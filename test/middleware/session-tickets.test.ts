import test, { type ExecutionContext } from 'ava'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import type { SecureVersion } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { type ListenOptions, Cio, sessionTickets } from '../../src/index.ts'
import type { Order, Update } from '../fixtures/tickets-server.ts'
import { contents, identity, loaded, path } from '../support/certificates.ts'
import { LiveFiles } from '../support/live-files.ts'
import { many } from '../support/long.ts'
import { serve } from '../support/serve.ts'
import { writeGreeting, openSession, connectTls } from '../support/tls.ts'
import { built, flags } from '../support/typescript.ts'

const secret = 'a secret that all processes share'
const mutual = { ...identity('server'), ca: path('root.crt'), requestCert: true }
const script = fileURLToPath(built(new URL('../fixtures/tickets-server.ts', import.meta.url)))

/** A server in another process, with its own arguments. */
async function elsewhere(
  t: ExecutionContext,
  order: Partial<Order>,
): Promise<{ port: number; update(secret: string): Promise<void> }> {
  const child = fork(script, ['other'], { execArgv: [...flags] })
  t.teardown(() => child.kill())
  child.send({ secret, listen: mutual, ...order })
  const [port] = (await once(child, 'message')) as [number]
  const update = async (changed: string): Promise<void> => {
    child.send({ update: changed } satisfies Update)
    await once(child, 'message')
  }
  return { port, update }
}

async function here(t: ExecutionContext, options: ListenOptions = mutual, rotate = Infinity) {
  const app = new Cio()
    .useServer(sessionTickets({ secret, rotateInterval: rotate }))
    .useConnection(writeGreeting)
  return serve(t, app, options)
}

for (const version of many(['TLSv1.2', 'TLSv1.3'], ['TLSv1.3']) as SecureVersion[]) {
  const alice = { ...loaded('alice'), maxVersion: version }
  const revoked = { ...loaded('revoked'), maxVersion: version }

  test(`a session resumes in another process, with its identity and in both directions (${version})`, async (t) => {
    const server = await here(t)
    const other = await elsewhere(t, {})
    const session = await openSession(t, server, alice)
    t.like(await connectTls(t, other, { ...alice, session }), {
      said: 'hello alice',
      resumed: true,
    })
    const back = await openSession(t, other, alice)
    t.like(await connectTls(t, server, { ...alice, session: back }), {
      said: 'hello alice',
      resumed: true,
    })
  })

  test(`a client that was revoked in another process does not resume there (${version})`, async (t) => {
    const server = await here(t, { ...mutual, crl: path('empty.crl') })
    const session = await openSession(t, server, revoked)
    const same = await elsewhere(t, { listen: { ...mutual, crl: path('empty.crl') } })
    t.like(await connectTls(t, same, { ...revoked, session }), {
      said: 'hello alice',
      resumed: true,
    })
    const other = await elsewhere(t, { listen: { ...mutual, crl: path('revoked.crl') } })
    t.like(await connectTls(t, other, { ...revoked, session }), { said: '', resumed: false })
  })

  test(`a client removed from the list of another process resumes, and is rejected (${version})`, async (t) => {
    const session = await openSession(t, await here(t), alice)
    const other = await elsewhere(t, { who: 'bob' })
    t.like(await connectTls(t, other, { ...alice, session }), { said: '', resumed: true })
  })

  test(`a session of a CA that another process does not trust does not resume there (${version})`, async (t) => {
    const session = await openSession(t, await here(t), alice)
    const other = await elsewhere(t, { listen: { ...mutual, ca: path('other.crt') } })
    t.like(await connectTls(t, other, { ...alice, session }), { said: '', resumed: false })
  })

  test(`another secret resumes nothing, and accepts a full handshake (${version})`, async (t) => {
    const session = await openSession(t, await here(t), alice)
    const other = await elsewhere(t, { secret: `${secret}, or another` })
    t.like(await connectTls(t, other, { ...alice, session }), {
      said: 'hello alice',
      resumed: false,
    })
  })

  test(`an updated secret is that of a process which began with it, and of no other (${version})`, async (t) => {
    const [one, other] = [await elsewhere(t, {}), await elsewhere(t, {})]
    const changed = 'another secret, given to every process'
    const before = await openSession(t, one, alice)
    t.true((await connectTls(t, other, { ...alice, session: before })).resumed)

    await one.update(changed)
    t.like(await connectTls(t, one, { ...alice, session: before }), {
      said: 'hello alice',
      resumed: false,
    })
    const after = await openSession(t, one, alice)
    t.false((await connectTls(t, other, { ...alice, session: after })).resumed)

    await other.update(changed)
    const third = await elsewhere(t, { secret: changed })
    for (const server of [one, other, third]) {
      t.like(await connectTls(t, server, { ...alice, session: after }), {
        said: 'hello alice',
        resumed: true,
      })
    }
  })

  test(`a reload keeps sessions while trust stays the same, and ends them when it changes (${version})`, async (t) => {
    const files = new LiveFiles(t)
    files.put('crl', 'empty.crl')
    files.inPlace('server')
    const server = await here(t, { ...mutual, key: files.key, cert: files.cert, crl: files.crl })
    const session = await openSession(t, server, revoked)
    files.inPlace('server2')
    await server.reload()
    t.true((await connectTls(t, server, { ...revoked, session })).resumed)
    files.put('crl', 'revoked.crl')
    await server.reload()
    t.like(await connectTls(t, server, { ...revoked, session }), { said: '', resumed: false })
  })

  test(`a session without a certificate has no identity where one is required (${version})`, async (t) => {
    const lax = await here(t, { ...mutual, requestCert: false })
    const session = await openSession(t, lax, alice)
    t.is((await connectTls(t, await here(t), { ...alice, session })).said, '')
  })
}

test('a rotation ends earlier sessions, and no connection fails', async (t) => {
  const rotate = 300
  const server = await here(t, mutual, rotate)
  const keys = () => Buffer.from(server.tls!.getTicketKeys()).toString('hex')
  const alice = loaded('alice')
  const session = await openSession(t, server, alice)
  const before = keys()
  // Until the clock is past the next multiple, as the middleware itself waits.
  while (keys() === before) await new Promise((resolve) => setTimeout(resolve, 10))
  t.like(await connectTls(t, server, { ...alice, session }), {
    said: 'hello alice',
    resumed: false,
  })
})

test('an update during a reload counts, whatever the reload has read before', async (t) => {
  const tickets = sessionTickets({ secret, rotateInterval: Infinity })
  const app = new Cio().useServer(tickets)
  const server = await serve(t, app, mutual)
  const keys = () => Buffer.from(server.tls!.getTicketKeys()).toString('hex')
  const changed = 'another secret, given to every process'
  let updates = 0
  await server.configure((given) => {
    // The keys of this reload were made of the secret before.
    if (++updates > 1) tickets.update(changed)
    return given
  })
  const before = keys()
  await server.reload()
  t.not(keys(), before)
  t.is(server.options.ticketKeys!.toString('hex'), keys())
  const same = sessionTickets({ secret: changed, rotateInterval: Infinity })
  const other = await serve(t, new Cio().useServer(same), mutual)
  t.is(Buffer.from(other.tls!.getTicketKeys()).toString('hex'), keys())
})

test('an update after the server has closed changes nothing, and a short secret is refused', async (t) => {
  const tickets = sessionTickets({ secret, rotateInterval: Infinity })
  const server = await serve(t, new Cio().useServer(tickets), mutual)
  const { ticketKeys } = server.options
  t.throws(() => tickets.update('short'), { code: 'ERR_CIO_OPTION' })
  t.is(server.options.ticketKeys, ticketKeys)
  await server.close()
  tickets.update(`${secret}, changed`)
  t.is(server.options.ticketKeys, ticketKeys)
})

test('the timer of the rotation ends with the server', async (t) => {
  const server = await here(t, mutual, 50)
  await server.close()
  const keys = server.options.ticketKeys
  await new Promise((resolve) => setTimeout(resolve, 120))
  t.is(server.options.ticketKeys, keys)
})

test('a secret is a string or bytes, long enough, and in no message', (t) => {
  for (const bad of ['too short', Buffer.alloc(31), 32, undefined, null, {}]) {
    const error = t.throws(() => sessionTickets({ secret: bad as string }), {
      code: 'ERR_CIO_OPTION',
    })
    t.false(error.message.includes('too short'))
  }
  t.throws(() => sessionTickets(undefined as never), { code: 'ERR_CIO_OPTION' })
  t.throws(() => sessionTickets({ secret, rotateInterval: 0 }), { code: 'ERR_CIO_OPTION' })
  t.throws(() => sessionTickets({ secret, rotateInterval: -1 }), { code: 'ERR_CIO_OPTION' })
  t.throws(() => sessionTickets({ secret, keep: 2 } as never), { code: 'ERR_CIO_OPTION' })
  t.notThrows(() => sessionTickets({ secret: Buffer.alloc(32) }))
  t.truthy(contents('alice.crt'))
})
