import test from 'ava'
import { chunksOf } from '../../src/kit.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { readAll } from '../support/serve.ts'

test('read gives the chunks to the end of input, and leaves the stream open for a reply', async (t) => {
  const [near, far] = duplexPair()
  far.end('hello')
  t.is(await readAll(chunksOf(near)), 'hello')
  await new Promise(setImmediate)
  t.false(near.destroyed)
  near.end('a reply')
  t.is(await readAll(far), 'a reply')
})

test('read leaves the stream open after break, and another read goes on from there', async (t) => {
  const [near, far] = duplexPair()
  far.write('first')
  for await (const chunk of chunksOf(near)) {
    t.is(chunk.toString(), 'first')
    break
  }
  t.false(near.destroyed)
  far.end('second')
  t.is(await readAll(chunksOf(near)), 'second')
})

test('read throws the error of the stream', async (t) => {
  const [near, far] = duplexPair()
  far.on('error', () => {})
  near.on('error', () => {})
  const mine = new Error('mine')
  const reading = readAll(chunksOf(near))
  near.destroy(mine)
  t.is(await t.throwsAsync(reading), mine)
})

test('read throws where the stream closes before its end', async (t) => {
  const [near, far] = duplexPair()
  far.on('error', () => {})
  const reading = readAll(chunksOf(near))
  near.destroy()
  await t.throwsAsync(reading, { code: 'ERR_STREAM_PREMATURE_CLOSE' })
})

test('read honours backpressure', async (t) => {
  const [near, far] = duplexPair()
  t.false(far.write(Buffer.alloc(1024 * 1024)))
  t.false(far.write(Buffer.alloc(1024 * 1024)))
  // Only what is read makes room for more.
  far.once('drain', () => far.end('more'))
  t.is((await readAll(chunksOf(near))).length, 2 * 1024 * 1024 + 'more'.length)
})

test('read leaves no listener behind', async (t) => {
  const [near, far] = duplexPair()
  const count = (): number[] =>
    ['end', 'close', 'error', 'readable', 'data'].map((event) => near.listenerCount(event))
  const before = count()
  far.end('hello')
  await readAll(chunksOf(near))
  t.deepEqual(count(), before)
})
