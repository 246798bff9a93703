import test from 'ava'
import { once } from 'node:events'
import { endGracefully } from '../../src/kit.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { readAll } from '../support/serve.ts'

test('finish flushes what was written, waits for the other end, and destroys', async (t) => {
  const [near, far] = duplexPair()
  near.write('hello')
  const finished = endGracefully(near, Infinity)
  const said = readAll(far)
  far.end('thrown away')
  t.is(await said, 'hello')
  t.true(await finished)
  t.true(near.destroyed)
})

test('finish fulfils with false where something is still unsent', async (t) => {
  const [near, far] = duplexPair()
  far.on('error', () => {})
  near.write(Buffer.alloc(1024 * 1024))
  near.write(Buffer.alloc(1024 * 1024))
  t.false(await endGracefully(near, 10))
  t.true(near.destroyed)
})

test('finish fulfils with true where everything was sent and the other side stays', async (t) => {
  const [near, far] = duplexPair()
  far.resume()
  near.write('hello')
  t.true(await endGracefully(near, 10))
  t.true(near.destroyed)
})

test('finish is not cut by a stall of this process, which is longer than its time', async (t) => {
  const [near, far] = duplexPair()
  near.write(Buffer.alloc(1024 * 1024))
  const finished = endGracefully(near, 300)
  const until = performance.now() + 400
  while (performance.now() < until);
  // After the timers that the stall made late.
  setTimeout(() => far.resume().end(), 1)
  t.true(await finished)
})

test('finish of a stream that is gone is done', async (t) => {
  const [near, far] = duplexPair()
  far.on('error', () => {})
  near.destroy()
  t.true(await endGracefully(near, 10))
})

test('finish of a stream that has ended both ways is done at once', async (t) => {
  const [near, far] = duplexPair()
  const closed = once(near, 'close')
  near.end()
  near.resume()
  far.end()
  far.resume()
  await closed
  t.true(await endGracefully(near, Infinity))
})

test('finish with a timeout of 0 keeps nothing waiting', async (t) => {
  const [near, far] = duplexPair()
  far.on('error', () => {})
  near.write(Buffer.alloc(1024 * 1024))
  t.false(await endGracefully(near, 0))
})

test('finish leaves no listener on the stream', async (t) => {
  const [near, far] = duplexPair()
  far.on('error', () => {})
  const before = near.listenerCount('close')
  await endGracefully(near, 1)
  t.is(near.listenerCount('close'), before)
})
