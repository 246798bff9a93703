import test from 'ava'
import { Cio, json } from '../../src/index.ts'
import { dial, readAll, serve } from '../support/serve.ts'

test('a message that an interceptor keeps reaches no reader, by next(), by a loop or by each()', async (t) => {
  for (const way of ['next', 'loop', 'each'] as const) {
    const kept: unknown[] = []
    const got: unknown[] = []
    const app = new Cio()
      .useConnection(json())
      .useConnection(async ({ messages }, next) => {
        messages.intercept({
          received(message) {
            if (message !== 'keep' && message !== 'keep later') return false
            kept.push(message)
            return message === 'keep' || Promise.resolve(true)
          },
        })
        await next()
      })
      .useConnection(async ({ messages }) => {
        if (way === 'each') await messages.each((message) => got.push(message))
        else if (way === 'loop') for await (const message of messages) got.push(message)
        else {
          for (let count = 0; count < 3; count++) {
            const { value, done } = await messages.next()
            got.push(done ? 'done' : value)
          }
        }
        await messages.send(got)
      })
    const server = await serve(t, app)
    const socket = await dial(t, server)
    socket.write('"keep"\n')
    socket.write('1\n"keep"\n"keep later"\n"keep"\n')
    socket.end('2\n"keep later"\n"keep"\n')
    await readAll(socket)
    t.deepEqual(got, way === 'next' ? [1, 2, 'done'] : [1, 2], way)
    t.is(kept.length, 6, way)
  }
})

test('interceptors see a message in the order of their registration, until one keeps it', async (t) => {
  const seen: string[] = []
  const app = new Cio().useConnection(json()).useConnection(async ({ messages }) => {
    for (const name of ['a', 'b', 'c']) {
      const remove = messages.intercept({
        async received(message) {
          await Promise.resolve()
          seen.push(`${name} ${String(message)}`)
          if (message === 3 && name === 'a') remove()
          return message === 2 && name === 'b'
        },
      })
    }
    for await (const message of messages) seen.push(`got ${String(message)}`)
  })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  socket.end('1\n2\n3\n4\n')
  await readAll(socket)
  t.deepEqual(seen, [
    'a 1',
    'b 1',
    'c 1',
    'got 1',
    'a 2',
    'b 2',
    'a 3',
    'b 3',
    'c 3',
    'got 3',
    'b 4',
    'c 4',
    'got 4',
  ])
})

test('a reader waits for the promise of an interceptor, and gets what it rejects with', async (t) => {
  const app = new Cio().useConnection(json()).useConnection(async ({ messages }) => {
    messages.intercept({
      async received(message) {
        await new Promise((resolve) => setImmediate(resolve))
        if (message === 2) throw new Error('not two')
      },
    })
    t.deepEqual(await messages.next(), { done: false, value: 1 })
    await t.throwsAsync(messages.next(), { message: 'not two' })
    await t.throwsAsync(
      messages.each(() => t.fail()),
      { message: 'not two' },
    )
  })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  socket.end('1\n2\n2\n')
  await readAll(socket)
})

test('interceptors see what is sent, also what is encoded, and can refuse it', async (t) => {
  const sent: unknown[] = []
  const app = new Cio().useConnection(json()).useConnection(async ({ messages }) => {
    messages.intercept({
      sending(message) {
        if (message === 'no') throw new Error('refused')
        sent.push(message)
      },
    })
    await messages.send(1)
    await messages.sendMany([2, 3])
    await messages.sendEncoded(messages.encode(4))
    await t.throwsAsync(messages.send('no'), { message: 'refused' })
    await t.throwsAsync(messages.sendEncoded(messages.encode('no')), { message: 'refused' })
  })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  t.is(await readAll(socket.end()), '1\n2\n3\n4\n')
  t.deepEqual(sent, [1, 2, 3, 4])
})
