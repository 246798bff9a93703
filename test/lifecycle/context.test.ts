import test from 'ava'
import { once } from 'node:events'
import { Cio } from '../../src/index.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { waiting } from '../support/waiting.ts'

test('a signal is one and the same, whenever it is asked for', (t) => {
  const ctx = waiting(t)
  t.is(ctx.signal, ctx.signal)
  t.is(ctx.draining, ctx.draining)
  t.not(ctx.signal, ctx.draining)
  t.false(ctx.isDraining)
  t.false(ctx.isClosed)
})

test('drain aborts draining alone, with the reason it is given first', (t) => {
  const ctx = waiting(t)
  const reason = new Error('maintenance')
  void ctx.close({ reason, timeout: Infinity })
  void ctx.close({ reason: new Error('later'), timeout: Infinity })
  t.true(ctx.isDraining)
  t.is(ctx.draining.reason, reason)
  t.false(ctx.signal.aborted)
})

test('destroy aborts both signals, asked for or not, and the first reason counts', async (t) => {
  const reason = new Error('mine')
  for (const asked of [true, false]) {
    const ctx = waiting(t)
    if (asked) t.false(ctx.signal.aborted || ctx.draining.aborted)
    ctx.destroy(reason)
    ctx.destroy(new Error('later'))
    t.true(ctx.isClosed && ctx.isDraining)
    t.is(ctx.signal.reason, reason)
    t.is(ctx.draining.reason, reason)
    t.is(ctx.broken, reason)
    t.true(ctx.stream.destroyed)
    await ctx.closed
    t.is(ctx.signal.reason, reason)
  }
})

test('destroy without an error is ERR_CIO_CLOSED for both signals', async (t) => {
  const ctx = waiting(t)
  ctx.destroy()
  t.like(ctx.signal.reason, { code: 'ERR_CIO_CLOSED' })
  t.like(ctx.draining.reason, { code: 'ERR_CIO_CLOSED' })
  t.is(ctx.broken, undefined)
  await ctx.closed
})

test('a signal fires its listeners once', async (t) => {
  const ctx = waiting(t)
  let times = 0
  ctx.signal.addEventListener('abort', () => times++)
  ctx.destroy()
  ctx.destroy()
  await ctx.closed
  t.is(times, 1)
})

test('close of a run that is over fulfils at once, and forces nothing', async (t) => {
  const ctx = waiting(t)
  ctx.destroy()
  await ctx.closed
  t.deepEqual(await ctx.close(), { forced: 0 })
  t.deepEqual(await ctx.close({ timeout: 0 }), { forced: 0 })
  await ctx[Symbol.asyncDispose]()
})

test('close of a connection refuses a time that is no duration, and closes nothing', async (t) => {
  const ctx = waiting(t)
  await t.throwsAsync(ctx.close({ timeout: -1 }), { code: 'ERR_CIO_OPTION' })
  t.false(ctx.isDraining)
})

test('whoever closes twice has the same run counted once', async (t) => {
  const app = new Cio().useConnection(async (ctx) => {
    await once(ctx.signal, 'abort')
  })
  const [near, far] = duplexPair()
  far.on('error', () => {})
  const ctx = app.handle(near)
  const closings = [ctx.close({ timeout: 5 }), ctx.close({ timeout: 10 }), ctx.close()]
  t.deepEqual(await Promise.all(closings), [{ forced: 1 }, { forced: 1 }, { forced: 1 }])
})

test('state is made when it is asked for, and stays', (t) => {
  const ctx = waiting(t)
  ctx.state['user'] = 'alice'
  t.is(ctx.state['user'], 'alice')
})
