import test from 'ava'
import { provide } from '../../src/kit.ts'

test('a member is there while what is inside runs, and the one before it is back after', async (t) => {
  const ctx: { name?: string } = { name: 'outer' }
  await provide(ctx, 'name', 'inner', () => t.is(ctx.name, 'inner'))
  t.is(ctx.name, 'outer')
})

test('a member is put back where what is inside throws, at once or later', async (t) => {
  const ctx: { name?: string } = { name: 'outer' }
  const mine = new Error('mine')
  for (const run of [
    () => {
      throw mine
    },
    () => Promise.reject(mine),
  ]) {
    t.is(await t.throwsAsync(provide(ctx, 'name', 'inner', run)), mine)
    t.is(ctx.name, 'outer')
  }
})

test('a member that replaced nothing stays, to say that it is over', async (t) => {
  const ctx: { name?: string } = {}
  await provide(ctx, 'name', 'inner', () => {})
  t.is(ctx.name, 'inner')
})
