import test from 'ava'
import { type LazyAbort, fired, hasFired, made } from '../../src/streams/lazy-abort.ts'

test('nothing is made before somebody asks', (t) => {
  const signal: LazyAbort = fired(undefined, 'closed')
  t.is(signal, 'closed')
  t.true(hasFired(signal))
  t.false(hasFired(undefined))
})

test('what fired before it was asked for has aborted, with its reason', (t) => {
  const mine = new Error('mine')
  t.is(made(fired(undefined, mine)).signal.reason, mine)
  t.is(made('closing').signal.reason.code, 'ERR_CIO_CLOSING')
  t.is(made('closed').signal.reason.code, 'ERR_CIO_CLOSED')
})

test('what is asked for first aborts when it fires, and is the same one', (t) => {
  const controller = made(undefined)
  t.false(hasFired(controller))
  t.is(fired(controller, 'closed'), controller)
  t.true(hasFired(controller))
  t.is(made(controller), controller)
})

test('the first reason counts, made or not', (t) => {
  t.is(fired(fired(undefined, 'closing'), 'closed'), 'closing')
  const controller = made(undefined)
  fired(fired(controller, 'closing'), 'closed')
  t.is(controller.signal.reason.code, 'ERR_CIO_CLOSING')
})
