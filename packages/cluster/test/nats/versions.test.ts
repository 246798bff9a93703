/**
 * Two processes, each with all parts, as in a rolling restart. To run one of them with another release,
 * with a checkout of it in `../older`, whose packages are installed:
 *
 * ```sh
 * cp packages/cluster/test/nats/parts-process.ts ../older/packages/cluster/test/nats/
 * (cd ../older/packages/cluster && npx esbuild test/nats/parts-process.ts --bundle --platform=node \
 *   --format=esm --packages=external --outfile=build/older.mjs)
 * CIO_OLDER=../older/packages/cluster/build/older.mjs npx ava packages/cluster/test/nats/versions.test.ts
 * ```
 */

import { resolve } from 'node:path'
import { until } from '../support/heard.ts'
import { NatsServer } from '../support/nats-server.ts'
import { natsTest } from '../support/with-nats.ts'
import { Process } from './process.ts'
import type { Command } from './parts-process.ts'

const script = new URL('parts-process.ts', import.meta.url)
const { CIO_OLDER: older } = process.env

natsTest('an instance of another release takes part in everything', async (t) => {
  const server = await NatsServer.start(t)
  const start = async (path?: string): Promise<(...command: Command) => Promise<unknown>> => {
    const one = await Process.start<Command>(t, server, path ?? script)
    return (...command) => one.ask(command)
  }
  const [one, other] = [await start(), await start(older && resolve(older))]
  await until(async () => (await one('alive')) === 4 && (await other('alive')) === 4)
  const has = async (where: typeof one, name: string, ...messages: unknown[]): Promise<void> => {
    const seen = async (): Promise<string[]> =>
      ((await where('got', name)) as unknown[]).map((message) => JSON.stringify(message))
    await until(async () => {
      const all = await seen()
      return messages.every((message) => all.includes(JSON.stringify(message)))
    })
  }
  for (const [which, from, to] of [
    ['to', one, other],
    ['back', other, one],
  ] as const) {
    const first = (await to('connect', which)) as number
    await to('connectCallable', `${which}-rpc`)
    t.is(await from('find', which), first)
    t.is(await from('send', which, { text: 'Ü' }), undefined)
    await has(to, which, { text: 'Ü' })
    t.is(await from('call', `${which}-rpc`, 1, 2), 3)
    t.is(await from('fail', `${which}-rpc`), 'failed: ERR_CIO_RPC')
    t.is(await from('late', `${which}-rpc`), 'failed: ERR_CIO_CALL_TIMEOUT')
    t.is(await from('call', which, 1, 2), 'failed: ERR_CIO_NO_RPC')
    t.is(await from('send', 'nothing', 1), 'failed: ERR_CIO_OFFLINE')
    await from('room', { to: 'all' })
    await has(to, which, { to: 'all' })

    await to('end', which)
    await until(async () => (await from('find', which)) === undefined)
    const { seq } = (await from('mail', which, 'away', 'a')) as { seq: number }
    const again = (await to('mail', which, 'away', 'a')) as { isDuplicate: boolean }
    t.true(again.isDuplicate)
    const back = (await to('connect', which)) as number
    t.true(back > first)
    await has(to, which, { letter: 'away', seq })

    const taken = (await from('connect', which)) as number
    t.true(taken > back)
    t.is(await to('ended', which), 'ERR_CIO_TAKEN_OVER')
    const next = (await to('mail', which, 'here', 'b')) as { seq: number }
    await has(from, which, { letter: 'here', seq: next.seq })
    t.true(await to('evict', which))
    t.is(await from('ended', which), 'ERR_CIO_EVICTED')
  }
  await other('close')
  await until(async () => (await one('alive')) === 2)
  t.is(await one('send', 'to-rpc', 1), 'failed: ERR_CIO_OFFLINE')
})
