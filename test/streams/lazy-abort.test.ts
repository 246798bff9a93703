import test from 'ava'
import { type LazyAbort, fired, made } from '../../src/streams/lazy-abort.ts'

test('nothing is made before somebody asks', (t) => {
  const signal: LazyAbort = fired(undefined, 'closed')
  t.is(signal, 'closed')
})

test('what fired before it was asked for has aborted, with its reason', (t) => {
  const mine = new Error('mine')
  t.is(made(fired(undefined, mine)).signal.reason, mine)
  t.is(made('closing').signal.reason.code, 'ERR_CIO_CLOSING')
  t.is(made('closed').signal.reason.code, 'ERR_CIO_CLOSED')
})

test('what is asked for first aborts when it fires, and is the same one', (t) => {
  const controller = made(undefined)
  t.false(controller.signal.aborted)
  t.is(fired(controller, 'closed'), controller)
  t.true(controller.signal.aborted)
  t.is(made(controller), controller)
})

test('the first reason counts, made or not', (t) => {
  t.is(fired(fired(undefined, 'closing'), 'closed'), 'closing')
  const controller = made(undefined)
  fired(fired(controller, 'closing'), 'closed')
  t.is(controller.signal.reason.code, 'ERR_CIO_CLOSING')
})
