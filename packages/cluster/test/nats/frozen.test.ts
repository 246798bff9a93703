/** An instance that hangs, and a broker that dies, in the midst of an order and of an acknowledgement. */

import type { ExecutionContext } from 'ava'
import { until } from '../support/heard.ts'
import { NatsServer } from '../support/nats-server.ts'
import { natsTest } from '../support/with-nats.ts'
import type { Command } from './parts-process.ts'
import { Process } from './process.ts'

const script = new URL('parts-process.ts', import.meta.url)

type Ask = (...command: Command) => Promise<unknown>

async function fleet(
  t: ExecutionContext,
): Promise<{ server: NatsServer; one: Ask; other: Ask; freeze: () => void; thaw: () => void }> {
  const server = await NatsServer.start(t)
  const [first, second] = await Promise.all(
    [1, 2].map(() => Process.start<Command>(t, server, script)),
  )
  const one: Ask = (...command) => first!.ask(command)
  const other: Ask = (...command) => second!.ask(command)
  await until(async () => (await one('alive')) === 4 && (await other('alive')) === 4)
  const signal = (name: NodeJS.Signals) => (): void => void first!.child.kill(name)
  return { server, one, other, freeze: signal('SIGSTOP'), thaw: signal('SIGCONT') }
}

/** The letters that a device of a process has, in order. */
async function lettersOf(ask: Ask, name: string): Promise<unknown[]> {
  const got = (await ask('got', name)) as { readonly letter?: unknown }[]
  return got.flatMap(({ letter }) => letter ?? [])
}

natsTest(
  'an instance that hangs during an eviction and an acknowledgement loses nothing',
  async (t) => {
    const { one, other, freeze, thaw } = await fleet(t)
    for (const name of ['reads', 'evicted']) await one('connect', name)
    await one('hold')
    await other('mail', 'reads', 1, 'a')
    await until(async () => (await lettersOf(one, 'reads')).length === 1)
    freeze()
    t.is(await other('evict', 'evicted'), 'failed: ERR_CIO_UNREACHABLE')
    const revision = await other('connect', 'evicted')
    await other('connect', 'reads')
    await other('mail', 'reads', 2, 'b')
    await until(async () => (await lettersOf(other, 'reads')).length === 2)
    t.deepEqual(await lettersOf(other, 'reads'), [1, 2], 'what was not acknowledged comes again')
    thaw()
    await one('release')
    t.is(await one('ended', 'reads'), 'ERR_CIO_TAKEN_OVER')
    t.regex(String(await one('ended', 'evicted')), /ERR_CIO_(?:EVICTED|TAKEN_OVER)/)
    t.is(
      await one('find', 'evicted'),
      revision,
      'the late order does not reach the newer connection',
    )
    t.is(await one('send', 'evicted', 'here'), undefined)
    await one('mail', 'reads', 3, 'c')
    await until(async () => (await lettersOf(other, 'reads')).length === 3)
    t.deepEqual(await lettersOf(other, 'reads'), [1, 2, 3])
    t.deepEqual(await lettersOf(one, 'reads'), [1])
  },
)

natsTest(
  'a broker that dies during an eviction and an acknowledgement loses nothing',
  async (t) => {
    const { server, one, other, freeze, thaw } = await fleet(t)
    for (const name of ['reads', 'evicted']) await one('connect', name)
    await one('hold')
    await other('mail', 'reads', 1, 'a')
    await until(async () => (await lettersOf(one, 'reads')).length === 1)
    freeze()
    const evicted = other('evict', 'evicted')
    server.freeze()
    thaw()
    // The broker has what removes the letter, and does not answer.
    await one('release')
    await server.kill()
    t.is(await evicted, 'failed: ERR_CIO_CLUSTER_DOWN')
    await server.start()
    await until(
      async () => ((await other('mail', 'reads', 2, 'b')) as { seq?: number }).seq !== undefined,
    )
    await until(async () => (await lettersOf(one, 'reads')).includes(2))
    t.deepEqual(await lettersOf(one, 'reads'), [1, 2])
    // The order of before may have come through, and only its answer be lost.
    await until(async () => typeof (await other('evict', 'evicted')) === 'boolean')
    t.is(await one('ended', 'evicted'), 'ERR_CIO_EVICTED')
    await other('connect', 'reads')
    await one('mail', 'reads', 3, 'c')
    await until(async () => (await lettersOf(other, 'reads')).includes(3))
    t.deepEqual(await lettersOf(other, 'reads'), [3], 'what was acknowledged does not come again')
  },
)
