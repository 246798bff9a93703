import test from 'ava'
import { spawnSync } from 'node:child_process'
import { ownPromise } from '../../src/pipeline/own-promise.ts'
import { built, flags } from '../support/typescript.ts'

const inside = new Error('inside')

function rejected(): Promise<void> {
  return ownPromise(Promise.reject<void>(inside).finally(() => {}))
}

test('it is a promise, which await, then(), catch(), finally() and the combinators take as any other', async (t) => {
  t.true(ownPromise(Promise.resolve()) instanceof Promise)
  t.is(await ownPromise(Promise.resolve(1)), 1)
  t.deepEqual(await Promise.all([1, 2].map((one) => ownPromise(Promise.resolve(one)))), [1, 2])
  t.is(await ownPromise(Promise.resolve(1)).then((one) => one + 1), 2)
  const again = async (): Promise<void> => rejected()
  for (const failed of [rejected(), again(), rejected().finally(() => {}), rejected().then()]) {
    t.is(await t.throwsAsync(failed), inside)
  }
  t.is(await rejected().then(undefined, (error: unknown) => error), inside)
})

test('what is chained to it may stay without a handler, however long the chain', async (t) => {
  const seen: unknown[] = []
  const see = (error: unknown): void => void seen.push(error)
  process.on('unhandledRejection', see)
  t.teardown(() => process.off('unhandledRejection', see))
  void rejected().then(() => t.fail('it runs'))
  void rejected().finally(() => {})
  void rejected()
    .then(() => {})
    .finally(() => {})
    .then(() => {})
  void rejected().catch((error: unknown) => {
    throw error
  })
  await new Promise(setImmediate)
  await new Promise(setImmediate)
  t.deepEqual(seen, [])
})

test('an error of a callback after what is inside has gone well is not hidden', (t) => {
  const module = built(new URL('../../src/index.ts', import.meta.url)).href
  const program = `
    import { Duplex } from 'node:stream'
    import { Cio } from ${JSON.stringify(module)}
    const app = new Cio()
      .useConnection((_, next) => void next().then(() => { throw new Error('of the callback') }))
      .useConnection(() => {})
    app.on('error', () => {})
    app.handle(new Duplex({ read() { this.push(null) }, write(chunk, encoding, done) { done() } }))
  `
  const words = [...flags, '--input-type=module', '-e', program]
  const { status, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' })
  t.is(status, 1)
  t.true(stderr.includes('of the callback'))
})
