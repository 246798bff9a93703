/** `sharedLimit` with the real package: in memory, and in a Redis that is frozen and killed. */

import anyTest, { type ExecutionContext } from 'ava'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { Redis } from 'ioredis'
import { RateLimiterMemory, RateLimiterRedis } from 'rate-limiter-flexible'
import { ownPort } from '../../../../test/support/ports.ts'
import type { Limiter } from '../../src/index.ts'
import { limited } from '../support/limited.ts'
import { findProgram } from '../support/nats-server.ts'
import { until } from '../support/heard.ts'

const redisServer = findProgram('redis-server')

function redisTest(title: string, run: (t: ExecutionContext) => Promise<void>): void {
  if (redisServer) anyTest(title, run)
  else anyTest.skip(`${title} (no redis-server: apt-get install redis-server)`, run)
}

async function startRedis(t: ExecutionContext, port: number): Promise<ChildProcess> {
  const words = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no']
  const child = spawn(redisServer!, words, { stdio: ['ignore', 'pipe', 'ignore'] })
  t.teardown(() => child.kill('SIGKILL'))
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()))
  await until(() => said.includes('Ready to accept connections'))
  return child
}

async function instance(t: ExecutionContext, limiter: Limiter) {
  const told: string[] = []
  const key = (): string => 'sensor-7'
  const { app, visit } = await limited(t, { limiter, key, timeout: 3_000, retryInterval: 50 })
  app.on('sharedLimitDown', () => told.push('down')).on('sharedLimitUp', () => told.push('up'))
  return { visit, told }
}

anyTest('a limiter of rate-limiter-flexible in memory limits connections', async (t) => {
  const limiter = new RateLimiterMemory({ points: 2, duration: 600 })
  const { visit } = await instance(t, limiter)
  t.deepEqual([await visit(), await visit(), await visit()], [true, true, false])
})

redisTest('two instances share a rate in Redis, and go on without it', async (t) => {
  const port = await ownPort()
  const server = await startRedis(t, port)
  const make = async (): Promise<Limiter> => {
    const options = { maxRetriesPerRequest: 1, enableOfflineQueue: false, retryStrategy: () => 50 }
    const storeClient = new Redis({ port, host: '127.0.0.1', ...options })
    storeClient.on('error', () => {})
    t.teardown(() => storeClient.disconnect())
    await once(storeClient, 'ready')
    return new RateLimiterRedis({ storeClient, points: 3, duration: 600 })
  }
  const [one, other] = [await instance(t, await make()), await instance(t, await make())]
  t.deepEqual([await one.visit(), await one.visit(), await other.visit()], [true, true, true])
  t.deepEqual([await one.visit(), await other.visit()], [false, false])
  t.deepEqual([...one.told, ...other.told], [])

  server.kill('SIGSTOP')
  t.true(await other.visit(), 'a frozen store: the instance counts by itself')
  t.deepEqual(other.told, ['down'])
  server.kill('SIGCONT')
  await until(async () => {
    await other.visit()
    return other.told.at(-1) === 'up'
  })
  const exit = once(server, 'exit')
  server.kill('SIGKILL')
  await exit
  await until(async () => {
    await other.visit()
    return other.told.at(-1) === 'down'
  })
  await startRedis(t, port)
  await until(async () => {
    await other.visit()
    return other.told.at(-1) === 'up'
  })
  t.true(await other.visit(), 'a new store has no points yet')
})
